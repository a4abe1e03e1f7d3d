// Package presence knows which devices are online: over MQTT those that have a
// session on some node, over HTTP those whose last uplink is no longer ago than
// is usual for them. What it knows is in Redis, for all nodes, and each change
// is an event there; [Presence] writes both, apart from logins and uplinks,
// which never wait for it. [Live] and [Presence.Retained] make messages of them.
//
// It knows neither MQTT packets nor subscribers.
package presence

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// Registry tells of devices that are removed. *auth.Registry is one.
type Registry interface{ OnChange(f func(auth.Change)) }

// Config is what a Presence needs.
type Config struct {
	Client   redis.UniversalClient
	Reader   redis.UniversalClient // reads what is shown; nil: Client
	Keys     auth.Keyspace
	Registry Registry
	Node     string // this node's name, for people

	MaxEvents int64                 // length of a partition's events stream, about; 0: no limit
	Metrics   prometheus.Registerer // nil: none
	Log       *slog.Logger          // nil: nothing is logged
	Now       func() time.Time      // nil: time.Now
}

// Presence is the devices that are online here, and what is known of all.
type Presence struct {
	cfg      Config
	keys     keys
	run      string // this life of the node
	scripts  scripts
	takeOver func(d auth.DeviceID, session uint64)
	links    *links
	pulses   *pulses
	removed  *removals
	beats    beats
	metrics  *metrics
	outage   outage
}

var _ broker.Presence = (*Presence)(nil)

// New makes a Presence. It asks nothing of Redis.
func New(c Config) *Presence {
	if c.Reader == nil {
		c.Reader = c.Client
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Presence{cfg: c, keys: keys{c.Keys}, run: c.Node + "/" + rand.Text()[:12], scripts: newScripts()}
	p.links, p.pulses, p.removed = newLinks(), newPulses(), newRemovals()
	p.outage.log = c.Log
	p.beats.counts = make([]int64, p.keys.Count())
	p.metrics = newMetrics(p, c.Metrics)
	c.Registry.OnChange(p.changed)
	return p
}

// EndBy says who ends a session that a newer one elsewhere has taken over from:
// the broker, which is made later. It must have been called before Run is.
func (p *Presence) EndBy(takeOver func(d auth.DeviceID, session uint64)) { p.takeOver = takeOver }

// finishWithin bounds how long is written at the end.
const finishWithin = 4 * time.Second

// Run writes what it is told until ctx ends, then what it was told before: the
// edges must have stopped by then.
func (p *Presence) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { p.write(ctx, p.links) })
	wg.Go(func() { p.write(ctx, p.pulses) })
	wg.Go(func() { p.write(ctx, p.removed) })
	wg.Go(func() { p.beat(ctx) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.Background(), finishWithin)
	defer cancel()
	p.leave(last)
	return nil
}

func (p *Presence) now() int64 { return p.cfg.Now().UnixMilli() }
