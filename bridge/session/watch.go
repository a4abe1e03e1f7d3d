package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// Apps says which apps there are. *auth.Registry is one.
type Apps interface {
	GetApp(ctx context.Context, name string) (auth.App, error)
}

// WatchConfig is what a Watch needs. A limit of 0 is none.
type WatchConfig struct {
	Client redis.UniversalClient
	Keys   auth.Keyspace
	Apps   Apps
	Keeper *Keeper // it spares expired sessions as long as the Watch does; nil: none is told

	UplinksMax int64         // entries kept in each stream of uplinks
	UplinksAge time.Duration // how long uplinks are kept
	RejectsMax int64
	EventsMax  int64

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: nothing is logged
}

// Watch forgets sessions that nobody can come back to, and warns of those that
// are too far behind. All nodes do it, at no harm: what is done is done once.
type Watch struct {
	cfg     WatchConfig
	keeper  *Keeper
	reading reading
	prune   *redis.Script
	warn    *redis.Script
	metrics *watchMetrics
	failing bool // the last pass has failed
}

const (
	sweepEvery = 5 * time.Second
	lookEvery  = 10 * time.Second
	passLimit  = time.Minute
)

// NewWatch makes a Watch. It asks nothing of Redis.
func NewWatch(c WatchConfig) *Watch {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Keeper == nil {
		c.Keeper = NewKeeper(Config{Client: c.Client, Keys: c.Keys})
	}
	return &Watch{
		cfg: c, keeper: c.Keeper, reading: newReading(c.Client, keys{c.Keys}),
		prune: redis.NewScript(pruneSource), warn: redis.NewScript(warnSource), metrics: newWatchMetrics(c.Metrics),
	}
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	sweep, look := time.NewTicker(sweepEvery), time.NewTicker(lookEvery)
	defer sweep.Stop()
	defer look.Stop()
	w.keeper.hold.begin()
	w.pass(ctx, w.look)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			w.pass(ctx, w.sweepUnlessHeld)
		case <-look.C:
			w.pass(ctx, w.look)
		}
	}
}

// pass does one thing once. While Redis is down every pass fails: the first
// one tells.
func (w *Watch) pass(ctx context.Context, f func(context.Context) error) {
	limited, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	err := f(limited)
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil && !w.failing:
		w.cfg.Log.Warn("sessions not watched", "error", err)
	case err == nil && w.failing:
		w.cfg.Log.Info("sessions watched again")
	}
	if w.failing = err != nil; w.failing {
		w.keeper.hold.begin()
	}
}

func (w *Watch) sweepUnlessHeld(ctx context.Context) error {
	if w.keeper.hold.on() {
		return nil
	}
	return w.sweep(ctx)
}

// watchMetrics are the Watch's.
type watchMetrics struct {
	sessions           *prometheus.GaugeVec
	entries, age, used prometheus.Gauge
	expired, warnings  prometheus.Counter
}

func newWatchMetrics(registerer prometheus.Registerer) *watchMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "m2mbridge_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_" + name, Help: help})
	}
	m := &watchMetrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "m2mbridge_sessions", Help: "Sessions of apps that are kept, on all nodes.",
		}, []string{"state"}),
		entries:  gauge("session_lag_entries_max", "Entries of one stream that the session furthest behind has not read."),
		age:      gauge("session_lag_seconds_max", "Age of the oldest entry that a session has not read."),
		used:     gauge("session_trim_used_ratio_max", "Share of a stream's length or age limit that the session furthest behind has used; from 1 on it misses entries."),
		expired:  counter("sessions_expired_total", "Sessions that this node has forgotten since they expired, or their app is gone."),
		warnings: counter("session_warnings_total", "Events that this node has written about sessions that are too far behind."),
	}
	if registerer != nil {
		registerer.MustRegister(m.sessions, m.entries, m.age, m.used, m.expired, m.warnings)
	}
	return m
}

// show sets the gauges to what a pass has found.
func (m *watchMetrics) show(f *findings) {
	m.sessions.WithLabelValues("connected").Set(float64(f.connected))
	m.sessions.WithLabelValues("away").Set(float64(f.away))
	m.entries.Set(float64(f.entries))
	m.age.Set(f.age.Seconds())
	m.used.Set(f.used)
}
