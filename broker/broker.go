package broker

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"golang.org/x/time/rate"
)

// Broker is the MQTT edge of one process.
type Broker struct {
	cfg      Config
	mochi    *mqtt.Server
	gate     gate
	sessions sessions
	index    index
	flusher  flusher
	changes  changes
	catchUp  catchUp
	saver    saver
	// delivered is how far Deliver has come in each stream.
	delivered  marks
	tops       map[Stream][]string // first levels of topics whose messages come from a stream
	background sync.WaitGroup      // work of groups
	finished   atomic.Bool         // Run has ended, or is about to
	logins     logins
	quotas     quotas
	count      counters
	blind      atomic.Int64 // Unix ns until which the registry is not asked for labels

	brokenLogged atomic.Int64 // Unix ns of the last packet logged that broke its decoder

	mu      sync.Mutex
	stopped bool
	fronts  map[*front]struct{}
}

// New makes a broker; it serves nothing until Serve.
func New(cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, fronts: map[*front]struct{}{}}
	b.gate = gate{cfg: &b.cfg, perAddr: map[string]int{}}
	b.quotas = quotas{every: cfg.PublishRate, apps: map[string]*rate.Limiter{}}
	b.sessions = newSessions()
	b.index = newIndex()
	b.changes = newChanges()
	b.catchUp.b, b.catchUp.reads = b, make(chan struct{}, pagesAtOnce)
	b.saver = newSaver()
	b.logins.seed = maphash.MakeSeed()
	b.tops = topsOf(cfg.Source)
	if b.mochi, err = newMochi(&b.cfg); err != nil {
		return nil, err
	}
	cfg.Registry.OnChange(b.changed)
	return b, nil
}

func (b *Broker) addFront(f *front) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return false
	}
	b.fronts[f] = struct{}{}
	return true
}

func (b *Broker) removeFront(f *front) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.fronts, f)
}

// Shutdown stops the listeners, lets uplinks in flight be answered until ctx
// ends, tells the clients to go, and returns when all connections are closed.
// No will is published: it is not the devices that failed.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if !b.stopped {
		b.stopped = true
		close(b.changes.quit)
	}
	fronts := make([]*front, 0, len(b.fronts))
	for f := range b.fronts {
		fronts = append(fronts, f)
	}
	b.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range fronts {
		wg.Go(func() { f.shutdown(ctx) })
	}
	wg.Wait()
	b.changes.wait()
	return ctx.Err()
}
