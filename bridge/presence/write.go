package presence

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// queue is what waits to be written: of each device no more than the latest.
type queue interface {
	// more tells that something waits, on a channel of one.
	more() <-chan struct{}
	// take gives up to batchSize calls, and what is to be done with their replies.
	take(p *Presence) ([]call, func([]*redis.Cmd) error)
}

const (
	firstPause = 50 * time.Millisecond // after a failed batch
	lastPause  = time.Second
)

// write writes a queue, a batch at a time, until ctx ends and nothing waits
// any more. What failed is tried again, in its turn.
func (p *Presence) write(ctx context.Context, q queue) {
	for ctx.Err() == nil {
		select {
		case <-q.more():
			p.drain(ctx, q)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.Background(), finishWithin)
	defer cancel()
	p.drain(last, q)
}

// drain writes until nothing waits, or ctx ends.
func (p *Presence) drain(ctx context.Context, q queue) {
	pause := firstPause
	for ctx.Err() == nil {
		calls, settle := q.take(p)
		if len(calls) == 0 {
			return
		}
		// A stop must not leave it open what was written.
		err := settle(p.runAll(context.WithoutCancel(ctx), calls))
		p.outage.report(err)
		if err == nil {
			pause = firstPause
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// isDamaged: what Redis holds of the device is not what we wrote, and it would
// refuse for ever, which must not hold up the others.
func (p *Presence) isDamaged(d auth.DeviceID, err error) bool {
	if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") { // miniredis begins otherwise
		return false
	}
	p.cfg.Log.Warn("presence of a device cannot be written: what is kept of it is damaged", "device", d, "error", err)
	return true
}

// wake tells of something that waits.
func wake(more chan struct{}) {
	select {
	case more <- struct{}{}:
	default:
	}
}

// outage logs once per change that Redis does not take what is written.
type outage struct {
	log  *slog.Logger
	down atomic.Bool
}

func (o *outage) report(err error) {
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		if !o.down.Swap(true) {
			o.log.Warn("presence of devices not written, tried again until it is", "error", err)
		}
	case err == nil && o.down.Load() && o.down.Swap(false):
		o.log.Info("presence of devices written again")
	}
}
