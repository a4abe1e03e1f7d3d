package broker

import (
	"context"
	"errors"
	"slices"
)

// claim is a message that this node has taken for the group.
type claim struct {
	group  *group
	stream Stream
	id     ID
	n      int64
	large  bool // it did not fit those with room
	beats  int  // for how many nobody has had it
	// msg is missing while a member has it: it would hold the page that it came
	// in. It is read again should another get it.
	msg *Message
}

// hold notes claims, and hands them to members.
func (g *group) hold(msgs []*Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range msgs {
		c := &claim{group: g, stream: m.Stream, id: m.ID, n: m.N, msg: m}
		g.open[c] = struct{}{}
		g.back = append(g.back, c)
	}
	g.handBack()
}

// largeAtOnce is how many that did not fit are tried again at once.
const largeAtOnce = 4

// refill reads again what is to be handed on, up to what there is room for.
func (g *group) refill(ctx context.Context) error {
	missing := map[Stream][]*claim{}
	g.mu.Lock()
	room, large := g.roomLocked(), min(g.roomLocked(), largeAtOnce)
	for _, c := range g.back {
		left := &room
		if c.large {
			left = &large
		}
		if c.msg == nil && *left > 0 {
			*left--
			missing[c.stream] = append(missing[c.stream], c)
		}
	}
	g.mu.Unlock()
	for stream, list := range missing {
		ids := make([]ID, len(list))
		for i, c := range list {
			ids[i] = c.id
		}
		msgs, err := g.b.cfg.Source.Get(ctx, stream, ids)
		if err != nil {
			return err
		}
		g.refilled(list, msgs)
	}
	return nil
}

// refilled gives claims their messages; what was trimmed is missed.
func (g *group) refilled(list []*claim, msgs []*Message) {
	found := make(map[ID]*Message, len(msgs))
	for _, m := range msgs {
		found[m.ID] = m
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range list {
		if c.msg = found[c.id]; c.msg == nil {
			g.miss(c.stream, Gap{c.id.Prev(), c.id, 1})
			g.back = slices.DeleteFunc(g.back, func(other *claim) bool { return other == c })
			g.settleLocked(c)
		}
	}
}

// handBack gives members with room what nobody has, in the order of the stream;
// but one that is too large for those with room holds up nothing else. What
// nobody takes stays, without its message. Called with mu held.
func (g *group) handBack() {
	var touched []*conn
	kept, full := g.back[:0], false
	for _, c := range g.back {
		g.tellGaps()
		if full = full || c.msg == nil && !c.large; full || c.msg == nil {
			kept = append(kept, c)
			continue
		}
		s, got := g.give(c)
		if s != nil {
			touched = touch(touched, s.conn)
		}
		if got != settled {
			kept = append(kept, c)
		}
		c.large = got == noLargeOne
		full = got == noRoom
	}
	clear(g.back[len(kept):])
	g.back = kept
	g.tellGaps()
	for _, c := range g.back {
		c.msg = nil
	}
	g.b.flusher.mark(touched...)
}

// given is what became of a message that is to be handed on.
type given int

const (
	settled    given = iota // a member has it, or it is for nobody any more
	noRoom                  // no member has room, or nobody can say who may have it
	noLargeOne              // of those with room none takes a packet so large
)

// give has the next member with room take what was claimed, and gives its
// session. Settled, too, is a message that the app may not read any more, and
// one that is too large for all members.
func (g *group) give(c *claim) (*session, given) {
	large := 0
	for i := range g.members {
		at := (g.turn + i) % len(g.members)
		sub := g.members[at]
		switch may, sure := g.b.mayRead(sub.s.access.Load(), c.msg); {
		case !sure:
			g.pokeLater()
			return nil, noRoom
		case !may:
			g.settleLocked(c)
			return nil, settled
		}
		f := c.msg.frame(options{version: sub.s.version, qos: sub.qos, ids: sub.ids(), retain: c.msg.Retain && sub.retained(sub.s.version)})
		if sub.s.outbox.tooLarge(f) {
			large++
			continue
		}
		if sub.s.takes(f, c) {
			g.turn = at + 1
			g.b.tellDelivered(c.msg, 1)
			if c.msg = nil; f.idAt == 0 {
				g.settleLocked(c)
			}
			return sub.s, settled
		}
	}
	if large > 0 && large == len(g.members) {
		g.miss(c.stream, Gap{c.id.Prev(), c.id, 1})
		g.settleLocked(c)
		return nil, settled
	}
	if large > 0 {
		return nil, noLargeOne
	}
	return nil, noRoom
}

// takes gives the session f if it has room at once and nothing waits there.
func (s *session) takes(f *frame, c *claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.conn.hasRoom() &&
		s.send(f, flight{stream: int32(c.stream), id: c.id, n: c.n, claim: c})
}

// settle notes an acknowledgement; the store is told with others.
func (g *group) settle(c *claim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settleLocked(c)
}

func (g *group) settleLocked(c *claim) {
	if _, ok := g.open[c]; ok {
		delete(g.open, c)
		g.settled[c.stream] = append(g.settled[c.stream], c.id)
	}
}

func (g *group) tellSettled(ctx context.Context) error {
	g.mu.Lock()
	settled := g.settled
	g.settled = map[Stream][]ID{}
	g.mu.Unlock()
	var errs []error
	for stream, ids := range settled {
		if err := g.b.cfg.Share.Settle(ctx, g.key, stream, ids); err != nil {
			errs = append(errs, err)
			g.mu.Lock()
			g.settled[stream] = append(g.settled[stream], ids...)
			g.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}

// claimed are the ids of all open claims. Called with mu held.
func (g *group) claimed() map[Stream][]ID {
	ids := map[Stream][]ID{}
	for c := range g.open {
		ids[c.stream] = append(ids[c.stream], c.id)
	}
	return ids
}

// reclaim takes what another node had and did not settle, as far as there is room.
func (g *group) reclaim(ctx context.Context, stream Stream) error {
	room := g.room()
	if room == 0 {
		return nil
	}
	ids, err := g.b.cfg.Share.Reclaim(ctx, g.key, stream, room)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	held := map[ID]bool{}
	for c := range g.open {
		held[c.id] = held[c.id] || c.stream == stream
	}
	for _, id := range g.settled[stream] { // acknowledged, and not told yet
		held[id] = true
	}
	for _, id := range ids {
		if !held[id] { // else its own claim had lapsed
			c := &claim{group: g, stream: stream, id: id, n: Unknown}
			g.open[c] = struct{}{}
			g.back = append(g.back, c)
		}
	}
	return nil
}

// giveBack takes what a member that left has not acknowledged, for another
// (MQTT 5 §4.8.2).
func (g *group) giveBack(claims []*claim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range claims {
		c.beats = 0
	}
	claims = slices.DeleteFunc(claims, func(c *claim) bool { _, open := g.open[c]; return !open })
	g.back = slices.Concat(claims, g.back)
}
