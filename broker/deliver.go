package broker

import "strings"

// Deliver takes messages to their subscribers, in order. It is called by one
// goroutine per partition and never waits for a subscriber: what does not fit
// its connection and window is queued, within bounds, and then missed.
// A message to things/<TYPE>/<value>/downlink goes to that device alone.
func (b *Broker) Deliver(msgs []Message) {
	touched := make([]*conn, 0, 16)
	for _, m := range msgs {
		if strings.HasPrefix(m.Topic, topicThings) {
			touched = b.toDevice(m, touched)
			continue
		}
		touched = b.toApps(m, touched)
	}
	b.flusher.mark(touched...)
}

func (b *Broker) toApps(m Message, touched []*conn) []*conn {
	match := b.index.match(m.Topic)
	if match == nil {
		return touched
	}
	msg := newShared(m)
	for i := range match.targets {
		t := &match.targets[i]
		may, sure := b.mayRead(t.s.access.Load(), msg)
		if sure && !may {
			continue
		}
		f := msg.frame(t.options(m.Retain))
		t.s.mu.Lock()
		wrote := t.s.offer(f, sure)
		t.s.mu.Unlock()
		if wrote {
			touched = touch(touched, t.s.conn)
		}
	}
	for _, g := range match.groups {
		touched = g.offer(msg, touched)
	}
	return touched
}

// toDevice uses the topic as the device spelled it when it subscribed.
func (b *Broker) toDevice(m Message, touched []*conn) []*conn {
	s := b.sessions.device(m.Device)
	if s == nil || !downlinkFilter(m.Device, m.Topic) {
		return touched
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.subs) == 0 {
		return touched
	}
	sub := s.subs[0] // others are spellings of the same topic
	f := newShared(m).frame(options{version: s.version, qos: sub.qos, topic: sub.filter, ids: sub.ids(), retain: m.Retain && sub.retained(s.version)})
	if s.offer(f, true) {
		touched = touch(touched, s.conn)
	}
	return touched
}

// Wants tells cheaply whether anybody may be subscribed below a prefix such as "uplinks/".
func (b *Broker) Wants(prefix string) bool {
	if prefix == topicThings {
		devices, _ := b.sessions.counts()
		return devices > 0
	}
	return b.index.wants(prefix)
}
