//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"m2mbridge/bridge/due"
	"m2mbridge/bridge/fleet"
)

// dueRate of entries that fall due, and liveRate of those that another node adds to be done at once.
const dueRate, liveRate = 5000, 500

// lateness measures how late entries are acted on that fall due at a steady rate while very many wait: by one node, by two
// nodes, and of entries that the second node adds while the first one sleeps.
func (b *bench) lateness(ctx context.Context) error {
	s, err := b.openDue(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := b.openAsynq(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	later := time.Now().Add(24 * time.Hour)
	if err := s.fill(ctx, "w", b.o.registered, func(i int) time.Time { return later.Add(time.Duration(i) * time.Millisecond) }); err != nil {
		return err
	}
	if err := a.waiting(ctx, b.o.registered); err != nil {
		return err
	}
	var early atomic.Int64
	p, err := b.inTurn(ctx,
		func(ctx context.Context) (sample, error) { return b.lateRound(ctx, s, 1, &early) },
		func(ctx context.Context) (sample, error) { return a.late(ctx, b.dueCount(), b.dueTimes()) })
	if err != nil {
		return err
	}
	two, live, err := b.ownRounds(ctx, s, &early)
	if err != nil {
		return err
	}
	b.add(
		p.own(fmt.Sprintf("lateness, %d/s due, %d waiting: p50", dueRate, b.o.registered), duration, latencyOf(0.5), atMost(2e6)),
		p.own("  p99", duration, latencyOf(0.99), atMost(8e6)),
		two.own("  two nodes: p50", duration, latencyOf(0.5), goal{}),
		two.own("    p99", duration, latencyOf(0.99), goal{}),
		live.own(fmt.Sprintf("  %d/s added by another node, due at once: p50", liveRate), duration, latencyOf(0.5), goal{}),
		live.own("    p99", duration, latencyOf(0.99), goal{}),
		row{job: "  fired early, of all", unit: whole, ours: float64(early.Load()), goal: atMost(0.5)},
	)
	return nil
}

// whole prints a count; a goal of one half is none.
func whole(x float64) string { return fmt.Sprintf("%d", int(x)) }

func (b *bench) ownRounds(ctx context.Context, s *dueStage, early *atomic.Int64) (two, live pairs, err error) {
	for range b.o.rounds {
		m, err := b.lateRound(ctx, s, 2, early)
		if err != nil {
			return two, live, err
		}
		two.ours = append(two.ours, m)
		if m, err = b.liveRound(ctx, s, early); err != nil {
			return two, live, err
		}
		live.ours = append(live.ours, m)
	}
	return two, live, nil
}

// dueCount is how many fall due in a round.
func (b *bench) dueCount() int { return int(dueRate * b.o.measure.Seconds()) }

// dueTimes begin when all entries of a round are surely there.
func (b *bench) dueTimes() func(i int) time.Time {
	first := time.Now().Add(2 * time.Second).Truncate(time.Millisecond)
	return func(i int) time.Time { return first.Add(time.Duration(i) * time.Second / dueRate) }
}

// clocking notes how late claims are.
type clocking struct {
	late  *fleet.Histogram
	early *atomic.Int64
	left  atomic.Int64
	all   chan struct{}
}

func newClocking(n int, early *atomic.Int64) *clocking {
	c := &clocking{late: new(fleet.Histogram), early: early, all: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *clocking) Act(_ context.Context, claim due.Claim) due.Outcome {
	now := time.Now()
	at, err := dueTime(claim)
	if err != nil || now.Before(at) {
		c.early.Add(1)
	}
	c.late.Add(now.Sub(at))
	if c.left.Add(-1) == 0 {
		close(c.all)
	}
	return due.Done()
}

// workers run on their own until stop.
func (c *clocking) workers(ctx context.Context, s *dueStage, nodes int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for range nodes {
		w := due.NewWorker(due.WorkerConfig{Set: s.set, Handler: c, Blocking: s.store.Blocking})
		running.Go(func() { _ = w.Run(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

func (c *clocking) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-c.all:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d entries were not acted on: %w", c.left.Load(), ctx.Err())
	}
}

// lateRound has workers act on what falls due at the steady rate.
func (b *bench) lateRound(ctx context.Context, s *dueStage, nodes int, early *atomic.Int64) (sample, error) {
	c := newClocking(b.dueCount(), early)
	stop := c.workers(ctx, s, nodes)
	defer stop()
	if err := s.fill(ctx, "s", b.dueCount(), b.dueTimes()); err != nil {
		return sample{}, err
	}
	return sample{latency: c.late}, c.await(ctx)
}

// liveRound adds entries one by one that are due at once, which the worker must hear of.
func (b *bench) liveRound(ctx context.Context, s *dueStage, early *atomic.Int64) (sample, error) {
	n := int(liveRate * b.o.measure.Seconds())
	c := newClocking(n, early)
	stop := c.workers(ctx, s, 1)
	defer stop()
	if err := sleep(ctx, b.o.warm); err != nil {
		return sample{}, err
	}
	pace := time.NewTicker(time.Second / liveRate)
	defer pace.Stop()
	for i := range n {
		<-pace.C
		if _, err := s.set.Add(ctx, 0, dueNow(i)); err != nil {
			return sample{}, err
		}
	}
	return sample{latency: c.late}, c.await(ctx)
}

// dueNow is due when it is added; its data has the time before.
func dueNow(i int) due.Entry {
	e := dueEntry("l", i, time.Now())
	e.At = due.In(0)
	return e
}
