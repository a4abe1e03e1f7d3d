package broker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// group is the members that a shared subscription has on this node. The
// subscription itself is one cursor a stream for all nodes (Config.Share): a
// node takes from it what its members have room for, by a claim that is held
// until it is acknowledged. Nothing is parked at a member that is idle or away.
type group struct {
	b       *Broker
	key     ShareKey
	streams []Stream

	work sync.Mutex // one at a time takes, settles and renews

	mu      sync.Mutex
	members []*subscription
	turn    int // whose it is to take the next message
	look    int // which stream the next beat looks at; under work
	lanes   map[Stream]*shareLane
	back    []*claim            // taken, and no member has it
	open    map[*claim]struct{} // taken, and not settled: those in back and with members
	settled map[Stream][]ID     // acknowledged, and not told yet
	gaps    []shareGap
	poked   bool // there is something to do
	running bool
	closed  bool // no member is left here
}

// shareLane is where the subscription stands in a stream, as this node knows.
type shareLane struct {
	at     Position // of the subscription
	read   Position // how far was read on from there without finding anything
	stride int
}

const (
	shareAtOnce = 128                    // claims made at once
	shareSkip   = 1024                   // entries for nobody, after which the subscription is moved on
	sharePause  = 200 * time.Millisecond // after the store failed
)

// errNotKept: the store could not say.
var errNotKept = errors.New("the subscription could not be kept")

func newGroup(b *Broker, k ShareKey) *group {
	g := &group{b: b, key: k, streams: b.streamsOf(k.Filter), lanes: map[Stream]*shareLane{}, open: map[*claim]struct{}{}, settled: map[Stream][]ID{}}
	for _, s := range g.streams {
		g.lanes[s] = nil // until a member has joined
	}
	return g
}

// poke has the group hand on what it can.
func (g *group) poke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.poked = true
	if !g.running {
		g.running = true
		g.b.background.Go(g.run)
	}
}

func (g *group) run() {
	for g.again() {
		if g.pass() != nil {
			g.pokeLater()
		}
	}
}

// pokeLater tries again in a moment; one that is ended tries no more.
func (g *group) pokeLater() {
	time.AfterFunc(sharePause, func() {
		if !g.b.finished.Load() {
			g.poke()
		}
	})
}

func (g *group) again() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running = g.poked; g.running {
		g.poked = false
	}
	return g.running
}

// pass settles, and hands on until no member has room or nothing is left.
func (g *group) pass() error {
	g.work.Lock()
	defer g.work.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	if err := g.tellSettled(ctx); err != nil {
		return err
	}
	if err := g.refill(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	g.handBack()
	g.mu.Unlock()
	for _, stream := range g.streams {
		for more := true; more; {
			room := g.room()
			if room == 0 {
				return nil
			}
			var err error
			if more, err = g.advance(ctx, stream, room); err != nil {
				return err
			}
		}
	}
	return nil
}

// advance takes what is next in a stream, up to room messages; more if there may be more.
func (g *group) advance(ctx context.Context, stream Stream, room int) (more bool, err error) {
	g.mu.Lock()
	l := g.lanes[stream]
	g.mu.Unlock()
	if l == nil {
		return false, nil
	}
	found, err := g.read(ctx, stream, l, room)
	if err != nil {
		return false, err
	}
	msgs, to, more := found.msgs, found.to, found.more
	if len(msgs) == 0 && !l.far(to) && found.gap == nil {
		l.read = to
		return more, nil
	}
	ids := make([]ID, len(msgs))
	for i, m := range msgs {
		ids[i] = m.ID
	}
	at, ok, err := g.b.cfg.Share.Claim(ctx, g.key, stream, l.at, to, ids)
	if err != nil {
		return false, err // perhaps done: then the claims lapse, and are taken again
	}
	if !ok { // another node was before us
		l.at, l.read = at, at
		return true, nil
	}
	l.at, l.read = to, to
	if found.gap != nil {
		g.mu.Lock()
		g.miss(stream, *found.gap)
		g.mu.Unlock()
	}
	g.hold(msgs)
	return more, nil
}

// far reports whether so much was read in vain that the others should know.
func (l *shareLane) far(to Position) bool {
	return l.at.N < 0 && l.at.ID != to.ID || to.N-l.at.N >= shareSkip
}

// finding is what was read for a group.
type finding struct {
	msgs []*Message
	to   Position // how far it reaches
	more bool     // there may be more
	gap  *Gap     // before it
}

// read finds the next messages for the group, up to room.
func (g *group) read(ctx context.Context, stream Stream, l *shareLane, room int) (f finding, err error) {
	list, end, err := g.next(ctx, stream, l.read, min(room*max(l.stride, 1), pageLimit), &f)
	if err != nil {
		return f, err
	}
	f.to = l.read
	if f.gap != nil {
		f.to = Position{f.gap.To, Unknown}
		if l.read.N >= 0 && f.gap.Count >= 0 {
			f.to.N = l.read.N + f.gap.Count
		}
	}
	for _, m := range list {
		mine, sure := g.mine(m)
		if !sure && len(f.msgs) == 0 && f.gap == nil {
			return f, errUnsure
		}
		if !sure {
			return f, nil // what there is first
		}
		f.to = m.position()
		if !mine {
			continue
		}
		if f.msgs = append(f.msgs, m); len(f.msgs) == room {
			f.more = true
			return f, nil
		}
	}
	if l.stride = max(l.stride, 1); 4*len(f.msgs) < len(list) {
		l.stride = min(2*l.stride, maxStride)
	}
	if f.to.ID.Less(end.ID) {
		f.to = end
	}
	return f, nil
}

// next gives what is behind a position, from memory or from the store, and how far that reaches.
func (g *group) next(ctx context.Context, stream Stream, at Position, limit int, f *finding) (list []*Message, end Position, err error) {
	list, end, ok := g.b.cfg.Source.Recent(stream, at.ID, make([]*Message, 0, limit))
	switch {
	case ok && len(list) < limit:
		return list, end, nil
	case ok:
		f.more = true
		return list, list[limit-1].position(), nil
	}
	page, err := g.b.catchUp.page(ctx, stream, at, limit)
	if err != nil {
		return nil, at, err
	}
	if reach := page.Next; page.Full || !reach.ID.Less(end.ID) {
		end = reach
	} // else nothing lies between
	f.more, f.gap = at.ID.Less(end.ID), page.Gap
	return page.Messages, end, nil
}

var errUnsure = errors.New("the registry cannot say who may see a message")

func (g *group) mine(m *Message) (mine, sure bool) {
	if !matches(g.key.Filter, m.Topic) {
		return false, true
	}
	g.mu.Lock()
	if len(g.members) == 0 {
		g.mu.Unlock()
		return false, false
	}
	s := g.members[0].s
	g.mu.Unlock()
	return g.b.mayRead(s.access.Load(), m)
}
