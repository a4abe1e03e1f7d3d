// Package bridge is the program: its configuration, its wiring, and the order
// in which its parts start and stop.
package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
	"m2mbridge/bridge/commands"
	"m2mbridge/bridge/courier"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/fanout"
	"m2mbridge/bridge/ingest"
	"m2mbridge/bridge/latest"
	"m2mbridge/bridge/presence"
	"m2mbridge/bridge/session"
	"m2mbridge/bridge/store"
	"m2mbridge/bridge/texter"
	"m2mbridge/bridge/trace"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
	"m2mbridge/sms"
)

// Bridge is an opened program: its store is connected and its listeners queue
// what arrives until Run.
type Bridge struct {
	cfg       Config
	log       *slog.Logger
	store     *store.Store
	registry  *auth.Registry
	trace     *trace.Trace // nil: no steps are kept
	uplinks   *uplink.Service
	downlinks *downlink.Service
	courier   *courier.Courier
	gateway   sms.Gateway    // nil: no SMS are sent
	texter    *texter.Texter // nil likewise
	commands  *commands.Commands
	presence  *presence.Presence
	fanout    *fanout.Fanout
	latest    *latest.Projector
	sessions  *session.Keeper
	shares    *session.Share
	watch     *session.Watch
	ingest    *ingest.Server
	broker    *broker.Broker
	api       *api.API
	listeners []listener
}

// grace is how long requests in flight may take to finish at a stop.
const grace = 5 * time.Second

// Open connects the store and opens the listeners.
func Open(ctx context.Context, c Config, log *slog.Logger) (*Bridge, error) {
	b := &Bridge{cfg: c, log: log}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *Bridge) open(ctx context.Context) error {
	tlsConfig, err := loadTLS(b.cfg)
	if err != nil {
		return err
	}
	if b.listeners, err = listen(b.cfg); err != nil {
		return err
	}
	keys := auth.Keyspace{Partitions: b.cfg.Partitions}
	b.store, err = store.Open(ctx, store.Config{URL: b.cfg.Redis, Data: b.cfg.Data, Log: b.log, Probe: probeKeys(keys)})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := claimPartitions(ctx, b.store.Client, keys); err != nil {
		return err
	}
	if err := b.wire(keys, tlsConfig); err != nil {
		return err
	}
	return b.registry.CheckSecretKey(ctx)
}

// wire makes the parts and joins them; none runs yet.
func (b *Bridge) wire(keys auth.Keyspace, tlsConfig *tlsConfig) (err error) {
	metrics := prometheus.NewRegistry()
	b.registry, err = auth.NewRegistry(auth.RegistryConfig{
		Client: b.store.Client, Blocking: b.store.Blocking, Keys: keys,
		SecretKey: b.cfg.SecretKey, AdminKey: b.cfg.AdminKey, CacheBytes: cacheBytes(b.cfg), Attached: attachedKeys(keys), Log: b.log,
	})
	if err != nil {
		return fmt.Errorf("make registry: %w", err)
	}
	b.trace = b.newTrace(keys)
	downlinks := downlink.Config{
		Client: b.store.Client, Keys: keys, Lease: b.cfg.DownlinkLease, AckWait: b.cfg.DownlinkAckWait,
		Blocking: b.store.Blocking, Metrics: metrics, MaxEvents: b.cfg.EventsMax, Log: b.log, Note: b.noteDownlink,
	}
	if err := b.cfg.downlinkSMS(&downlinks); err != nil {
		return err
	}
	b.downlinks = downlink.New(downlinks)
	if err := b.openSMS(keys, metrics); err != nil {
		return err
	}
	b.courier = courier.New(b.downlinks, b.log)
	b.commands = commands.New(commands.Config{
		Client: b.store.Client, Blocking: b.store.Blocking, Keys: keys, Node: nodeName() + ":" + rand.Text()[:8],
		Create: b.downlinks.Create, Reject: b.rejectCommand, Log: b.log,
	})
	if b.uplinks, err = uplink.New(b.uplinkConfig(keys, metrics)); err != nil {
		return err
	}
	b.presence = presence.New(presence.Config{
		Client: b.store.Client, Reader: b.store.Reader, Keys: keys, Registry: b.registry, Node: nodeName(),
		MaxEvents: b.cfg.EventsMax, Metrics: metrics, Log: b.log,
	})
	b.fanout = fanout.New(fanout.Config{
		Client: b.store.Client, Reader: b.store.Reader, Blocking: b.store.Blocking, Keys: keys,
		Log: b.log, MaxEvents: b.cfg.EventsMax, Events: b.event,
	})
	b.latest = latest.New(b.latestConfig(keys, metrics))
	b.registry.OnChange(b.latest.OnChange)
	b.registry.OnChange(b.downlinks.OnChange)
	b.sessions = session.NewKeeper(session.Config{Client: b.store.Client, Reader: b.store.Reader, Keys: keys, Node: nodeName()})
	b.shares = session.NewShare(b.store.Client, keys)
	b.watch = session.NewWatch(b.watchConfig(keys, metrics))
	if b.broker, err = broker.New(b.brokerConfig(tlsConfig)); err != nil {
		return fmt.Errorf("make broker: %w", err)
	}
	b.fanout.DeliverTo(b.broker) // which reads from it
	b.presence.EndBy(b.broker.TakeOver)
	b.courier.GoTo(b.broker)
	b.ingest = ingest.New(ingest.Config{
		Uplinks: b.uplinks, Log: b.log, MaxBody: int64(b.cfg.MaxBody), MaxConnections: b.cfg.HTTPMaxConnections,
		HeaderTimeout: b.cfg.HTTPHeaderTimeout, ReadTimeout: b.cfg.HTTPReadTimeout, IdleTimeout: b.cfg.HTTPIdleTimeout,
		Metrics: metrics,
	})
	metrics.MustRegister(newCollector(b.registry, b.broker, b.trace))
	b.api, err = api.New(api.Config{
		Registry: b.registry, Sessions: b.sessions, Trace: b.trace, Downlinks: b.downlinks, Client: b.store.Reader, Keys: keys, CanStore: b.store.CanStore,
		Changed: b.fanout.Changed, Follow: b.fanout.Follow, Recent: b.fanout.Entries,
		Activities: activities{uplink.NewReader(b.store.Reader, keys)}, Presences: presences{b.presence},
		Values: values{latest.NewReader(b.store.Reader, keys)}, SMSReady: b.smsReady, SMSReceipts: b.smsReceipts(), PastSecrets: b.registry.PastSecrets,
		AppRate: b.cfg.AppRate, Metrics: metrics, Log: b.log, Version: Version(),
	})
	return err
}

// Run serves until ctx ends, or a part fails, and then stops in this order:
// stop accepting, finish requests in flight, stop the workers, close Redis.
// Nothing that was accepted is lost by it.
func (b *Bridge) Run(ctx context.Context) error {
	failed := make(chan error, 16)
	workers := newStage(failed)
	workers.run("store", b.store.Run)
	workers.run("registry", b.registry.Run)
	workers.run("uplinks", b.uplinks.Run)
	workers.run("latest", b.latest.Run)
	workers.run("downlinks", b.downlinks.Run)
	workers.run("courier", b.courier.Run)
	workers.run("commands", b.commands.Run)
	if b.texter != nil {
		workers.run("sms", b.texter.Run)
	}
	if b.trace != nil {
		workers.run("trace", b.trace.Run)
	}
	workers.run("sessions", b.watch.Run)
	workers.run("presence", b.presence.Run) // tells what the edges leave, too
	workers.run("mqtt", b.broker.Run)       // saves what the edges leave, when they have stopped
	tailing := make(chan struct{})
	workers.run("fanout", func(ctx context.Context) error { return b.fanout.Run(ctx, func() { close(tailing) }) })

	edges := newStage(failed)
	go func() {
		select { // a subscriber that is served must miss nothing from then on
		case <-tailing:
			b.serve(edges)
		case <-edges.ctx.Done():
		}
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	b.log.Info("stopping")
	edges.stop()
	workers.stop()
	return errors.Join(err, b.close())
}

// serve starts answering on every listener.
func (b *Bridge) serve(edges *stage) {
	for _, l := range b.listeners {
		edges.run(l.name, func(ctx context.Context) error {
			switch l.name {
			case nameHTTP:
				return b.ingest.Serve(ctx, l.Listener, grace)
			case nameAPI:
				return b.api.Serve(ctx, l.Listener)
			case namePprof:
				return servePprof(ctx, l.Listener)
			}
			return b.broker.Serve(ctx, l.Listener, l.kind)
		})
	}
}

// close closes what is open; the parts have stopped.
func (b *Bridge) close() error {
	var errs []error
	for _, l := range b.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(errs...)
}

// Describe says in a few words where things are kept.
func (b *Bridge) Describe() string { return b.store.Describe() }
