package smpp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// throttle is the pause of submits that an SMSC asks for with ESME_RTHROTTLED or ESME_RMSGQFUL. It doubles while the first
// submits after it are throttled again.
type throttle struct {
	first, most time.Duration

	mu    sync.Mutex
	pause time.Duration // the last; 0: what was sent last was not throttled
	until time.Time     // when it ends
}

// wait waits for the pause, or the session, to end. If ctx ends before, or has a deadline before, it gives ErrThrottled.
func (t *throttle) wait(ctx context.Context, done <-chan struct{}) error {
	left := t.left()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < left {
		return fmt.Errorf("%w for %s", ErrThrottled, left.Round(time.Millisecond))
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrThrottled, ctx.Err())
	case <-done:
	case <-timer.C:
	}
	return nil
}

func (t *throttle) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(t.until)
}

// answered takes in the answer to a submit. One that left before the pause ended says nothing about its length.
func (t *throttle) answered(sent time.Time, s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case sent.Before(t.until):
	case ClassOf(s) == Throttled:
		t.pause = min(max(2*t.pause, t.first), t.most)
		t.until = time.Now().Add(t.pause)
	default:
		t.pause = 0
	}
}
