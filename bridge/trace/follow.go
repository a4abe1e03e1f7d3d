package trace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"m2mbridge/auth"
)

// Announcer tells all nodes that somebody follows a device.
type Announcer interface {
	AnnounceTrace(ctx context.Context, id auth.DeviceID) error
}

// Errors of following.
var (
	ErrBusy        = errors.New("as many devices are followed as can be")
	ErrShare       = errors.New("the app follows 64 devices at this node, or did just now, which is its share")
	ErrUnavailable = errors.New("the steps cannot be read")
)

const (
	renewEvery = 20 * time.Second       // between announcements of a device, however many follow it
	answerIn   = 300 * time.Millisecond // what nodes have of a device is there then
	maxAsked   = 256                    // devices followed at this node, now or within renewEvery
	maxShare   = maxAsked / 4           // of them those that one app was the first to follow
)

// ask is a device that this node's clients follow.
type ask struct {
	by        string // the app that was the first to follow it
	followers int
	announced time.Time
}

// lapsed tells that nobody needs it: who follows the device next announces it.
func (a *ask) lapsed(now time.Time) bool {
	return a.followers == 0 && now.Sub(a.announced) >= renewEvery
}

// Follower reads the steps of one device, of all nodes. It is for one goroutine.
type Follower struct {
	t     *Trace
	id    auth.DeviceID
	ready time.Time
	last  string            // id of the last entry read
	seen  map[string]uint64 // number of the last step by node
	begun bool
}

// Follow starts to follow a device for an app; Close must be called.
func (t *Trace) Follow(ctx context.Context, app string, id auth.DeviceID) (*Follower, error) {
	announced, fresh, err := t.enter(app, id)
	if err != nil {
		return nil, err
	}
	if fresh {
		if err := t.cfg.Registry.AnnounceTrace(ctx, id); err != nil {
			t.leave(id, true)
			return nil, fmt.Errorf("announce a follower of %s: %w", id, err)
		}
	}
	return &Follower{t: t, id: id, ready: announced.Add(answerIn), seen: map[string]uint64{}}, nil
}

// enter counts a follower; fresh asks that it be announced.
func (t *Trace) enter(app string, id auth.DeviceID) (announced time.Time, fresh bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	a := t.asked[id]
	if a == nil {
		t.forget(now)
		switch {
		case len(t.asked) >= maxAsked:
			return now, false, ErrBusy
		case t.askedBy(app) >= maxShare:
			return now, false, ErrShare
		}
		a = &ask{by: app}
		t.asked[id] = a
	}
	a.followers++
	if fresh = now.Sub(a.announced) >= renewEvery; fresh {
		a.announced = now
	}
	return a.announced, fresh, nil
}

func (t *Trace) askedBy(app string) (n int) {
	for _, a := range t.asked {
		if a.by == app {
			n++
		}
	}
	return n
}

func (t *Trace) leave(id auth.DeviceID, unheard bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.asked[id]
	a.followers--
	if unheard {
		a.announced = time.Time{}
	}
}

func (t *Trace) forget(now time.Time) {
	for id, a := range t.asked {
		if a.lapsed(now) {
			delete(t.asked, id)
		}
	}
}

// renew announces what this node's clients still follow.
func (t *Trace) renew(ctx context.Context) {
	var due []auth.DeviceID
	t.mu.Lock()
	now := time.Now()
	t.forget(now)
	for id, a := range t.asked {
		if a.followers > 0 && now.Sub(a.announced) > renewEvery-beat {
			due = append(due, id)
		}
	}
	t.mu.Unlock()
	for _, id := range due {
		if t.cfg.Registry.AnnounceTrace(ctx, id) != nil {
			return // the next beat tries again, well before it has lapsed
		}
		t.mu.Lock()
		if a := t.asked[id]; a != nil {
			a.announced = now
		}
		t.mu.Unlock()
	}
}

// Ready is when all nodes have told what they kept; before, Next gives nothing.
func (f *Follower) Ready() time.Time { return f.ready }

// Next gives the steps that came since the last call; at first, the last ones
// that were kept, Kept at most, in the order of their time.
func (f *Follower) Next(ctx context.Context) ([]Step, error) {
	if time.Now().Before(f.ready) {
		return nil, nil
	}
	found, last, err := f.t.read(ctx, f.id, f.last)
	if err != nil {
		return nil, err
	}
	f.last = last
	steps := found[:0]
	for _, s := range found {
		if s.N > f.seen[s.Node] {
			f.seen[s.Node] = s.N
			steps = append(steps, s)
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.At.Compare(b.At) })
	if !f.begun {
		f.begun = true
		steps = steps[max(0, len(steps)-Kept):]
	}
	return steps, nil
}

// Close ends it.
func (f *Follower) Close() { f.t.leave(f.id, false) }

// Last gives the last steps of a device, Kept at most, of all nodes.
func (t *Trace) Last(ctx context.Context, app string, id auth.DeviceID) ([]Step, error) {
	f, err := t.Follow(ctx, app, id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	select {
	case <-time.After(time.Until(f.ready)):
		return f.Next(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
