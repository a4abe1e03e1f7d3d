package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// tape is the streams of a test, in memory: the Source of the brokers that play
// it. 0 is uplinks, 1 rejects, 2 events and presence.
type tape struct {
	mu    sync.Mutex
	reels [3]reel
	ring  int   // how many of the latest are recent; 0: all
	fail  error // of Page and Get
	pages int
	wide  int // the most entries a page was asked for
}

type reel struct {
	msgs    []*Message
	trimmed int // from the front of msgs
}

func streamOf(topic string) Stream {
	switch top, _, _ := strings.Cut(topic, "/"); top {
	case "rejects":
		return 1
	case "events", "presence":
		return 2
	}
	return 0
}

// add puts messages on the tape, numbered from 1-0 on in each stream.
func (p *tape) add(msgs ...*Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range msgs {
		m.Stream = streamOf(m.Topic)
		r := &p.reels[m.Stream]
		m.Prev, m.N = r.end().ID, int64(len(r.msgs))+1
		m.ID = ID{uint64(m.N), 0}
		r.msgs = append(r.msgs, m)
	}
}

// trim leaves the last n entries of a stream.
func (p *tape) trim(s Stream, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.reels[s]
	r.trimmed = max(r.trimmed, len(r.msgs)-n)
}

func (r *reel) end() Position {
	if len(r.msgs) == 0 {
		return Position{}
	}
	return r.msgs[len(r.msgs)-1].position()
}

// from is the index of the first message behind id.
func (r *reel) from(id ID) int {
	i, _ := slices.BinarySearchFunc(r.msgs, id, func(m *Message, id ID) int {
		if id.Less(m.ID) {
			return 1
		}
		return -1
	})
	return i
}

func (p *tape) Of(top string) []Stream {
	switch top {
	case "uplinks", "rejects", "events", "presence":
		return []Stream{streamOf(top + "/")}
	}
	return nil
}

func (p *tape) Name(s Stream) string { return []string{"uplinks", "rejects", "events"}[s] }

func (p *tape) End(s Stream) Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reels[s].end()
}

func (p *tape) Recent(s Stream, after ID, buf []*Message) ([]*Message, Position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.reels[s]
	start := r.trimmed
	if p.ring > 0 {
		start = max(start, len(r.msgs)-p.ring)
	}
	i := r.from(after)
	if i < start {
		return buf, r.end(), false
	}
	n := min(len(r.msgs)-i, cap(buf)-len(buf))
	return append(buf, r.msgs[i:i+n]...), r.end(), true
}

func (p *tape) Page(_ context.Context, s Stream, after Position, limit int) (Page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages++
	p.wide = max(p.wide, limit)
	if p.fail != nil {
		return Page{}, p.fail
	}
	r := &p.reels[s]
	i, page := r.from(after.ID), Page{Next: after}
	if i < r.trimmed {
		if after.ID != (ID{}) {
			page.Gap = &Gap{From: after.ID, To: r.msgs[r.trimmed-1].ID, Count: int64(r.trimmed - i)}
		}
		i = r.trimmed
		page.Next = r.msgs[i-1].position()
	}
	n := min(len(r.msgs)-i, limit)
	page.Messages, page.Full = r.msgs[i:i+n], n == limit
	if n > 0 {
		page.Next = page.Messages[n-1].position()
	}
	return page, nil
}

func (p *tape) Get(_ context.Context, s Stream, ids []ID) (list []*Message, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.reels[s]
	for _, id := range ids {
		if i := r.from(id.Prev()); i >= r.trimmed && i < len(r.msgs) && r.msgs[i].ID == id {
			list = append(list, r.msgs[i])
		}
	}
	return list, p.fail
}

func (p *tape) Start(after string) (func(Stream) Position, error) {
	var id ID
	if n, _ := fmt.Sscanf(after, "%d-%d", &id.MS, &id.Seq); n != 2 {
		return nil, errors.New("want a stream id")
	}
	return func(s Stream) Position {
		p.mu.Lock()
		defer p.mu.Unlock()
		return Position{id, int64(p.reels[s].from(id))}
	}, nil
}

// shelf keeps sessions and shared subscriptions in memory, for brokers that
// share it as nodes do.
type shelf struct {
	mu       sync.Mutex
	sessions map[SessionKey]Saved
	shares   map[ShareKey]map[Stream]*shareState
	saves    int
	detached map[SessionKey]bool // what the owner found, until it saves
	fail     error               // of everything
}

type shareState struct {
	at      Position
	members map[SessionKey]bool
	claims  map[ID]bool // held; false: free to take
}

func newShelf() *shelf {
	return &shelf{sessions: map[SessionKey]Saved{}, shares: map[ShareKey]map[Stream]*shareState{}, detached: map[SessionKey]bool{}}
}

func (h *shelf) Open(_ context.Context, s Saved, clean bool, limit int) (Saved, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, ok := h.sessions[s.Key]
	switch {
	case h.fail != nil:
		return Saved{}, false, h.fail
	case !ok && h.count(s.Key.App) >= limit:
		return Saved{}, false, ErrSessions
	}
	ok = ok && !clean && found.Expiry > 0 && found.AppCreated.Equal(s.AppCreated)
	if s.Seq = 0; ok && found.Seq == 0 { // its owner changed nothing
		found.Detached = h.detached[s.Key]
	}
	h.detached[s.Key] = ok && found.Detached
	if ok {
		s.Subscriptions, s.Cursors, s.InFlight = found.Subscriptions, found.Cursors, found.InFlight
	}
	h.sessions[s.Key] = s
	return found, ok, nil
}

func (h *shelf) Save(_ context.Context, list []Saved) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saves++
	errs := make([]error, len(list))
	for i, s := range list {
		old, ok := h.sessions[s.Key]
		switch {
		case h.fail != nil:
			errs[i] = h.fail
		case !ok:
			errs[i] = ErrRemoved
		case old.Owner != s.Owner:
			errs[i] = ErrTaken
		case s.Detached && s.Expiry == 0:
			delete(h.sessions, s.Key)
		case s.Seq <= old.Seq: // overtaken
		default:
			if s.Subscriptions == nil {
				s.Subscriptions = old.Subscriptions
			}
			h.sessions[s.Key] = s
		}
	}
	return errs
}

func (h *shelf) count(app string) (n int) {
	for k := range h.sessions {
		if k.App == app {
			n++
		}
	}
	return n
}

func (h *shelf) kept(app, client string) (Saved, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.sessions[SessionKey{app, client}]
	return s, ok
}

func (h *shelf) ruin(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

func (h *shelf) share(k ShareKey, s Stream, f func(*shareState)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	if h.shares[k] == nil {
		h.shares[k] = map[Stream]*shareState{}
	}
	if h.shares[k][s] == nil {
		h.shares[k][s] = &shareState{members: map[SessionKey]bool{}, claims: map[ID]bool{}}
	}
	f(h.shares[k][s])
	return nil
}

func (h *shelf) Join(_ context.Context, k ShareKey, streams []Stream, members []Member, start func(Stream) Position) (at []Position, err error) {
	for _, s := range streams {
		err = h.share(k, s, func(st *shareState) {
			if len(st.members) == 0 {
				st.at, st.claims = start(s), map[ID]bool{}
			}
			for _, m := range members {
				st.members[m.Key] = true
			}
			at = append(at, st.at)
		})
		if err != nil {
			return nil, err
		}
	}
	return at, nil
}

func (h *shelf) Leave(_ context.Context, k ShareKey, streams []Stream, member SessionKey) error {
	for _, s := range streams {
		if err := h.share(k, s, func(st *shareState) { delete(st.members, member) }); err != nil {
			return err
		}
	}
	return nil
}

func (h *shelf) Claim(_ context.Context, k ShareKey, s Stream, from, to Position, ids []ID) (at Position, ok bool, err error) {
	err = h.share(k, s, func(st *shareState) {
		if ok = st.at.ID == from.ID; ok {
			st.at = to
			for _, id := range ids {
				st.claims[id] = true
			}
		}
		at = st.at
	})
	return at, ok, err
}

func (h *shelf) Settle(_ context.Context, k ShareKey, s Stream, ids []ID) error {
	return h.share(k, s, func(st *shareState) {
		for _, id := range ids {
			delete(st.claims, id)
		}
	})
}

func (h *shelf) Renew(_ context.Context, k ShareKey, s Stream, ids []ID) error {
	return h.share(k, s, func(st *shareState) {
		for _, id := range ids {
			st.claims[id] = true
		}
	})
}

func (h *shelf) Release(_ context.Context, k ShareKey, s Stream, ids []ID) error {
	return h.share(k, s, func(st *shareState) {
		for _, id := range ids {
			st.claims[id] = false
		}
	})
}

func (h *shelf) Reclaim(_ context.Context, k ShareKey, s Stream, limit int) (ids []ID, err error) {
	err = h.share(k, s, func(st *shareState) {
		for id, held := range st.claims {
			if !held && len(ids) < limit {
				ids = append(ids, id)
				st.claims[id] = true
			}
		}
		slices.SortFunc(ids, ID.Compare)
	})
	return ids, err
}
