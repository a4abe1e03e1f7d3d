//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"m2mbridge/bridge/fleet"
)

// Connections and devices of the HTTP jobs.
const (
	httpConnections = 32
	httpDevices     = 64
)

// http measures uplinks over HTTP that are stored, and published to an app that is subscribed to all of them over MQTT at QoS 0.
func (b *bench) http(ctx context.Context, aof string, rate, cost float64) error {
	s, err := b.startStack(ctx, aof, httpDevices)
	if err != nil {
		return err
	}
	defer s.stop()
	app, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer app.stop()
	bare, addr, err := startReference(ctx, "http")
	if err != nil {
		return err
	}
	defer bare.stop()
	cfg := fleet.LoadConfig{Via: fleet.HTTP, Devices: s.devices, Connections: httpConnections}
	ours := func(ctx context.Context) (sample, error) {
		cfg.Addr = s.program.http
		m, l, err := b.load(ctx, cfg, s.pids())
		if err == nil {
			app.settle(ctx, l.Accepted())
		}
		return m, err
	}
	theirs := func(ctx context.Context) (sample, error) {
		cfg.Addr = addr
		m, _, err := b.load(ctx, cfg, []int{bare.pid})
		return m, err
	}
	p, err := b.inTurn(ctx, b.profiled(s.program, ours), theirs)
	if err != nil {
		return err
	}
	b.add(p.row("HTTP uplink, stored and published, AOF "+aof+", to net/http", perSecond, rateOf, atLeast(rate)))
	g := goal{}
	if cost > 0 {
		g = atMost(cost)
	}
	b.add(p.row("  CPU", duration, costOf, g))
	b.noteLatency(p)
	b.note("the app received %d of %d uplinks", app.received(), app.expected)
	return nil
}

// wake measures devices that make a connection for every uplink.
func (b *bench) wake(ctx context.Context) error {
	s, err := b.startStack(ctx, aofOff, httpDevices)
	if err != nil {
		return err
	}
	defer s.stop()
	bare, addr, err := startReference(ctx, "http")
	if err != nil {
		return err
	}
	defer bare.stop()
	cfg := fleet.LoadConfig{Via: fleet.HTTP, Devices: s.devices, Connections: httpConnections, PerRequest: true}
	p, err := b.inTurn(ctx,
		b.profiled(s.program, b.loading(cfg, s.program.http, s.pids())),
		b.loading(cfg, addr, []int{bare.pid}))
	if err != nil {
		return err
	}
	b.add(p.row("HTTP uplink, a connection for each, to net/http", perSecond, rateOf, goal{}))
	b.add(p.row("  CPU", duration, costOf, atMost(1.8)))
	b.noteLatency(p)
	return nil
}

// loading is the side that loads a server.
func (b *bench) loading(cfg fleet.LoadConfig, addr string, pids []int) side {
	cfg.Addr = addr
	return func(ctx context.Context) (sample, error) {
		m, _, err := b.load(ctx, cfg, pids)
		return m, err
	}
}

// app is a subscriber to every uplink, and what it should have received.
type app struct {
	subscriber *fleet.Subscriber
	stop       func()
	expected   uint64
}

// listen registers an app and subscribes it.
func (s *stack) listen(ctx context.Context) (*app, error) {
	key, err := s.program.client().AddApp(ctx, "listener", "uplink.read")
	if err != nil {
		return nil, err
	}
	sub, err := fleet.Subscribe(ctx, fleet.SubscriberConfig{
		Addr: s.program.mqtt, Filter: "uplinks/#",
		Login: fleet.Login{ClientID: "listener", Username: "listener", Password: key},
	})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = sub.Run(ctx) // a broken connection shows in what is missing
	}()
	return &app{subscriber: sub, stop: func() { cancel(); <-ended }}, nil
}

func (a *app) received() uint64 { return a.subscriber.Received() }

// settle waits until the uplinks of a round have come too, or no more do.
func (a *app) settle(ctx context.Context, more uint64) {
	a.expected += more
	for limit := time.Now().Add(deadline); a.received() < a.expected && time.Now().Before(limit); {
		if sleep(ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}
