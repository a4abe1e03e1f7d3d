// Package fanout carries entries of the streams to the subscribers of this
// node. The live tail follows the streams: what this node itself stored comes
// to it in process, what others stored it reads from Redis; either way each
// stream is followed in its order, each entry once. Of each it keeps the recent
// messages in memory, where whoever is close behind reads them; who is further
// behind reads pages from Redis. A subscriber is thus a position, which each
// keeps for itself.
//
// It knows neither MQTT packets nor windows nor sessions: the Deliverer owns
// those.
package fanout

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// Deliverer takes messages to subscribers. Deliver is called by one goroutine
// per partition, for each stream in its order, and must not block on a
// subscriber. end is behind the last message; without messages, the stream has
// moved on for one of these reasons: nobody wanted it, its entries make no
// messages, or they were trimmed before the tail saw them. So a subscriber is
// given msgs only if it has read up to where the last call left the stream;
// else Recent tells what it may have missed.
type Deliverer interface {
	Deliver(s broker.Stream, msgs []*broker.Message, end broker.Position)
	// Wants tells cheaply whether anybody may want messages below a prefix such as "uplinks/".
	Wants(topicPrefix string) bool
}

// Config of the live tail.
type Config struct {
	Client   redis.UniversalClient // for reads that do not block
	Reader   redis.UniversalClient // for what subscribers read; nil: Client
	Blocking redis.UniversalClient // for XREAD BLOCK
	Keys     auth.Keyspace
	Log      *slog.Logger

	MaxEvents int64 // length of a partition's events stream, about; 0: no limit

	// Events is given the entries of the events streams, each once, from the
	// tail's start on. It must not block; what it is given it may keep. nil: it
	// is not.
	Events func([]stream.Entry)

	// What is kept in memory of all streams together, about.
	RecentEntries int // 0: 4096
	RecentBytes   int // 0: 4 MiB
}

// Fanout is the live tail of all partitions.
type Fanout struct {
	cfg     Config
	deliver Deliverer      // nil: no subscribers
	reader  *stream.Reader // for subscribers
	logs    []*log         // by broker.Stream
	tails   []*tail
	gaps    chan broker.Missed
	reads   outage        // of subscribers
	turns   chan struct{} // taken while a partition asks Redis, see reader.turn

	follows [3]atomic.Int64 // by stream.Kind.Index: who wants it beside the Deliverer

	mu      sync.Mutex
	changed chan struct{}
}

// New makes a Fanout.
func New(cfg Config) *Fanout {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Reader == nil {
		cfg.Reader = cfg.Client
	}
	if cfg.RecentEntries == 0 {
		cfg.RecentEntries = 4096
	}
	if cfg.RecentBytes == 0 {
		cfg.RecentBytes = 4 << 20
	}
	f := &Fanout{
		cfg: cfg, reader: stream.NewReader(cfg.Reader, cfg.Keys), turns: make(chan struct{}, turnsAtOnce),
		changed: make(chan struct{}), gaps: make(chan broker.Missed, gapQueue),
		reads: outage{log: cfg.Log, lost: "streams cannot be read: subscribers who are behind wait", back: "streams can be read again"},
	}
	for _, top := range tops {
		for p := range cfg.Keys.Count() {
			f.logs = append(f.logs, newLog(f.numberOf(top, p), top, p, share(top, cfg.RecentEntries, cfg.Keys), share(top, cfg.RecentBytes, cfg.Keys)))
		}
	}
	for p := range cfg.Keys.Count() {
		f.tails = append(f.tails, newTail(f, p))
	}
	return f
}

// share is a stream's part of what is kept in memory. Uplinks are most of what
// comes.
func share(top string, all int, keys auth.Keyspace) int {
	eighths := 1
	if kindOf(top) == stream.Uplinks {
		eighths = 6
	}
	return max(all*eighths/8/keys.Count(), 1)
}

// DeliverTo says who takes messages to subscribers. It must have been called
// before Run is, and before there is anything to deliver: the Deliverer reads
// from the Fanout and so is made after it.
func (f *Fanout) DeliverTo(d Deliverer) { f.deliver = d }

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

// wanted tells whether anybody may want what the log keeps. Entries are given
// from that of their kind.
func (f *Fanout) wanted(l *log) bool {
	return l.top == string(l.kind) && f.follows[l.kind.Index()].Load() > 0 || f.deliver != nil && f.deliver.Wants(l.top+"/")
}

// Follow has the recent entries of these kinds kept for Entries, until stop is
// called.
func (f *Fanout) Follow(follow ...stream.Kind) (stop func()) {
	for _, k := range follow {
		f.follows[k.Index()].Add(1)
	}
	return sync.OnceFunc(func() {
		for _, k := range follow {
			f.follows[k.Index()].Add(-1)
		}
	})
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
