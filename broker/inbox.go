package broker

import (
	"github.com/mochi-mqtt/server/v2/packets"
)

// publication is one PUBLISH of a client, until it is acknowledged.
type publication struct {
	s       *session
	id      uint16
	qos     byte
	done    bool
	outcome Outcome
}

// inbox is what a client published and was not yet answered. Guarded by session.mu.
type inbox struct {
	waiting  []*publication      // of QoS 1 and 2, in the order of their arrival
	inFlight int                 // all without an outcome, of QoS 0 too
	received map[uint16]struct{} // QoS 2: PUBREC sent, PUBREL not yet seen
	changed  chan struct{}       // closed when inFlight falls or the session ends
}

func (in *inbox) wake() {
	if in.changed != nil {
		close(in.changed)
		in.changed = nil
	}
}

// awaitInFlight waits until fewer than limit publishes are in flight: a client
// that publishes faster than they are decided is read more slowly. It is false
// when the session ended or quit was closed.
func (s *session) awaitInFlight(limit int, quit <-chan struct{}) bool {
	for {
		s.mu.Lock()
		if s.ended || s.inbox.inFlight < limit {
			defer s.mu.Unlock()
			return !s.ended
		}
		if s.inbox.changed == nil {
			s.inbox.changed = make(chan struct{})
		}
		changed := s.inbox.changed
		s.mu.Unlock()
		s.conn.sleep()
		select {
		case <-changed:
			s.conn.awake.Store(true)
		case <-quit:
			return false
		}
	}
}

// inboxed notes a publish that is to be answered. It is nil for one that
// already is, and for one beyond what the client may have unanswered.
func (s *session) inboxed(pk *packets.Packet) (*publication, *ending) {
	p := &publication{s: s, id: pk.PacketID, qos: pk.FixedHeader.Qos}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.inbox
	if p.qos > 0 {
		if s.repeated(pk) {
			return nil, nil
		}
		if over := len(in.waiting) + len(in.received); over >= s.b.cfg.ReceiveMaximum && (s.version == version5 || over >= maxReceived) {
			return nil, &ending{code: codeReceiveMaximum, reason: "more publishes unanswered than the receive maximum", will: true} // [MQTT-3.3.4-7]
		}
		in.waiting = append(in.waiting, p)
	}
	in.inFlight++
	s.b.count.inFlight.Add(1)
	return p, nil
}

// maxReceived bounds the QoS 2 publishes that a 3.1.1 client, which is told no
// Receive Maximum, may leave without PUBREL.
const maxReceived = 4096

// repeated recognises a publish that is being answered: one of QoS 2 by its
// packet id [MQTT-4.3.3-10], one of QoS 1 by its DUP flag too.
func (s *session) repeated(pk *packets.Packet) bool {
	if pk.FixedHeader.Qos == 2 {
		if _, ok := s.inbox.received[pk.PacketID]; ok {
			s.ack(packets.Pubrec, pk.PacketID, Outcome{})
			return true
		}
	}
	for _, w := range s.inbox.waiting {
		if w.id == pk.PacketID && w.qos == pk.FixedHeader.Qos && (w.qos == 2 || pk.FixedHeader.Dup) {
			return true
		}
	}
	return false
}

// decided takes the outcome of a publish, from any goroutine, and acknowledges
// what can be: in the order of arrival [MQTT-4.6.0-2] [MQTT-4.6.0-3].
func (p *publication) decided(o Outcome) {
	s := p.s
	s.b.count.inFlight.Add(-1)
	if o.Code != codeSuccess {
		s.b.count.refused[o.Code].Add(1)
	}
	s.mu.Lock()
	p.done, p.outcome = true, o
	s.inbox.inFlight--
	s.inbox.wake()
	lost := false
	if !s.ended {
		lost = s.answer()
	}
	s.mu.Unlock()
	if lost {
		s.end(ending{code: codeBusy, reason: "not stored, send it again", will: true})
		return
	}
	if p.qos > 0 {
		s.b.flusher.one(s.conn)
	}
}

// answer acknowledges the decided publishes that no undecided one precedes. It
// is true at one that was not stored: that and all behind it stay unanswered.
func (s *session) answer() (lost bool) {
	in := &s.inbox
	n := 0
	for ; n < len(in.waiting) && in.waiting[n].done; n++ {
		p := in.waiting[n]
		if p.mustComeAgain() {
			lost = true
			break
		}
		s.acknowledge(p)
	}
	if n == len(in.waiting) && cap(in.waiting) <= 64 {
		clear(in.waiting)
		in.waiting = in.waiting[:0]
	} else {
		in.waiting = in.waiting[n:]
	}
	return lost
}

// mustComeAgain reports whether an acknowledgement would be a lie: what was not stored, or went beyond a quota, is to be
// sent again, which 3.1.1 can only be told by closing the connection.
func (p *publication) mustComeAgain() bool {
	return p.outcome.Unavailable || p.outcome.Code == codeQuota && p.s.version < version5
}

func (s *session) acknowledge(p *publication) {
	if p.qos == 1 {
		s.ack(packets.Puback, p.id, p.outcome)
		return
	}
	s.ack(packets.Pubrec, p.id, p.outcome)
	if s.version == version5 && p.outcome.Code >= codeUnspecified {
		return // the exchange ends here, its packet id is free (MQTT 5 §4.3.3)
	}
	if s.inbox.received == nil {
		s.inbox.received = map[uint16]struct{}{}
	}
	s.inbox.received[p.id] = struct{}{}
}

// ack writes a PUBACK or PUBREC. 3.1.1 has no way to refuse.
func (s *session) ack(kind byte, id uint16, o Outcome) {
	if s.version < version5 || o.Code == codeSuccess {
		_, _ = s.conn.Write([]byte{kind << 4, 2, byte(id >> 8), byte(id)})
		return
	}
	_ = s.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: kind},
		PacketID:    id,
		ReasonCode:  publishCode(o.Code),
		Properties:  packets.Properties{ReasonString: o.Reason},
	})
}

// released is a PUBREL: the packet id is free. [MQTT-4.3.3-11]
func (s *session) released(id uint16) *ending {
	s.mu.Lock()
	_, known := s.inbox.received[id]
	delete(s.inbox.received, id)
	if len(s.inbox.received) == 0 {
		s.inbox.received = nil
	}
	s.mu.Unlock()
	pubcomp := []byte{packets.Pubcomp << 4, 2, byte(id >> 8), byte(id)}
	if !known && s.version == version5 {
		pubcomp[1] = 3
		pubcomp = append(pubcomp, codePacketIDUnknown)
	}
	_, _ = s.conn.Write(pubcomp)
	return nil
}
