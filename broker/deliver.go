package broker

import (
	"slices"
	"sync"
)

// Deliver takes what is new in a stream to its subscribers, in order; end is
// where the stream stands then. Without messages the stream moved on over what
// the caller does not have, and whoever is subscribed reads that for itself. It
// is called by one goroutine for each stream and never waits for a subscriber:
// one without room reads the rest from the [Source] later.
func (b *Broker) Deliver(s Stream, msgs []*Message, end Position) {
	if len(msgs) == 0 {
		b.readOn(s)
	}
	touched := make([]*conn, 0, 16)
	for _, m := range msgs {
		touched = b.toApps(m, touched)
	}
	b.delivered.set(s, end)
	b.flusher.mark(touched...)
}

// readOn has the sessions and groups that follow a stream live read on from
// where Deliver last left it.
func (b *Broker) readOn(stream Stream) {
	if !slices.ContainsFunc(b.tops[stream], b.index.wants) {
		return // no lane can be live
	}
	at := b.delivered.get(stream)
	for _, s := range b.sessions.of("") {
		s.mu.Lock()
		wrote := false
		if l := s.outbox.lane(stream); l != nil && l.live {
			l.live = false
			l.pass(at)
			wrote = s.pump()
		}
		s.mu.Unlock()
		if wrote {
			b.flusher.one(s.conn)
		}
	}
	for _, g := range b.index.allGroups() {
		g.poke()
	}
}

func (b *Broker) toApps(m *Message, touched []*conn) []*conn {
	match := b.index.match(m.Topic)
	if match == nil {
		return touched
	}
	subscribers := 0
	for i := range match.targets {
		t := &match.targets[i]
		may, sure := b.mayRead(t.s.access.Load(), m)
		if sure && !may {
			continue
		}
		t.s.mu.Lock()
		given, wrote := t.s.offer(m, t, sure)
		t.s.mu.Unlock()
		if given {
			subscribers++
		}
		if wrote {
			touched = touch(touched, t.s.conn)
		}
	}
	b.tellDelivered(m, subscribers)
	for _, g := range match.groups {
		g.poke()
	}
	return touched
}

func (b *Broker) tellDelivered(m *Message, subscribers int) {
	if b.cfg.OnDelivered != nil && subscribers > 0 {
		b.cfg.OnDelivered(m, subscribers)
	}
}

// Wants tells cheaply whether anybody may be subscribed below a prefix such as "uplinks/".
func (b *Broker) Wants(prefix string) bool {
	if prefix == topicThings {
		devices, _ := b.sessions.counts()
		return devices > 0
	}
	return b.index.wants(prefix)
}

// marks are positions by stream.
type marks struct {
	mu sync.Mutex
	at map[Stream]Position
}

func (m *marks) set(s Stream, p Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = map[Stream]Position{}
	}
	m.at[s] = p
}

func (m *marks) get(s Stream) Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at[s]
}
