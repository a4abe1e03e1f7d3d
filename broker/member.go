package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// join makes a session a member. The first one of all nodes starts the
// subscription at start, or at the present.
//
// Where that fails, the session stays a member of the streams that it did join,
// until that lapses: it may have been one before, perhaps the only one, and then
// to leave would end the subscription.
func (g *group) join(ctx context.Context, s *session, start func(Stream) Position) error {
	g.work.Lock()
	defer g.work.Unlock()
	if err := g.renew(ctx, []*session{s}, start); err != nil {
		return errors.Join(errNotKept, err)
	}
	return nil
}

// renew is join with work held: a member counts for as long as it may be away
// after the connection's last sign of life. Where the store has forgotten the
// subscription, it goes on from where this node knows it to be.
func (g *group) renew(ctx context.Context, sessions []*session, start func(Stream) Position) error {
	members := make([]Member, len(sessions))
	for i, s := range sessions {
		members[i] = Member{s.kept.member, memberLease + s.expiry()}
	}
	g.mu.Lock()
	known := maps.Clone(g.lanes)
	g.mu.Unlock()
	at, err := g.b.cfg.Share.Join(ctx, g.key, g.streams, members, func(s Stream) Position {
		switch {
		case known[s] != nil:
			return known[s].at
		case start != nil:
			return start(s)
		}
		return g.b.cfg.Source.End(s)
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, stream := range g.streams {
		if l := g.lanes[stream]; l == nil || l.at.ID != at[i].ID {
			g.lanes[stream] = &shareLane{at: at[i], read: at[i]}
		}
	}
	return nil
}

// memberLease is how long a member counts that its node does not renew.
const memberLease = 15 * time.Second

// leave ends a membership.
func (g *group) leave(ctx context.Context, k SessionKey) {
	g.work.Lock()
	defer g.work.Unlock()
	_ = g.b.cfg.Share.Leave(ctx, g.key, g.streams, k) // else it lapses
}

// room is how many messages the members can take now.
func (g *group) room() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.roomLocked()
	for _, c := range g.back {
		if !c.large { // those wait for others than have room
			n--
		}
	}
	return max(n, 0)
}

func (g *group) roomLocked() (n int) {
	for _, sub := range g.members {
		n += sub.s.room(sub.qos)
	}
	return min(n, shareAtOnce)
}

func (s *session) room(qos byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.outbox.held || !s.conn.hasRoom():
		return 0
	case qos == 0:
		return shareAtOnce
	}
	return s.outbox.window.free()
}

// lookFor bounds how long a beat looks at streams; the next one goes on there.
const lookFor = time.Second

// beat renews what this node holds, and looks for what others let go.
func (g *group) beat() error {
	g.work.Lock()
	defer g.work.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	var sessions []*session
	for _, sub := range g.members {
		sessions = append(sessions, sub.s)
	}
	ids := g.claimed()
	g.mu.Unlock()
	if err := g.renew(ctx, sessions, nil); err != nil {
		return err
	}
	for stream, list := range ids {
		if err := g.b.cfg.Share.Renew(ctx, g.key, stream, list); err != nil {
			return err
		}
	}
	if err := g.letGo(ctx); err != nil {
		return err
	}
	for begun, n := time.Now(), 0; n < len(g.streams) && time.Since(begun) < lookFor; n++ {
		stream := g.streams[g.look%len(g.streams)]
		g.look++
		if err := g.moveOn(ctx, stream); err != nil {
			return err
		}
		if err := g.reclaim(ctx, stream); err != nil {
			return err
		}
	}
	return nil
}

// letGo releases what no member here has had room for since the beat before
// last: others may have.
func (g *group) letGo(ctx context.Context) error {
	free := map[Stream][]ID{}
	g.mu.Lock()
	g.back = slices.DeleteFunc(g.back, func(c *claim) bool {
		if c.beats++; c.beats <= 2 {
			return false
		}
		delete(g.open, c)
		free[c.stream] = append(free[c.stream], c.id)
		return true
	})
	g.mu.Unlock()
	for stream, ids := range free {
		if err := g.b.cfg.Share.Release(ctx, g.key, stream, ids); err != nil {
			return err // else they lapse
		}
	}
	return nil
}

// moveOn moves the subscription over what was for nobody.
func (g *group) moveOn(ctx context.Context, stream Stream) error {
	g.mu.Lock()
	l := g.lanes[stream]
	g.mu.Unlock()
	if l == nil || !l.at.ID.Less(l.read.ID) {
		return nil
	}
	at, ok, err := g.b.cfg.Share.Claim(ctx, g.key, stream, l.at, l.read, nil)
	switch {
	case err != nil:
		return err
	case ok:
		l.at = l.read
	default:
		l.at, l.read = at, at
	}
	return nil
}

// end lets go what this node has taken, when no member is left here.
func (g *group) end(ctx context.Context) {
	g.work.Lock()
	defer g.work.Unlock()
	g.mu.Lock()
	g.closed = true
	ids := g.claimed()
	g.back, g.open = nil, map[*claim]struct{}{}
	g.mu.Unlock()
	_ = g.tellSettled(ctx) // else those lapse, and come twice
	for stream, list := range ids {
		_ = g.b.cfg.Share.Release(ctx, g.key, stream, list) // else they lapse
	}
}

// groups are those the session is a member of. Called with session.mu held.
func (s *session) groups() (list []*group) {
	for _, sub := range s.subs {
		if g := sub.group.Load(); g != nil {
			list = append(list, g)
		}
	}
	return list
}

type shareGap struct {
	stream Stream
	gap    Gap
}

// miss notes what the group missed. Called with mu held.
func (g *group) miss(stream Stream, gap Gap) {
	g.gaps = append(g.gaps, shareGap{stream, gap})
	g.b.count.missed.Add(max(gap.Count, 1))
}

// tellGaps tells a member with room what the group missed. Called with mu held.
func (g *group) tellGaps() {
	for len(g.gaps) > 0 && len(g.members) > 0 {
		missed := g.gaps[0]
		notice := missed.gap.notice(g.b.cfg.Source.Name(missed.stream))
		i := slices.IndexFunc(g.members, func(sub *subscription) bool {
			return sub.s.room(sub.qos) > 0 && sub.s.notify(notice.encode(options{version: sub.s.version, qos: sub.qos}))
		})
		if i < 0 {
			return
		}
		g.gaps = g.gaps[1:]
		g.b.count.gaps.Add(1)
		s := g.members[i].s
		g.b.cfg.OnGap(Missed{Session: s.key(), Stream: missed.stream, Gap: missed.gap})
		g.b.flusher.one(s.conn)
	}
}

func (s *session) notify(f *frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && (s.outbox.tooLarge(f) || s.send(f, flight{stream: noStream}))
}
