package due

import (
	"context"
	"errors"
	"time"
)

const (
	settleChunk = 512             // outcomes in one round trip
	settleGrace = 2 * time.Second // for the last ones, when the worker stops
)

// settleAll settles outcomes until there will be no more: those that come while
// one lot is on its way go with the next. What Redis does not take is kept, and
// sent again as long as its lease lasts.
func (w *Worker) settleAll(ctx context.Context) {
	var kept []Settlement
	var failed backoff
	var last time.Time // when to give up; zero while the worker runs
	for open := true; open || len(kept) > 0; {
		list := kept
		if list, open = w.gather(kept, open, time.Duration(failed)); len(list) == 0 {
			continue
		}
		if last.IsZero() && ctx.Err() != nil {
			last = time.Now().Add(settleGrace)
		}
		// Settled whether or not ctx has ended: the work is done.
		var err error
		kept, err = w.settle(context.WithoutCancel(ctx), list, last)
		w.settling.report(err)
		if err == nil {
			failed = 0
		} else {
			failed.next()
		}
	}
}

// gather adds outcomes to those that were kept: it waits for the first, if none
// was kept, or else for as long as is said, and takes what is there.
func (w *Worker) gather(list []Settlement, open bool, wait time.Duration) ([]Settlement, bool) {
	if len(list) > 0 {
		pause(context.Background(), wait)
	} else if open {
		one, ok := <-w.outcomes
		if !ok {
			return list, false
		}
		list = append(list, one)
	}
	for open && len(list) < settleChunk {
		select {
		case one, ok := <-w.outcomes:
			if !ok {
				return list, false
			}
			list = append(list, one)
		default:
			return list, true
		}
	}
	return list, open
}

// settle settles once, and gives back what is to be tried again.
func (w *Worker) settle(ctx context.Context, list []Settlement, last time.Time) (again []Settlement, err error) {
	now := time.Now()
	for i, e := range w.set.Settle(ctx, list...) {
		switch {
		case errors.Is(e, ErrUnavailable):
			err = e
			if now.Before(list[i].Claim.Until) && (last.IsZero() || now.Before(last)) {
				again = append(again, list[i])
				continue
			}
			w.metrics.lapsed.Inc()
		case errors.Is(e, ErrNotHeld):
			w.metrics.refused.Inc()
		}
	}
	w.free(len(list) - len(again))
	return again, err
}

// free gives places in the budget back.
func (w *Worker) free(n int) {
	w.inFlight.Add(-int64(n))
	select {
	case w.freed <- struct{}{}:
	default:
	}
}
