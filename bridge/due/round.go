package due

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"
)

// claimAll claims, round after round, and sleeps while nothing is due or there
// is no room.
func (w *Worker) claimAll(ctx context.Context) {
	for ctx.Err() == nil {
		w.takeMail()
		began := time.Now()
		room, wait := w.room(began)
		open, changed := true, (<-chan struct{})(nil)
		if w.cfg.Open != nil {
			open, changed = w.cfg.Open()
		}
		if room == 0 || !open {
			w.sleep(ctx, cmp.Or(wait, w.Look()), changed)
			continue
		}
		asks := w.asks(began, room)
		if len(asks) == 0 {
			w.sleep(ctx, w.agenda.next().Sub(began), changed)
			continue
		}
		if !w.round(ctx, began, asks) {
			pause(ctx, time.Until(began.Add(pace)))
		}
	}
}

// room is how many entries may be claimed now; where there is none, wait is how
// long to sleep unless something is settled before.
func (w *Worker) room(now time.Time) (n int, wait time.Duration) {
	n = w.cfg.InFlight - int(w.inFlight.Load())
	if n <= 0 {
		return 0, w.Look()
	}
	if w.limiter == nil {
		return n, 0
	}
	tokens := w.limiter.TokensAt(now)
	if tokens < 1 {
		return 0, time.Duration((1 - tokens) / float64(w.limiter.Limit()) * float64(time.Second))
	}
	return min(n, int(tokens)), 0
}

// asks shares the room out evenly among the partitions that are due, the
// earliest first, and asks as often as it takes of those that have a backlog.
func (w *Worker) asks(now time.Time, room int) (asks []Ask) {
	due := w.agenda.due(now, min(room, roundAsks))
	if len(due) == 0 {
		return nil
	}
	share := room / len(due)
	for _, p := range due {
		left := share
		for range w.depth[p] {
			if n := min(left, w.cfg.Batch); n > 0 {
				asks, left = append(asks, Ask{p, n}), left-n
			}
		}
	}
	return asks
}

// round claims once, and starts the handlers. Full says that a partition has
// more to give.
func (w *Worker) round(ctx context.Context, began time.Time, asks []Ask) (full bool) {
	// To the end even if ctx ends: the reply lost, what it claimed would be late by a lease.
	batches := w.set.Claim(context.WithoutCancel(ctx), asks...)
	// Redis looked at its clock at some time between.
	looked := began.Add(time.Since(began) / 2)
	for i, b := range batches {
		p := asks[i].Partition
		if w.failed(p, b.Err) {
			continue
		}
		w.agenda.set(p, looked.Add(w.until(b)))
		more := !b.Empty && b.Next <= 0
		w.deepen(p, more)
		full = full || more && len(b.Claims) >= w.cfg.Batch
		w.metrics.claimed(b)
		w.start(ctx, b.Claims)
	}
	return full
}

// failed notes whether a partition could be asked, and puts one off that could
// not: on a cluster others may be well.
func (w *Worker) failed(p int, err error) bool {
	if err == nil {
		delete(w.failing, p)
		if len(w.failing) == 0 {
			w.claiming.report(nil)
		}
		return false
	}
	b := w.failing[p]
	w.agenda.set(p, time.Now().Add(b.next()))
	w.failing[p] = b
	w.claiming.report(err)
	return true
}

// until is how long to leave a partition alone. A look that finds nothing near
// is put off by chance, so that looks spread, and to a whole quarter of a
// second, so that one round trip has many.
func (w *Worker) until(b Batch) time.Duration {
	limit := w.Look()
	if !b.Empty && b.Next < limit/2 {
		return b.Next
	}
	quiet := limit/2 + rand.N(limit/2)
	quiet = time.Until(time.Now().Add(quiet).Truncate(250 * time.Millisecond))
	if b.Empty {
		return quiet
	}
	return min(b.Next, quiet)
}

// deepen asks more often at a time, twice as often each time, while there is more.
func (w *Worker) deepen(p int, more bool) {
	if more {
		w.depth[p] = min(2*w.depth[p], maxDepth)
	} else {
		w.depth[p] = 1
	}
}

// start has the handler act on each claim.
func (w *Worker) start(ctx context.Context, claims []Claim) {
	if len(claims) == 0 {
		return
	}
	if w.limiter != nil {
		w.limiter.AllowN(time.Now(), len(claims))
	}
	w.inFlight.Add(int64(len(claims)))
	// One context for all of them: a timer each would cost as much as the claim.
	leased, end := context.WithDeadline(ctx, claims[0].Until)
	left := newCountdown(len(claims), end)
	for _, c := range claims {
		w.acting.Go(func() {
			outcome := Again(In(0)) // claimed while the worker was told to stop: given back
			if ctx.Err() == nil {
				outcome = w.cfg.Handler.Act(leased, c)
			}
			left.one()
			w.outcomes <- Settlement{c, outcome}
		})
	}
}

// sleep waits for a while, or until there is mail, something is settled, or more may be claimed.
func (w *Worker) sleep(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.mail.came:
	case <-w.freed:
	case <-changed:
	case <-ctx.Done():
	}
}
