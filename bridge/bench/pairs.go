//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"m2mbridge/bridge/fleet"
)

// side measures one round of one server.
type side func(context.Context) (sample, error)

// pairs are the rounds of both sides, the i-th of one right after the i-th of the other.
type pairs struct{ ours, reference []sample }

func (p *pairs) add(ours, reference sample) {
	p.ours, p.reference = append(p.ours, ours), append(p.reference, reference)
}

func (b *bench) inTurn(ctx context.Context, ours, reference side) (p pairs, err error) {
	for i := range b.o.rounds {
		s, err := ours(ctx)
		if err != nil {
			return p, fmt.Errorf("round %d: %w", i+1, err)
		}
		r, err := reference(ctx)
		if err != nil {
			return p, fmt.Errorf("round %d of the reference: %w", i+1, err)
		}
		p.add(s, r)
	}
	return p, nil
}

// row compares what value makes of each round.
func (p pairs) row(name string, u unit, value func(sample) float64, g goal) row {
	ours, reference := values(p.ours, value), values(p.reference, value)
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / reference[i]
	}
	return row{job: name, unit: u, ours: median(ours), reference: median(reference), ratio: median(ratios), goal: g}
}

func rateOf(s sample) float64   { return s.rate() }
func costOf(s sample) float64   { return float64(s.cost()) }
func memoryOf(s sample) float64 { return float64(s.memory) }

// latencyOf is a quantile of what the messages took.
func latencyOf(q float64) func(sample) float64 {
	return func(s sample) float64 { return float64(s.latency.Quantile(q)) }
}

// values of each sample.
func values(samples []sample, value func(sample) float64) []float64 {
	list := make([]float64, len(samples))
	for i, s := range samples {
		list[i] = value(s)
	}
	return list
}

// noteLatency tells what one answer took on either side, and what the generator took of the processors.
func (b *bench) noteLatency(p pairs) {
	b.note("latency p50 / p99: ours %s, reference %s; generator's CPU for a message %s and %s",
		latency(p.ours), latency(p.reference), generatorCost(p.ours), generatorCost(p.reference))
}

func latency(samples []sample) string {
	var all fleet.Histogram
	for _, s := range samples {
		if s.latency != nil {
			all.Merge(s.latency)
		}
	}
	return fmt.Sprintf("%s / %s", duration(float64(all.Quantile(0.5))), duration(float64(all.Quantile(0.99))))
}

func generatorCost(samples []sample) string {
	var costs []float64
	for _, s := range samples {
		costs = append(costs, float64(s.generator)/s.messages)
	}
	return duration(median(costs))
}

// deadline bounds what should happen at once.
const deadline = 5 * time.Second
