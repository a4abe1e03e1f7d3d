package due

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

// Handler does what is due.
type Handler interface {
	// Act is called on a goroutine of its own for each claim, and says how it
	// ends. ctx ends with the lease, and when the worker is to stop: then
	// Again(In(0)) gives the entry back at once, and Left after its lease.
	Act(ctx context.Context, c Claim) Outcome
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, c Claim) Outcome

// Act calls f.
func (f HandlerFunc) Act(ctx context.Context, c Claim) Outcome { return f(ctx, c) }

// WorkerConfig is what a Worker needs.
type WorkerConfig struct {
	Set     *Set
	Handler Handler

	// Blocking is where the worker hears of entries that other nodes have added.
	// Nil: it finds them when it next looks, within a second, or with many
	// partitions in Look.
	Blocking redis.UniversalClient

	InFlight int        // claims at a time on this node: the kind's budget; 0: 1024
	Batch    int        // entries in one claim at most; 0: 100
	Rate     rate.Limit // claims a second on this node; 0: no limit
	Burst    int        // of the rate; 0: a tenth of a second's, at least 1

	// Open tells whether entries may be claimed now, and gives a channel that is closed when that has changed. While it is not open
	// entries wait, and cost nothing. Nil: it always is.
	Open func() (open bool, changed <-chan struct{})

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: nothing is logged
}

const (
	defaultInFlight = 1024
	defaultBatch    = 100

	looksPerSecond = 256                    // at partitions in which nothing is known to be due
	pace           = 500 * time.Microsecond // between rounds, unless they bring a full batch
	roundAsks      = 512                    // in one round trip
	maxDepth       = 8                      // asks for one partition in one round trip
)

// Worker claims the entries of a set as they fall due, and has a handler act on
// them. Any number of workers on any number of nodes share a set.
type Worker struct {
	cfg     WorkerConfig
	set     *Set
	metrics *metrics
	limiter *rate.Limiter // nil: no limit

	agenda *agenda
	depth  []int // asks for a partition in one round: more while it has a backlog

	mail     mailbox
	inFlight atomic.Int64
	freed    chan struct{} // something in flight has been settled
	acting   sync.WaitGroup
	outcomes chan Settlement

	claiming, settling outage
	failing            map[int]backoff // partitions that could not be asked
}

// NewWorker makes a Worker. It asks nothing of Redis.
func NewWorker(c WorkerConfig) *Worker {
	if c.InFlight <= 0 {
		c.InFlight = defaultInFlight
	}
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	log := c.Log.With("due", string(c.Set.cfg.Kind))
	w := &Worker{
		cfg: c, set: c.Set, metrics: newMetrics(c.Metrics, c.Set.cfg.Kind), limiter: newLimiter(c.Rate, c.Burst),
		agenda: newAgenda(c.Set.Partitions()), depth: make([]int, c.Set.Partitions()),
		mail: newMailbox(), freed: make(chan struct{}, 1), outcomes: make(chan Settlement, c.InFlight), failing: make(map[int]backoff),
		claiming: outage{log: log, lost: "due entries not claimed", back: "due entries claimed again"},
		settling: outage{log: log, lost: "due entries not settled", back: "due entries settled again"},
	}
	for p := range w.depth {
		w.depth[p] = 1
	}
	return w
}

func newLimiter(r rate.Limit, burst int) *rate.Limiter {
	if r <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = max(int(r/10), 1)
	}
	return rate.NewLimiter(r, burst)
}

// Run works until ctx ends, then lets the handlers end and settles what they
// have done. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	var aside sync.WaitGroup
	aside.Go(func() { w.listen(ctx) })
	settler := make(chan struct{})
	go func() {
		defer close(settler)
		w.settleAll(ctx)
	}()
	w.claimAll(ctx)
	w.acting.Wait()
	close(w.outcomes)
	<-settler
	aside.Wait()
	return nil
}

// Nudge tells of an entry that is due so soon. Adding one tells all nodes; this
// is for what this node knows before.
func (w *Worker) Nudge(p int, in time.Duration) {
	if p >= 0 && p < w.set.Partitions() {
		w.mail.put(p, time.Now().Add(in))
	}
}

// Look is how long a partition goes unlooked-at at most: with Redis' channel
// gone, how late an entry of another node can be found.
func (w *Worker) Look() time.Duration {
	return max(time.Second, time.Duration(w.set.Partitions())*time.Second/looksPerSecond)
}
