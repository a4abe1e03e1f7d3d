// Package fanout carries entries of the streams to the subscribers of this
// node: the live tail. What this node itself stored comes to it in process;
// what others stored it reads from Redis. Either way subscribers get a
// partition's uplinks in the order of its stream, each once.
//
// It knows neither MQTT packets nor windows: the Deliverer owns those.
package fanout

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

// Deliverer takes messages to subscribers. Deliver is called by one goroutine
// per partition, in stream order, and must not block on a subscriber.
type Deliverer interface {
	Deliver(msgs []broker.Message)
	Wants(topicPrefix string) bool
}

// Config of the live tail.
type Config struct {
	Client   redis.UniversalClient // for reads that do not block
	Blocking redis.UniversalClient // for XREAD BLOCK
	Keys     auth.Keyspace
	Deliver  Deliverer
	Log      *slog.Logger

	MaxEvents int64 // length of a partition's events stream, about; 0: no limit
}

// Fanout is the live tail of all partitions.
type Fanout struct {
	cfg   Config
	tails []*tail
	gaps  chan broker.Gap

	mu      sync.Mutex
	changed chan struct{}
}

// New makes a Fanout.
func New(cfg Config) *Fanout {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fanout{cfg: cfg, changed: make(chan struct{}), gaps: make(chan broker.Gap, gapQueue)}
	for p := range cfg.Keys.Count() {
		f.tails = append(f.tails, newTail(f, p))
	}
	return f
}

// Run follows the streams until ctx ends. The tail starts where the streams
// stand when Run begins; ready is called once it does.
func (f *Fanout) Run(ctx context.Context, ready func()) error {
	var wg, started sync.WaitGroup
	started.Add(len(f.tails))
	for _, t := range f.tails {
		wg.Go(func() { t.run(ctx, started.Done) })
	}
	wg.Go(func() { f.writeGaps(ctx) })
	go func() { started.Wait(); ready() }()
	wg.Wait()
	return nil
}

// Committed is given each batch this node stored (uplink.Config.OnCommit). It
// never blocks: a batch that finds no room is read from the stream instead.
func (f *Fanout) Committed(c uplink.Commit) {
	if len(c.Entries) == 0 {
		return
	}
	own := commit{prev: parseID(c.Prev), msgs: make([]broker.Message, len(c.Entries))}
	wanted := f.cfg.Deliver.Wants("uplinks/")
	var packs []byte
	if wanted {
		packs = joinPacks(c.Entries)
	}
	for i, e := range c.Entries {
		own.last = parseID(e.ID)
		if wanted {
			own.msgs[i] = uplinkMessage(e.ID, e.Device, packs[:len(e.Pack):len(e.Pack)])
			packs = packs[len(e.Pack):]
		}
	}
	if !wanted {
		own.msgs = nil
	}
	own.first = parseID(c.Entries[0].ID)
	select {
	case f.tails[c.Partition].local <- own:
	default:
	}
}

// joinPacks copies the packs into one piece of memory: the originals are pooled.
func joinPacks(entries []uplink.Committed) []byte {
	n := 0
	for _, e := range entries {
		n += len(e.Pack)
	}
	packs := make([]byte, 0, n)
	for _, e := range entries {
		packs = append(packs, e.Pack...)
	}
	return packs
}

// Changed is closed at the next sight of new entries in any stream.
func (f *Fanout) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Fanout) nudge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// retry waits a moment after a failed read. It tells whether to go on.
func retry(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// ignorable tells errors that say nothing about Redis.
func ignorable(err error) bool {
	return err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled)
}
