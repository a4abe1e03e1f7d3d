package auth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a fetch that answers when it is let, and keeps what it was asked.
type gate struct {
	mu      sync.Mutex
	batches []int
	open    chan struct{}
}

func (g *gate) fetch(ctx context.Context, asks []*ask) {
	g.mu.Lock()
	g.batches = append(g.batches, len(asks))
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-ctx.Done():
	}
	for _, a := range asks {
		a.text, a.found, a.err = string(a.id), true, ctx.Err()
	}
}

func look(t *testing.T, l *lane, ctx context.Context, id DeviceID, want error) {
	t.Helper()
	text, found, err := l.look(ctx, id)
	if !errors.Is(err, want) || err == nil && (!found || text != string(id)) {
		t.Errorf("look %s = %q, %v, %v; want %v", id, text, found, err, want)
	}
}

func TestLaneSharesPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := newLane(2, 10, 100, g.fetch)
		for i := range 27 {
			go look(t, l, t.Context(), benchID(i), nil)
			synctest.Wait()
		}
		close(g.open)
		synctest.Wait()
		// Two lead alone; of the 25 waiting, each of the two that lead then takes nine with it, and the rest is shared.
		b := g.batches
		slices.SortFunc(b[2:], func(x, y int) int { return y - x }) // those that lead together are noted in any order
		if len(b) < 5 || len(b) > 6 || b[0] != 1 || b[1] != 1 || b[2] != 10 || b[3] != 10 {
			t.Errorf("batches = %v", b)
		}
		if l.leading != 0 || len(l.waiting) != 0 {
			t.Errorf("%d leading, %d waiting at the end", l.leading, len(l.waiting))
		}
	})
}

func TestLaneIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := newLane(1, 10, 5, g.fetch)
		for i := range 6 {
			go look(t, l, t.Context(), benchID(i), nil)
		}
		synctest.Wait()
		look(t, l, t.Context(), imei, ErrBusy)
		close(g.open)
		synctest.Wait()
	})
}

func TestLaneAnswersInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})} // never: Redis is stopped
		l := newLane(2, 4, 100, g.fetch)
		for i := range 50 {
			go func() {
				begun := time.Now()
				if _, _, err := l.look(t.Context(), benchID(i)); err == nil {
					t.Error("answered")
				}
				if took := time.Since(begun); took > askLimit {
					t.Errorf("answered after %s", took)
				}
			}()
			time.Sleep(10 * time.Millisecond) // virtual
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if l.leading != 0 || len(l.waiting) != 0 {
			t.Errorf("%d leading, %d waiting at the end", l.leading, len(l.waiting))
		}
	})
}

// Whoever gives up while waiting neither blocks the others nor takes the lead with him.
func TestLaneSurvivesThoseWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := newLane(1, 1, 100, g.fetch)
		ctx, leave := context.WithCancel(t.Context())
		go look(t, l, t.Context(), benchID(0), nil)
		synctest.Wait()
		for i := range 10 {
			who, want := t.Context(), error(nil)
			if i%2 == 0 {
				who, want = ctx, ErrUnavailable
			}
			go look(t, l, who, benchID(1+i), want)
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		close(g.open)
		synctest.Wait()
		if n := len(g.batches); n != 6 {
			t.Errorf("%d lookups made, want 6", n)
		}
		if l.leading != 0 || len(l.waiting) != 0 {
			t.Errorf("%d leading, %d waiting at the end", l.leading, len(l.waiting))
		}
	})
}

func TestLaneUnderLoad(t *testing.T) {
	l := newLane(2, 8, 1000, func(_ context.Context, asks []*ask) {
		for _, a := range asks {
			a.text, a.found = string(a.id), true
		}
	})
	var callers sync.WaitGroup
	for c := range 50 {
		callers.Go(func() {
			for i := range 500 {
				ctx, cancel := context.WithCancel(context.Background())
				if i%7 == 0 {
					cancel()
				}
				id := benchID(c*1000 + i)
				if text, found, err := l.look(ctx, id); err == nil && (!found || text != string(id)) {
					t.Errorf("look %s = %q, %v", id, text, found)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	if l.leading != 0 || len(l.waiting) != 0 {
		t.Errorf("%d leading, %d waiting at the end", l.leading, len(l.waiting))
	}
}
