package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// replay is what is retained for a new subscription. It is read a page at a
// time, as the session has room: of ever so many devices, few states wait.
//
// As long as it goes on, what is new of presence waits in its stream: a state
// that was read a moment ago must not come behind a newer one. So a change may
// be seen twice, as the state and as what led to it, but the last is the latest.
type replay struct {
	number uint64
	filter string // as the client gave it
	inner  string
	qos    byte
	ids    []int
	after  string // how far it was read
}

// replayPage is how many retained messages wait in a session, about.
const replayPage = 128

// replay has what is retained for a new filter sent: [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
func (s *session) replay(f *packets.Subscription, before bool) {
	group, inner, _ := appFilter(f.Filter)
	if s.b.cfg.Retained == nil || s.who.app == nil || group != "" || !mayBeRetained(inner) ||
		f.RetainHandling == 2 || f.RetainHandling == 1 && before {
		return
	}
	r := replay{number: s.b.replays.Add(1), filter: f.Filter, inner: inner, qos: min(f.Qos, 1)}
	if f.Identifier > 0 {
		r.ids = []int{f.Identifier}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outbox.replays = slices.DeleteFunc(s.outbox.replays, func(old replay) bool { return old.filter == f.Filter })
	if !slices.ContainsFunc(s.subs, func(sub *subscription) bool { return sub.filter == f.Filter }) {
		return // given up meanwhile
	}
	s.outbox.replays = append(s.outbox.replays, r)
	for i := range s.outbox.lanes {
		if l := &s.outbox.lanes[i]; l.live && s.isHeldBack(l) {
			l.pass(s.b.delivered.get(l.stream)) // what came up to there was offered
			l.live = false
		}
	}
}

// mayBeRetained: presence is all that is retained.
func mayBeRetained(filter string) bool {
	top, _, _ := strings.Cut(filter, "/")
	return top == "presence" || top == "#" || top == "+"
}

// isHeldBack: what is new in the lane's stream may overtake what is retained.
func (s *session) isHeldBack(l *lane) bool {
	return len(s.outbox.replays) > 0 && slices.Contains(s.b.tops[l.stream], "presence")
}

// dropReplays ends those of filters that are not subscribed to any more. Called
// with session.mu held.
func (s *session) dropReplays() {
	s.outbox.replays = slices.DeleteFunc(s.outbox.replays, func(r replay) bool {
		return !slices.ContainsFunc(s.subs, func(sub *subscription) bool { return sub.filter == r.filter })
	})
}

// wantsReplay: there is something retained to read, and room for it.
func (s *session) wantsReplay() bool {
	o := &s.outbox
	return len(o.replays) > 0 && len(o.waiting) == 0 && !s.ended && !o.held && !o.window.full() && s.conn.hasRoom()
}

// readReplay reads a page of what is retained; false if none is wanted.
func (s *session) readReplay() bool {
	s.mu.Lock()
	if !s.wantsReplay() {
		s.mu.Unlock()
		return false
	}
	r := s.outbox.replays[0]
	s.mu.Unlock()

	list, next, err := s.b.catchUp.retained(&r)
	list = slices.DeleteFunc(list, func(m *Message) bool {
		may, sure := s.b.mayRead(s.access.Load(), m)
		return !matches(r.inner, m.Topic) || sure && !may
	})

	s.mu.Lock()
	s.outbox.reading = false
	if err != nil {
		s.askAgain()
	} else {
		s.takeReplay(&r, list, next)
	}
	s.pump()
	s.mu.Unlock()
	s.b.flusher.one(s.conn)
	return true
}

// retained reads a page, when it is its turn.
func (c *catchUp) retained(r *replay) ([]*Message, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	select {
	case c.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	defer func() { <-c.reads }()
	return c.b.cfg.Retained(ctx, r.inner, r.after, replayPage)
}

// takeReplay has a page wait for its turn in pump, unless the replay has ended
// meanwhile. Called with session.mu held.
func (s *session) takeReplay(r *replay, list []*Message, next string) {
	o := &s.outbox
	if s.ended || len(o.replays) == 0 || o.replays[0].number != r.number {
		return
	}
	for _, m := range list {
		f := m.encode(options{version: s.version, qos: r.qos, retain: true, ids: r.ids})
		if !o.tooLarge(f) {
			o.waiting = append(o.waiting, f)
		}
	}
	if o.replays[0].after = next; next == "" {
		o.replays = slices.Delete(o.replays, 0, 1)
	}
}
