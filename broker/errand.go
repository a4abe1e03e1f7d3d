package broker

import (
	"errors"
	"net"
	"slices"
	"time"

	"m2mbridge/auth"
)

// errand is the one message that is on its way to a device, until it is known
// what became of it. Guarded by session.mu.
type errand struct {
	frame  *frame
	packet uint16 // id; 0: it waits for room, or is of QoS 0
	done   func(delivered bool, cause string)
	timer  *time.Timer
}

// DeliverDevice takes a message for a device, on things/<TYPE>/<value>/downlink,
// to its session here, and tells once what became of it: the device acknowledged
// it, or not, and by what one knows. done must not block. It is false, and done
// is not called, if the device has no session here, is not subscribed, or has a
// message on its way already.
func (b *Broker) DeliverDevice(m *Message, done func(delivered bool, cause string)) bool {
	s := b.sessions.device(m.Device)
	if s == nil || !downlinkFilter(m.Device, m.Topic) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.subs) == 0 || s.outbox.errand != nil {
		return false
	}
	sub := s.subs[0] // others are spellings of the same topic; it is used as the device spelled it
	f := m.frame(options{version: s.version, qos: sub.qos, topic: sub.filter, ids: sub.ids(), retain: m.Retain && sub.retained(s.version)})
	if s.outbox.tooLarge(f) {
		return false
	}
	e := &errand{frame: f, done: done}
	e.timer = time.AfterFunc(b.cfg.AckTimeout, func() { s.errandLate(e) })
	s.outbox.errand = e
	s.outbox.waiting = append(s.outbox.waiting, f)
	if s.pump() {
		b.flusher.one(s.conn)
	}
	return true
}

// HasDevice reports whether the device has a session here that takes downlinks.
func (b *Broker) HasDevice(id auth.DeviceID) bool {
	s := b.sessions.device(id)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && len(s.subs) > 0
}

// sentErrand notes that a frame was written. One of QoS 0 has nobody's word but
// that of the peer's TCP. Called with session.mu held.
func (s *session) sentErrand(f *frame) {
	e := s.outbox.errand
	if e == nil || e.frame != f {
		return
	}
	if f.idAt == 0 {
		go s.awaitTaken(e)
		return
	}
	e.packet = s.outbox.window.last
}

// awaitTaken waits until the peer has taken what was written to its connection.
func (s *session) awaitTaken(e *errand) {
	s.b.flusher.one(s.conn)
	err := s.conn.allTaken(s.b.cfg.Taken, s.b.cfg.AckTimeout)
	s.mu.Lock()
	if s.outbox.errand != e {
		s.mu.Unlock()
		return
	}
	s.endErrand()
	s.mu.Unlock()
	if err != nil {
		e.done(false, "the device's side did not take it, at QoS 0: "+err.Error())
		return
	}
	e.done(true, "the device's side took it, at QoS 0")
}

// endErrand gives the errand, which is none any more. Called with session.mu held.
func (s *session) endErrand() *errand {
	e := s.outbox.errand
	if e != nil {
		e.timer.Stop()
		s.outbox.errand = nil
	}
	return e
}

// errandAcked takes the PUBACK of a message, if it is the errand's. Called with
// session.mu held; the function that it gives is to be called without it.
func (s *session) errandAcked(id uint16, code byte) func() {
	e := s.outbox.errand
	if e == nil || e.packet != id {
		return func() {}
	}
	s.endErrand()
	if code >= codeUnspecified {
		return func() { e.done(false, "the device refused it, with a reason code of MQTT 5") }
	}
	return func() { e.done(true, "acknowledged by PUBACK") }
}

// errandLate ends the session of a device that does not acknowledge, or that
// takes so little that the message was not even written: its next one gets it
// again. Of what was written at QoS 0 awaitTaken tells.
func (s *session) errandLate(e *errand) {
	s.mu.Lock()
	late := s.outbox.errand == e && (e.frame.idAt != 0 || slices.Contains(s.outbox.waiting, e.frame))
	s.mu.Unlock()
	if late {
		s.end(ending{code: codeUnspecified, reason: "no PUBACK in time", will: true})
	}
}

// allTaken waits until all is written, and until the peer has taken it.
func (c *conn) allTaken(taken func(net.Conn, time.Duration) error, limit time.Duration) error {
	until := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		c.mu.Lock()
		left, broken := len(c.out)+len(c.rest) > 0 || c.writing, c.broken
		c.mu.Unlock()
		switch {
		case broken:
			return errNotWritten
		case !left:
			return taken(c.link.Conn, time.Until(until))
		case time.Now().After(until):
			return errNotWritten
		}
		time.Sleep(pause)
	}
}

var errNotWritten = errors.New("it could not be written")
