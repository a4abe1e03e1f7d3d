package uplink

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"m2mbridge/auth"
)

// Reject is one refused message, as the rejects stream shows it.
type Reject struct {
	Device string // the device it claimed to be from; "" when it named none
	Via    Via
	At     time.Time
	Reason string // short stable code
	Detail string
	Remote string
	Body   []byte // cut at 1 KiB
}

const (
	rejectBody  = 1 << 10                // bytes of a rejected body that are kept
	rejectQueue = 4096                   // rejects waiting to be written
	rejectPause = 100 * time.Millisecond // between writes: a reject is not urgent, a batch is cheap
)

// rejecter writes rejects apart from the uplinks' path, at a bounded rate into
// a bounded stream. What a flood brings beyond that is counted, and the count
// is told in an entry of its own, so that the stream never says less than all.
type rejecter struct {
	cfg        Config
	queue      chan Reject
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newRejecter(cfg Config) *rejecter {
	limit := rate.NewLimiter(rate.Inf, 0)
	if cfg.RejectRate > 0 {
		limit = rate.NewLimiter(rate.Limit(cfg.RejectRate), max(1, int(cfg.RejectRate)))
	}
	return &rejecter{cfg: cfg, queue: make(chan Reject, rejectQueue), limit: limit}
}

// add queues r, or counts it when there are more than may be written. It never blocks.
func (w *rejecter) add(r Reject) {
	if w.cfg.MaxRejects == 0 {
		w.cfg.Metrics.suppressed(1)
		return
	}
	if len(w.queue) == cap(w.queue) || !w.limit.Allow() {
		w.suppress(1)
		return
	}
	r.Body = append([]byte(nil), r.Body[:min(len(r.Body), rejectBody)]...)
	select {
	case w.queue <- r:
	default:
		w.suppress(1)
	}
}

func (w *rejecter) suppress(n int) {
	w.suppressed.Add(int64(n))
	w.cfg.Metrics.suppressed(n)
}

// run writes until ctx ends, and then what is queued.
func (w *rejecter) run(ctx context.Context) {
	ticker := time.NewTicker(rejectPause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.flush()
		case <-ctx.Done():
			w.flush()
			return
		}
	}
}

// flush writes what is queued and counts it by device, in one pipeline.
func (w *rejecter) flush() {
	batch, untold := w.gather()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.Deadline)
	defer cancel()
	_, err := w.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range batch {
			w.write(ctx, p, &batch[i])
		}
		w.countRefused(ctx, p, batch)
		return nil
	})
	if err != nil {
		w.suppressed.Add(untold)
		w.suppress(len(batch) - min(1, int(untold)))
		w.cfg.Log.Warn("rejects not written", "count", len(batch), "error", err)
	}
}

// gather takes what is queued, and puts the count of what was suppressed behind it.
func (w *rejecter) gather() (batch []Reject, suppressed int64) {
	for n := len(w.queue); n > 0; n-- {
		batch = append(batch, <-w.queue)
	}
	if suppressed = w.suppressed.Swap(0); suppressed > 0 {
		batch = append(batch, Reject{At: time.Now(), Reason: "suppressed",
			Detail: fmt.Sprintf("%d more rejects were not written: over the rate of --reject-rate, or Redis could not take them", suppressed)})
	}
	return batch, suppressed
}

func (w *rejecter) write(ctx context.Context, p redis.Pipeliner, r *Reject) {
	p.XAdd(ctx, &redis.XAddArgs{
		Stream: RejectsKey(w.cfg.Keys, w.cfg.Keys.Partition(auth.DeviceID(r.Device))),
		MaxLen: w.cfg.MaxRejects,
		Approx: true,
		Values: []any{
			"device", r.Device, "via", string(r.Via), "at", r.At.UnixMilli(),
			"reason", r.Reason, "detail", r.Detail, "remote", r.Remote, "body", r.Body,
		},
	})
}
