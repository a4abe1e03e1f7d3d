package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// lane gathers the lookups that are waiting and asks Redis for all of them in one pipeline. It has no goroutine of its
// own: a lookup that finds fewer than the permitted pipelines under way leads the next one, and when it has its answer
// it hands the lead to the first of those that came meanwhile.
type lane struct {
	fetch   func(ctx context.Context, asks []*ask)
	leaders int // pipelines under way at once
	batch   int // lookups in one of them
	limit   int // lookups waiting; one more is ErrBusy
	asks    sync.Pool

	mu      sync.Mutex
	leading int
	waiting []*ask // those in no pipeline, without the leaders; empty unless leading == leaders
}

// ask is one lookup.
type ask struct {
	id    DeviceID
	due   time.Time // when it fails for lack of an answer
	turn  chan bool // told once: false, the answer is here; true, lead the next pipeline
	gone  bool      // nobody waits for it any more; under the lane's lock
	text  string    // the answer: the record's text
	found bool      // false: no such device
	err   error
}

// askLimit bounds a lookup, waiting for its turn included; the caller is to be told within half a second.
const askLimit = 400 * time.Millisecond

var errNoAnswer = errors.New("no answer in time")

func newLane(leaders, batch, limit int, fetch func(context.Context, []*ask)) *lane {
	l := &lane{fetch: fetch, leaders: leaders, batch: batch, limit: limit}
	l.asks.New = func() any { return &ask{turn: make(chan bool, 1)} }
	return l
}

// look gives the text of a device's record in Redis; found is false if there is no such device.
func (l *lane) look(ctx context.Context, id DeviceID) (text string, found bool, err error) {
	a := l.asks.Get().(*ask)
	a.id, a.due = id, time.Now().Add(askLimit)
	leads, err := l.join(a)
	if err == nil && !leads {
		leads, err = l.await(ctx, a)
	}
	if err != nil {
		return "", false, err // a leader may still write to it: it does not go back to the pool
	}
	if leads {
		l.lead(a)
	}
	text, found, err = a.text, a.found, a.err
	*a = ask{turn: a.turn}
	l.asks.Put(a)
	return text, found, err
}

// join queues a lookup, or has it lead at once.
func (l *lane) join(a *ask) (leads bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leading < l.leaders {
		l.leading++
		return true, nil
	}
	if len(l.waiting) >= l.limit {
		return false, ErrBusy
	}
	l.waiting = append(l.waiting, a)
	return false, nil
}

// await waits for the answer or the lead.
func (l *lane) await(ctx context.Context, a *ask) (leads bool, err error) {
	select {
	case leads = <-a.turn:
		return leads, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case leads = <-a.turn: // just then; the lead must not be lost
		return leads, nil
	default:
		a.gone = true
		return false, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// lead runs one pipeline for its own lookup and those waiting, and hands on.
func (l *lane) lead(own *ask) {
	asks := l.take(own)
	l.run(asks)
	for _, a := range asks {
		if a != own {
			a.turn <- false
		}
	}
	l.handOn()
}

// take removes the lookups that go with own from the queue.
func (l *lane) take(own *ask) []*ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.waiting), l.batch-1)
	asks := append(make([]*ask, 0, n+1), own)
	asks = append(asks, l.waiting[:n]...)
	l.waiting = append(l.waiting[:0], l.waiting[n:]...)
	return asks
}

// run asks for those that are not overdue already. The first due bounds all: each is answered in its time.
func (l *lane) run(asks []*ask) {
	now := time.Now()
	due := now.Add(askLimit)
	live := 0
	for i, a := range asks {
		if !now.Before(a.due) {
			a.err = fmt.Errorf("%w: %w", ErrUnavailable, errNoAnswer)
			continue
		}
		if a.due.Before(due) {
			due = a.due
		}
		asks[live], asks[i] = a, asks[live]
		live++
	}
	if live == 0 {
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), due)
	defer cancel()
	l.fetch(ctx, asks[:live])
}

// handOn gives the lead to the first that waits, or ends it.
func (l *lane) handOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, a := range l.waiting {
		if !a.gone {
			l.waiting = append(l.waiting[:0], l.waiting[i+1:]...)
			a.turn <- true
			return
		}
	}
	l.waiting = l.waiting[:0]
	l.leading--
}
