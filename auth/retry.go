package auth

import (
	"context"
	"iter"
	"math/rand/v2"
	"time"
)

const (
	changeLimit = 1500 * time.Millisecond // how long a change starts anew because somebody else was faster
	changePause = 64 * time.Millisecond   // the longest pause before it does, about
)

// tries are the times at which a change may be tried, the first at once. The pauses between are random, so that those who
// got in each other's way do not again, and grow. There is always a first.
func tries(ctx context.Context) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		due := time.Now().Add(changeLimit)
		for longest := time.Millisecond; yield(struct{}{}); longest = min(2*longest, changePause) {
			if !rest(ctx, rand.N(longest)) || time.Now().After(due) {
				return
			}
		}
	}
}

// rest pauses; false: ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
