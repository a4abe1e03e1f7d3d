package due

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// backoff is how long to wait after a failure: it doubles, with chance in it, so
// that nodes do not come back all at once. Zero after a success.
type backoff time.Duration

const (
	backoffFirst = 20 * time.Millisecond
	backoffMost  = time.Second
)

func (b *backoff) next() time.Duration {
	*b = min(max(2**b, backoff(backoffFirst)), backoff(backoffMost))
	return time.Duration(*b)/2 + rand.N(time.Duration(*b)/2)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// outage logs once per change that Redis does not do what is asked.
type outage struct {
	log        *slog.Logger
	lost, back string
	now        bool
}

func (o *outage) report(err error) {
	switch {
	case err != nil && !o.now:
		o.log.Warn(o.lost, "error", err)
	case err == nil && o.now:
		o.log.Info(o.back)
	}
	o.now = err != nil
}

// countdown calls end after the last of n.
type countdown struct {
	left atomic.Int64
	end  func()
}

func newCountdown(n int, end func()) *countdown {
	c := &countdown{end: end}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) one() {
	if c.left.Add(-1) == 0 {
		c.end()
	}
}
