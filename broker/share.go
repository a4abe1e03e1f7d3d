package broker

import (
	"slices"
	"sync"
)

// groupKey names a shared subscription: the same group and filter of two apps are two.
type groupKey struct{ app, name, filter string }

// group is the members of a shared subscription and what waits for them. What
// no member has room for waits with the group, so that nothing is parked at a
// member that is idle or away; the next one with room takes it.
type group struct {
	b     *Broker
	limit int // of queue
	most  int // of bytes

	mu      sync.Mutex
	members []*subscription
	next    int // whose turn it is
	queue   []*shared
	bytes   int // of the payloads in queue
	gap     gap
}

// offer gives m to the next member with room, or lets it wait.
func (g *group) offer(m *shared, touched []*conn) []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 {
		return touched
	}
	if g.gap.count > 0 || g.full(m) {
		g.miss(m)
	} else {
		g.queue = append(g.queue, m)
		g.bytes += len(m.Payload)
	}
	return g.feed(touched)
}

// full reports whether m may not wait: a single message always may.
func (g *group) full(m *shared) bool {
	return len(g.queue) >= g.limit || len(g.queue) > 0 && g.bytes+len(m.Payload) > g.most
}

func (g *group) miss(m *shared) {
	g.gap.add(&frame{msg: m})
	g.b.count.missed.Add(1)
}

// feed hands on what waits while members have room, and then tells one of them what was missed.
func (g *group) feed(touched []*conn) []*conn {
	for len(g.queue) > 0 && len(g.members) > 0 {
		m := g.queue[0]
		s, wait := g.give(m)
		if wait {
			return touched
		}
		g.bytes -= len(m.Payload)
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if s != nil {
			touched = touch(touched, s.conn)
		}
	}
	g.queue, g.bytes = nil, 0
	if g.gap.count > 0 {
		if s := g.giveGap(); s != nil {
			touched = touch(touched, s.conn)
		}
	}
	return touched
}

// give has the next member with room take m, and gives its session; wait when
// none has room. A message that the app may not read goes to nobody; one too
// large for every member is missed.
func (g *group) give(m *shared) (_ *session, wait bool) {
	switch may, sure := g.b.mayRead(g.members[0].s.access.Load(), m); {
	case !sure:
		g.miss(m)
		return nil, false
	case !may:
		return nil, false
	}
	large := 0
	for i := range g.members {
		at := (g.next + i) % len(g.members)
		sub := g.members[at]
		f := m.encode(options{version: sub.s.version, qos: sub.qos, ids: sub.ids(), retain: m.Retain && sub.retained(sub.s.version), group: g})
		if max := sub.s.outbox.maxSize; max > 0 && f.size() > int(max) {
			large++
			continue
		}
		if sub.s.takes(f) {
			g.next = at + 1
			return sub.s, false
		}
	}
	if large == len(g.members) {
		g.miss(m)
	}
	return nil, large < len(g.members)
}

// giveGap tells a member with room.
func (g *group) giveGap() *session {
	for _, sub := range g.members {
		g.gap.qos = sub.qos
		if sub.s.takes(g.gap.frame(sub.s.version)) {
			sub.s.tellGap(g.gap)
			g.gap = gap{}
			return sub.s
		}
	}
	return nil
}

// takes gives the session f if nothing waits there and it has room at once.
func (s *session) takes(f *frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.outbox.waiting() == 0 && s.outbox.gap.count == 0 && s.conn.hasRoom() && s.send(f)
}

// groups are those the session is a member of. Called with session.mu held.
func (s *session) groups() (list []*group) {
	for _, sub := range s.subs {
		if sub.group != nil {
			list = append(list, sub.group)
		}
	}
	return list
}

// feed lets groups use the room that a member has again. Not with session.mu held.
func feed(groups []*group) {
	for _, g := range groups {
		g.mu.Lock()
		touched := g.feed(nil)
		g.mu.Unlock()
		g.b.flusher.mark(touched...)
	}
}

// giveBack returns what a member that left has not acknowledged, for another
// (MQTT 5 §4.8.2). A member that only unsubscribed keeps what it has.
func (s *session) giveBack(g *group) {
	s.mu.Lock()
	var back []*shared
	if s.ended {
		for _, f := range s.outbox.window.unacknowledged(func(f *frame) bool { return f.group == g }) {
			back = append(back, f.msg)
		}
	}
	s.mu.Unlock()
	g.mu.Lock()
	if len(g.members) > 0 {
		g.queue = slices.Concat(back, g.queue)
		for _, m := range back {
			g.bytes += len(m.Payload)
		}
	}
	touched := g.feed(nil)
	g.mu.Unlock()
	g.b.flusher.mark(touched...)
}
