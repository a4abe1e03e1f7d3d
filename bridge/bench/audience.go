//go:build linux

package main

import (
	"context"

	"m2mbridge/bridge/fleet"
)

// crowded is one topic with a large audience.
var crowded = shape{publishers: 1, audience: 1000, qos: 1}

// audience measures what one more in a large audience costs. Every round has fresh processes, for the memory's sake.
func (b *bench) audience(ctx context.Context) error {
	p, err := b.inTurn(ctx, b.ourCrowd(), func(ctx context.Context) (sample, error) {
		s, stop, err := bareStage(ctx, show{shape: crowded, devices: fleet.Devices(seed, 0, 1), key: "any"})
		if err != nil {
			return sample{}, err
		}
		defer stop()
		return b.grown(ctx, s, b.perform)
	})
	if err != nil {
		return err
	}
	b.add(
		p.row("delivery "+crowded.String()+", to bare Mochi", perSecond, rateOf, atLeast(1)),
		p.row("  CPU of all servers for a message", duration, costOf, atMost(1)),
		p.row("  resident memory for a subscriber", bytesOf, memoryOf, atMost(1)),
	)
	return nil
}

// ourCrowd is our side, whose first round may be profiled.
func (b *bench) ourCrowd() side {
	first := true
	return func(ctx context.Context) (sample, error) {
		s, stop, err := b.ourStage(ctx, crowded)
		if err != nil {
			return sample{}, err
		}
		defer stop()
		perform := b.perform
		if first {
			perform = func(ctx context.Context, s show) (sample, error) {
				return b.profiled(s.program, func(ctx context.Context) (sample, error) { return b.perform(ctx, s) })(ctx)
			}
		}
		first = false
		return b.grown(ctx, s, perform)
	}
}

// grown performs with an audience of one and with all, and has as memory what each one more takes.
func (b *bench) grown(ctx context.Context, s show, perform func(context.Context, show) (sample, error)) (sample, error) {
	one := s
	one.audience = 1
	least, err := b.perform(ctx, one)
	if err != nil {
		return sample{}, err
	}
	m, err := perform(ctx, s)
	m.memory = (m.memory - least.memory) / int64(s.audience-1)
	return m, err
}
