package downlink

import (
	"math/rand/v2"
	"sync"
	"time"
)

// agenda is when each partition is to be looked at, as far as this node knows: what it makes due itself it notes, and of what
// others make due it learns when it asks each partition again, every so often. So an idle partition costs one command in
// askEvery, and what another node left when it died is looked at that much later at most.
type agenda struct {
	mu    sync.Mutex
	parts []appointment
	until int64 // when Run looks again by itself, Unix ms
}

// appointment is a partition's, in Unix ms.
type appointment struct{ due, asked int64 }

// askEvery is how often each partition is asked what is due.
const askEvery = 10 * time.Second

// begin spreads the partitions' turns; all are asked at once first.
func (a *agenda) begin(partitions int, now time.Time) {
	a.parts = make([]appointment, partitions)
	for p := range a.parts {
		a.parts[p].asked = now.UnixMilli() - rand.Int64N(askEvery.Milliseconds())
	}
}

// take gives the partitions that are to be asked now.
func (a *agenda) take(now time.Time) (parts []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := now.UnixMilli()
	for p := range a.parts {
		one := &a.parts[p]
		stale := at-one.asked >= askEvery.Milliseconds()
		if one.due > at && !stale {
			continue
		}
		if one.due != 0 || stale { // the first time it keeps its own turn
			one.asked = at
		}
		one.due = never
		parts = append(parts, p)
	}
	return parts
}

// giveBack are some that could not be asked.
func (a *agenda) giveBack(parts []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range parts {
		a.parts[p].due = min(a.parts[p].due, 1)
	}
}

// due notes that something is due in a partition; it says whether that is before Run looks again.
func (a *agenda) due(p int, at int64) (sooner bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parts[p].due = min(a.parts[p].due, at)
	return at < a.until
}

// first is when the first is due.
func (a *agenda) first() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = never
	for _, one := range a.parts {
		a.until = min(a.until, one.due, one.asked+askEvery.Milliseconds())
	}
	return time.UnixMilli(a.until)
}

// dueAt notes what this node makes due, and wakes Run if that is sooner than it thinks.
func (s *Service) dueAt(p int, at time.Time) {
	if s.agenda.due(p, at.UnixMilli()) {
		s.nudge()
	}
}

// nudge has Run look now.
func (s *Service) nudge() {
	select {
	case s.nudges <- struct{}{}:
	default:
	}
}
