package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Via is the way a message takes.
type Via string

// The ways there are.
const (
	HTTP Via = "http"
	MQTT Via = "mqtt"
)

// LoadConfig says who sends what, how fast and how long.
type LoadConfig struct {
	Via     Via
	Addr    string // host:port of the listener
	Devices []Device
	// Connections are shared out among the devices over HTTP; 0 is one for each device. Over MQTT a connection is one device's
	// login, so that there are never more connections than devices, and devices without one are silent.
	Connections int
	Window      int           // MQTT: messages in flight on a connection; 0 is 1
	PerRequest  bool          // HTTP: a new connection for every message
	Rate        float64       // messages a second of all devices together; 0 is as fast as they are answered
	Count       int           // messages of all devices together; 0 is no bound
	For         time.Duration // 0 is no bound
	Pack        Pack          // nil is Reference
	Timeout     time.Duration // for one answer; 0 is 10 s
	// Gate, if not nil, is asked before every message, with the number sent so far; false holds the message back for now. It is
	// called from all connections.
	Gate func(sent uint64) bool
}

// Load is one run of a fleet. Report may be asked for at any time.
type Load struct {
	cfg      LoadConfig
	started  atomic.Int64 // Unix nanoseconds; 0 before the run
	ended    atomic.Int64
	left     atomic.Int64
	over     chan struct{} // closed when no new message is to be sent
	isOver   atomic.Bool
	finish   func() // closes over, once
	tallies  [shards]tally
	failures failures
}

// NewLoad checks the configuration and fills in what it leaves open.
func NewLoad(cfg LoadConfig) (*Load, error) {
	if cfg.Via != HTTP && cfg.Via != MQTT {
		return nil, fmt.Errorf("unknown way %q: http or mqtt", cfg.Via)
	}
	if len(cfg.Devices) == 0 {
		return nil, errors.New("a load needs a device")
	}
	if cfg.Connections <= 0 || cfg.Connections > len(cfg.Devices) && cfg.Via == MQTT {
		cfg.Connections = len(cfg.Devices)
	}
	cfg.Window = min(max(cfg.Window, 1), 1<<15)
	if cfg.Pack == nil {
		cfg.Pack = Reference
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	l := &Load{cfg: cfg, over: make(chan struct{})}
	l.left.Store(int64(cfg.Count))
	l.finish = sync.OnceFunc(func() {
		l.isOver.Store(true)
		close(l.over)
	})
	return l, nil
}

// Run sends until the count, the time or ctx ends, and returns when every connection is closed. A message in flight at the
// end of the count or the time is waited for; the end of ctx cuts the connections.
func (l *Load) Run(ctx context.Context) Report {
	l.started.Store(time.Now().UnixNano())
	if l.cfg.For > 0 {
		timer := time.AfterFunc(l.cfg.For, l.finish)
		defer timer.Stop()
	}
	defer context.AfterFunc(ctx, l.finish)()
	var workers sync.WaitGroup
	for i := range l.cfg.Connections {
		workers.Go(func() { l.work(ctx, i) })
	}
	workers.Wait()
	l.ended.Store(time.Now().UnixNano())
	return l.Report()
}

// work is one connection, from its first message to its last.
func (l *Load) work(ctx context.Context, number int) {
	w := worker{load: l, tally: &l.tallies[number%shards], number: number, pace: l.pace(number), rest: backoffFirst}
	if l.cfg.Via == MQTT {
		w.publishAll(ctx)
		return
	}
	w.postAll(ctx)
}

// Stop ends the run as its time would.
func (l *Load) Stop() { l.finish() }

// claim takes one message off the count.
func (l *Load) claim() bool {
	if l.isOver.Load() {
		return false
	}
	if l.cfg.Count == 0 {
		return true
	}
	if l.left.Add(-1) >= 0 {
		return true
	}
	l.finish()
	return false
}

// Report adds up what has come so far.
func (l *Load) Report() Report {
	r := Report{Failed: l.failures.copy(), Latency: new(Histogram)}
	for i := range l.tallies {
		t := &l.tallies[i]
		r.Accepted += t.accepted.Load()
		r.Sent += t.sent.Load()
		r.Heartbeats += t.heartbeats.Load()
		r.Latency.Merge(&t.latency)
	}
	if started := l.started.Load(); started != 0 {
		end := l.ended.Load()
		if end == 0 {
			end = time.Now().UnixNano()
		}
		r.Elapsed = time.Duration(end - started)
	}
	return r
}

// Accepted is the number of messages accepted so far; unlike Report it costs next to nothing.
func (l *Load) Accepted() uint64 {
	var n uint64
	for i := range l.tallies {
		n += l.tallies[i].accepted.Load()
	}
	return n
}

// isHeld says whether the gate is closed.
func (l *Load) isHeld() bool {
	if l.cfg.Gate == nil {
		return false
	}
	var sent uint64
	for i := range l.tallies {
		sent += l.tallies[i].sent.Load()
	}
	return !l.cfg.Gate(sent)
}
