//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge/fleet"
)

const (
	// backlog is how many uplinks one subscriber stalls for.
	backlog = 100_000
	// stallPublishers send them, as fast as they are stored.
	stallPublishers = 10
	// steadyRate of uplinks, at which latency is measured.
	steadyRate = 5000
	// stallMemory bounds what the stall may cost the bridge. Nothing is kept for a stalled subscriber, but resident memory
	// moves by some MB from one moment to the next, with the garbage of a hundred thousand uplinks. Kept in memory the backlog
	// would be 40 MB.
	stallMemory = 8 << 20
)

// stall measures a subscriber that stalls for many uplinks and then reads them all, in order: what it costs the bridge in
// memory, how fast it catches up, and what another subscriber feels of it.
func (b *bench) stall(ctx context.Context) error {
	stack, err := b.startStack(ctx, aofOff, stallPublishers)
	if err != nil {
		return err
	}
	defer stack.stop()
	key, err := stack.program.client().AddApp(ctx, "audience", "uplink.read")
	if err != nil {
		return err
	}
	var stalled, catching pairs // ours with the stalled one, the reference without
	var memory, rates []float64
	for i := range b.o.rounds {
		r := &stallRound{b: b, stack: stack, key: key, stamps: fleet.NewStamps(stack.devices), first: i == 0}
		if err := r.run(ctx); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		stalled.add(sample{latency: r.beside}, sample{latency: r.without})
		catching.add(sample{latency: r.behind}, sample{latency: r.without})
		memory, rates = append(memory, float64(r.memory)), append(rates, r.rate)
	}
	b.add(
		row{job: fmt.Sprintf("subscriber stalls for %d uplinks, QoS 1: memory", backlog), unit: bytesOf, ours: median(memory), goal: atMost(stallMemory)},
		row{job: "  then catches up, in order, none missing, at", unit: perSecond, ours: median(rates)},
		stalled.row("  latency of another, one stalled, to without it: p50", duration, latencyOf(0.5), goal{}),
		stalled.row("    p99", duration, latencyOf(0.99), atMost(1.5)),
		catching.row("  latency of another, one catching up, to without it: p50", duration, latencyOf(0.5), goal{}),
		catching.row("    p99", duration, latencyOf(0.99), atMost(1.5)),
	)
	return nil
}

// stallRound is one stall, from before it to after it.
type stallRound struct {
	b      *bench
	stack  *stack
	key    string
	stamps *fleet.Stamps
	first  bool // round

	without, beside, behind *fleet.Histogram // latency of the other subscriber: before the stall, in it, after it
	memory                  int64            // by which the bridge has grown in it
	rate                    float64          // messages a second, when it is over
}

// follower is a subscriber whose order is checked.
type follower struct {
	*fleet.Subscriber
	*fleet.Sequence
	first int64 // messages sent before it was there
}

func (r *stallRound) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	running, runCtx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		if ended := running.Wait(); err == nil && ended != nil {
			err = ended
		}
	}()
	other, err := r.follow(runCtx, running, "other")
	if err != nil {
		return err
	}
	before, without, err := r.both(runCtx, other)
	if err != nil {
		return err
	}
	stalled, err := r.follow(runCtx, running, "stalled")
	if err != nil {
		return err
	}
	stalled.Pause()
	after, beside, err := r.both(runCtx, other)
	if err != nil {
		return err
	}
	r.without, r.beside, r.memory = without, beside, after-before
	if err := r.maybeProfiled(runCtx, func(ctx context.Context) error { return r.resume(ctx, other, stalled) }); err != nil {
		return err
	}
	for _, f := range []*follower{other, stalled} {
		if err := r.complete(runCtx, f); err != nil {
			return err
		}
	}
	return nil
}

// maybeProfiled profiles the catching up of the first round, where that is wanted.
func (r *stallRound) maybeProfiled(ctx context.Context, catchUp func(context.Context) error) error {
	if !r.first {
		return catchUp(ctx)
	}
	_, err := r.b.profiled(r.stack.program, func(ctx context.Context) (sample, error) { return sample{}, catchUp(ctx) })(ctx)
	return err
}

// follow subscribes somebody.
func (r *stallRound) follow(ctx context.Context, running *errgroup.Group, client string) (*follower, error) {
	f := &follower{Sequence: fleet.NewSequence(), first: r.stamps.Sent()}
	var err error
	f.Subscriber, err = fleet.Subscribe(ctx, fleet.SubscriberConfig{
		Addr: r.stack.program.mqtt, Filter: "uplinks/#", QoS: 1, OnMessage: f.Take,
		Login: fleet.Login{ClientID: client, Username: "audience", Password: r.key},
	})
	if err == nil {
		running.Go(func() error { return f.Run(ctx) })
	}
	return f, err
}

// both sends the backlog as fast as it is taken, and then measures the other's latency at a steady rate, and the bridge's memory:
// once without and once with a stalled subscriber, so that all else is the same.
func (r *stallRound) both(ctx context.Context, other *follower) (memory int64, latency *fleet.Histogram, err error) {
	if err := r.send(ctx, fleet.LoadConfig{Count: backlog}, nil); err != nil {
		return 0, nil, err
	}
	if err := r.complete(ctx, other); err != nil {
		return 0, nil, err
	}
	other.Latency()
	if err := r.send(ctx, fleet.LoadConfig{Rate: steadyRate, For: r.b.o.measure}, nil); err != nil {
		return 0, nil, err
	}
	if err := r.complete(ctx, other); err != nil {
		return 0, nil, err
	}
	memory, err = resident(r.stack.program.pid)
	return memory, other.Latency(), err
}

// resume lets the stalled one go on, while uplinks go on too, until it is where the other is.
func (r *stallRound) resume(ctx context.Context, other, stalled *follower) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	steady, stop := make(chan error, 1), make(chan struct{})
	go func() { steady <- r.send(ctx, fleet.LoadConfig{Rate: steadyRate}, stop) }()
	if err := sleep(ctx, r.b.o.warm); err != nil {
		return err
	}
	other.Latency()
	began, from := time.Now(), stalled.Order().Taken
	stalled.Resume()
	err := r.until(ctx, func() bool { return stalled.Lacks(r.stamps, stalled.first) <= steadyRate/100 })
	r.behind = other.Latency()
	r.rate = float64(stalled.Order().Taken-from) / time.Since(began).Seconds()
	close(stop)
	if ended := <-steady; err == nil {
		err = ended
	}
	return err
}

// complete waits until somebody has everything, and makes sure that it came in order.
func (r *stallRound) complete(ctx context.Context, f *follower) error {
	err := r.until(ctx, func() bool { return f.Lacks(r.stamps, f.first) <= 0 })
	order := f.Order()
	if order.Missing+order.Repeated+order.Foreign > 0 || order.Taken == 0 {
		err = errors.Join(err, errors.New("not all in order"))
	}
	if err != nil {
		return fmt.Errorf("what a subscriber got, %+v, %d lacking: %w", order, f.Lacks(r.stamps, f.first), err)
	}
	return nil
}

// until waits for something that takes no longer than patience.
func (r *stallRound) until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	for !done() {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// send sends stamped uplinks until the load is over or stop is closed. One that fails makes the round void.
func (r *stallRound) send(ctx context.Context, cfg fleet.LoadConfig, stop <-chan struct{}) error {
	cfg.Via, cfg.Addr, cfg.Devices = fleet.MQTT, r.stack.program.mqtt, r.stack.devices
	cfg.Pack, cfg.Window = r.stamps.Pack, publisherWindow
	l, err := fleet.NewLoad(cfg)
	if err != nil {
		return err
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
			l.Stop()
		case <-over:
		}
	}()
	if report := l.Run(ctx); report.Failures() > 0 {
		return fmt.Errorf("%d messages were not accepted: %v", report.Failures(), report.Failed)
	}
	return ctx.Err()
}
