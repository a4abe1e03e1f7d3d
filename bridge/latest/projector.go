package latest

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
)

// Config is what a Projector needs.
type Config struct {
	Client redis.UniversalClient // what it does must not keep a device waiting for a connection
	Keys   auth.Keyspace

	// New uplinks, as fanout gives them. Changed nil: they are looked for every
	// second; Recent nil: they are read from Redis alone.
	Changed func() <-chan struct{}
	Follow  func(...stream.Kind) (stop func())
	Recent  func(k stream.Kind, partition int, after stream.ID, buf []stream.Entry) (list []stream.Entry, end stream.Position, ok bool)

	MaxBytes int                   // of what waits to be written, about; 0: 16 MiB
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: nothing is logged
}

// Projector writes the latest values of the partitions that it gets hold of,
// and forgets devices that are gone.
type Projector struct {
	cfg     Config
	node    string // names this run
	reader  *stream.Reader
	hold    *redis.Script
	merge   *redis.Script
	parts   []*part
	list    []stream.Entry // of Recent, used again
	follow  func()         // ends what Follow began; nil: it has not
	flushed time.Time
	leased  time.Time
	failing bool
	metrics *metrics
	forgets *forgets
}

const (
	flushEvery  = time.Second
	gather      = 20 * time.Millisecond // after news: fewer, larger reads
	retry       = 500 * time.Millisecond
	pageSize    = 256 // entries of one read
	pagesAtOnce = 8   // partitions in one read from Redis
)

// New makes a Projector. It asks nothing of Redis.
func New(c Config) *Projector {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 16 << 20
	}
	p := &Projector{
		cfg: c, node: rand.Text(), reader: stream.NewReader(c.Client, c.Keys), list: make([]stream.Entry, 0, pageSize),
		hold: redis.NewScript(holdSource), merge: redis.NewScript(mergeSource),
		metrics: newMetrics(c.Metrics), forgets: newForgets(c),
	}
	for i := range c.Keys.Count() {
		p.parts = append(p.parts, &part{partition: i})
	}
	return p
}

// Run projects until ctx ends, then writes what it has read and leaves its
// partitions to the next node.
func (p *Projector) Run(ctx context.Context) error {
	defer p.leave()
	for {
		changed := p.changed()
		more, err := p.pass(ctx, time.Now())
		if ctx.Err() != nil {
			return nil
		}
		p.report(err)
		if !p.wait(ctx, changed, more, err != nil) {
			return nil
		}
	}
}

func (p *Projector) changed() <-chan struct{} {
	if p.cfg.Changed == nil {
		return nil
	}
	return p.cfg.Changed()
}

// pass does all that is due. more: there is more to read at once.
func (p *Projector) pass(ctx context.Context, now time.Time) (more bool, err error) {
	p.metrics.lag.Set(p.lag(now).Seconds())
	if now.Sub(p.leased) >= leaseEvery {
		if err := p.claim(ctx); err != nil {
			return false, err
		}
		p.leased = now
	}
	if !p.full() {
		if more, err = p.read(ctx); err != nil {
			return false, err
		}
	}
	if now.Sub(p.flushed) >= flushEvery || p.full() {
		if err = p.flush(ctx); err != nil {
			return false, err
		}
		p.flushed = now
	}
	return more, p.forgets.run(ctx)
}

// full tells that what waits takes all the memory that it may.
func (p *Projector) full() bool {
	bytes := 0
	for _, t := range p.parts {
		bytes += t.bytes
	}
	return bytes >= p.cfg.MaxBytes
}

// wait returns when there is something to do; false: ctx has ended.
func (p *Projector) wait(ctx context.Context, changed <-chan struct{}, more, failed bool) bool {
	if more {
		return ctx.Err() == nil
	}
	pause := min(time.Until(p.flushed.Add(flushEvery)), time.Until(p.leased.Add(leaseEvery)))
	nudge := p.forgets.nudge
	if failed {
		pause, changed, nudge = retry, nil, nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	case <-nudge:
	case <-changed:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(gather):
		return true
	}
}

// report logs once per change that it does not work.
func (p *Projector) report(err error) {
	switch {
	case err != nil && !p.failing:
		p.cfg.Log.Warn("latest values are not kept: they will be caught up with", "error", err)
	case err == nil && p.failing:
		p.cfg.Log.Info("latest values are kept again")
	}
	p.failing = err != nil
}

// leave writes what is read, and ends the leases.
func (p *Projector) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*redisLimit)
	defer cancel()
	err := errors.Join(p.flush(ctx), p.forgets.run(ctx), p.release(ctx))
	p.setFollow(false)
	if err != nil {
		p.cfg.Log.Debug("latest values not written at the end: the next start catches up", "error", err)
	}
}
