package broker

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// outbox is what goes to one subscriber: its cursors, and what is
// unacknowledged. Messages of streams wait in their streams, never here.
// Guarded by session.mu.
type outbox struct {
	window  window
	lanes   []lane
	waiting []*frame // of no stream: retained ones, downlinks
	errand  *errand  // of a device: what is on its way to it
	replays []replay // retained messages that are still to be read
	maxSize uint32   // of a packet that the client takes; 0: any
	held    bool     // nothing is sent
	skips   bool     // a subscription starts later than a cursor: since counts
	asking  bool     // pump comes again by itself
	reading bool     // it waits for a page, or has one read
	soon    bool     // it will
}

func (o *outbox) init(c *Config, p *packets.Properties) {
	o.maxSize = p.MaximumPacketSize
	o.window.limit = c.Window
	if p.ReceiveMaximum > 0 { // [MQTT-3.3.4-9]
		o.window.limit = min(o.window.limit, int(p.ReceiveMaximum))
	}
}

// tooLarge: such a message is discarded as if it had been sent [MQTT-3.1.2-25].
func (o *outbox) tooLarge(f *frame) bool { return o.maxSize > 0 && f.size() > int(o.maxSize) }

// offer gives the session a message that is new in its stream, or has it read
// that for itself: when there is no room, or it is not sure that it may. It says
// whether m was given, and whether anything was written. Called with session.mu
// held.
func (s *session) offer(m *Message, t *target, sure bool) (given, wrote bool) {
	l := s.outbox.lane(m.Stream)
	if s.ended || l == nil || !l.live || !l.at.ID.Less(m.ID) {
		return false, false
	}
	if !sure {
		l.leave(m)
		s.askAgain()
		return false, false
	}
	if s.outbox.skips {
		own, ok := s.matching(m, false)
		if !ok {
			return false, false
		}
		t = &own
	}
	f := m.frame(t.options(m.Retain))
	if s.outbox.tooLarge(f) {
		l.leave(m)
		l.miss(Gap{l.at.ID, m.ID, 1})
		s.b.count.missed.Add(1)
		return false, s.pump()
	}
	if !s.send(f, flight{stream: int32(m.Stream), id: m.ID, n: m.N}) {
		l.leave(m)
		return false, false
	}
	l.at = m.position()
	return true, true
}

// send writes f if window and connection have room.
func (s *session) send(f *frame, fl flight) bool {
	w := &s.outbox.window
	if s.outbox.held {
		return false
	}
	if f.idAt == 0 {
		return s.sent(s.conn.put(f, 0, false))
	}
	if w.full() {
		return false
	}
	id := w.take(fl)
	if !s.conn.put(f, id, false) {
		w.give(id)
		return false
	}
	return s.sent(true)
}

// resend writes f once more, with its packet id of before where it had one.
func (s *session) resend(f *frame, fl flight) bool {
	w := &s.outbox.window
	if f.idAt == 0 {
		return s.send(f, fl)
	}
	if s.outbox.held || w.full() || !s.conn.hasRoom() {
		return false
	}
	if fl.packet == 0 || !w.place(fl) {
		fl.packet = w.take(fl)
	}
	if !s.conn.put(f, fl.packet, true) {
		w.give(fl.packet)
		return false
	}
	return s.sent(true)
}

func (s *session) sent(ok bool) bool {
	if ok {
		s.b.count.delivered.Add(1)
	}
	return ok
}

// pump sends what waits, as far as there is room: what is of no stream, and
// then on from each cursor that is not live. It is true if it wrote something.
// Called with session.mu held.
func (s *session) pump() (wrote bool) {
	o := &s.outbox
	if s.ended || o.held {
		return false
	}
	for len(o.waiting) > 0 {
		may, sure := s.mayStill(o.waiting[0])
		if !sure {
			s.askAgain()
			return wrote
		}
		if may && !s.send(o.waiting[0], flight{stream: noStream}) {
			return wrote
		}
		s.sentErrand(o.waiting[0])
		wrote = wrote || may
		o.waiting[0] = nil
		if o.waiting = o.waiting[1:]; len(o.waiting) == 0 {
			o.waiting = nil
		}
	}
	if s.wantsReplay() {
		s.b.catchUp.add(s)
	}
	for i := range o.lanes {
		if l := &o.lanes[i]; !l.live && !s.isHeldBack(l) {
			wrote = s.follow(l) || wrote
		}
	}
	return wrote
}

// fewAtOnce is how many recent messages a cursor takes at once.
const fewAtOnce = 32

// follow takes a cursor along the recent messages, until it meets the tail,
// there is no room, or a page has to be read.
func (s *session) follow(l *lane) (wrote bool) {
	var buf [fewAtOnce]*Message
	for {
		if l.gap.Count != 0 {
			if !s.tell(l) {
				return wrote
			}
			wrote = true
		}
		if !s.conn.hasRoom() {
			return wrote
		}
		list, end, ok := s.b.cfg.Source.Recent(l.stream, l.at.ID, buf[:0])
		switch {
		case !ok && !s.relies(l.stream):
			s.b.count.missed.Add(l.toPresent(end))
			continue
		case !ok:
			s.readSoon()
			return wrote
		case len(list) == 0:
			s.join(l, end)
			return wrote
		}
		for _, m := range list {
			handed, did := s.take(l, m)
			wrote = wrote || did
			if !handed {
				return wrote
			}
		}
	}
}

// take hands the session a message that its cursor comes to, if it is for it;
// false if it has to wait.
func (s *session) take(l *lane, m *Message) (done, wrote bool) {
	packet, before, again := l.repeated(m)
	t, ok := s.matching(m, packet != 0)
	if !ok || !again {
		l.pass(m.position())
		return true, false
	}
	switch may, sure := s.b.mayRead(s.access.Load(), m); {
	case !sure:
		s.askAgain()
		return false, false
	case !may:
		l.pass(m.position())
		return true, false
	}
	f := m.frame(t.options(m.Retain))
	if s.outbox.tooLarge(f) {
		s.b.count.missed.Add(1)
		l.miss(Gap{l.at.ID, m.ID, 1})
		return s.tell(l), true
	}
	fl := flight{packet: packet, stream: int32(m.Stream), id: m.ID, n: m.N}
	if before && !s.resend(f, fl) || !before && !s.send(f, fl) {
		return false, false
	}
	l.pass(m.position())
	return true, true
}

// mayStill asks again of a message that waited: the app may have lost a right
// since, or the device been given to another. A device's session ends instead.
func (s *session) mayStill(f *frame) (may, sure bool) {
	if s.who.app == nil {
		return true, true
	}
	return s.b.mayRead(s.access.Load(), f.msg)
}

// askAgain has pump come again in a while, when the registry, or the store,
// could not say.
func (s *session) askAgain() {
	if s.outbox.asking {
		return
	}
	s.outbox.asking = true
	time.AfterFunc(blindFor, func() {
		s.mu.Lock()
		s.outbox.asking = false
		s.mu.Unlock()
		s.roomy()
		s.b.flusher.one(s.conn)
	})
}

// acknowledged is a PUBACK: the window has room again.
func (s *session) acknowledged(id uint16, code byte) *ending {
	s.mu.Lock()
	f, ok := s.outbox.window.give(id)
	s.kept.acked = s.kept.acked || ok
	if !ok {
		s.mu.Unlock()
		return nil
	}
	tell := s.errandAcked(id, code)
	s.mu.Unlock()
	tell()
	if f.claim != nil {
		f.claim.group.settle(f.claim)
		f.claim.group.poke() // perhaps it is not a member any more
	}
	s.roomy()
	return nil
}

// roomy is called when the connection or the window has room again: it sends
// what waits, and lets the groups use the room that is left.
func (s *session) roomy() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.pump()
	if s.who.app == nil { // of an app's session the saver sees when it is idle
		s.outbox.window.shrink()
	}
	groups := s.groups()
	s.mu.Unlock()
	for _, g := range groups {
		g.poke()
	}
}

// hold stops the sending of messages, or lets it go on.
func (s *session) hold(on bool) {
	s.mu.Lock()
	s.outbox.held = on
	s.mu.Unlock()
	if !on {
		s.roomy()
	}
}
