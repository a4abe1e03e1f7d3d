//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"m2mbridge/bridge/fleet"
)

// sample is one round of a load on one server.
type sample struct {
	messages  float64
	elapsed   time.Duration
	server    time.Duration // CPU of all server processes
	generator time.Duration // CPU of this process
	latency   *fleet.Histogram
	memory    int64   // resident, of the broker or bridge, where it was asked for
	commands  float64 // that Redis was given, where they were counted
}

func (s sample) rate() float64 { return s.messages / s.elapsed.Seconds() }

// cost is the servers' CPU for one message.
func (s sample) cost() time.Duration { return time.Duration(float64(s.server) / s.messages) }

// plus is both rounds as one.
func (s sample) plus(o sample) sample {
	s.messages += o.messages
	s.elapsed += o.elapsed
	s.server += o.server
	s.generator += o.generator
	return s
}

// meter reads what a round is about at one moment.
type meter struct {
	at                time.Time
	messages          uint64
	server, generator time.Duration
}

func readMeter(count func() uint64, pids []int) (m meter, err error) {
	if m.server, err = cpuTime(pids...); err != nil {
		return m, err
	}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return m, fmt.Errorf("read the own CPU time: %w", err)
	}
	m.generator = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	m.messages, m.at = count(), time.Now()
	return m, nil
}

// between measures what happens from warm after now on, for as long as the options say.
func (b *bench) between(ctx context.Context, count func() uint64, pids []int) (sample, error) {
	if err := sleep(ctx, b.o.warm); err != nil {
		return sample{}, err
	}
	first, err := readMeter(count, pids)
	if err != nil {
		return sample{}, err
	}
	if err := sleep(ctx, b.o.measure); err != nil {
		return sample{}, err
	}
	last, err := readMeter(count, pids)
	if err != nil {
		return sample{}, err
	}
	if last.messages == first.messages {
		return sample{}, errors.New("not one message in the whole round")
	}
	return sample{
		messages: float64(last.messages - first.messages), elapsed: last.at.Sub(first.at),
		server: last.server - first.server, generator: last.generator - first.generator,
	}, nil
}

// load runs one round of a load. A message that fails makes the round void.
func (b *bench) load(ctx context.Context, cfg fleet.LoadConfig, pids []int) (sample, *fleet.Load, error) {
	cfg.For = b.o.warm + b.o.measure + patience
	l, err := fleet.NewLoad(cfg)
	if err != nil {
		return sample{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan fleet.Report, 1)
	go func() { done <- l.Run(ctx) }()
	s, err := b.between(ctx, l.Accepted, pids)
	l.Stop()
	report := <-done
	if report.Failures() > 0 {
		return sample{}, nil, fmt.Errorf("%d messages were not accepted: %v", report.Failures(), report.Failed)
	}
	s.latency = report.Latency
	return s, l, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// median of the values; the mean of the middle two if they are even in number.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
