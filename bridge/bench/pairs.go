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

func (b *bench) inTurn(ctx context.Context, ours, reference side) (p pairs, err error) {
	for i := range b.o.rounds {
		s, err := ours(ctx)
		if err != nil {
			return p, fmt.Errorf("round %d: %w", i+1, err)
		}
		p.ours = append(p.ours, s)
		if s, err = reference(ctx); err != nil {
			return p, fmt.Errorf("round %d of the reference: %w", i+1, err)
		}
		p.reference = append(p.reference, s)
	}
	return p, nil
}

// row compares what value makes of each round.
func (p pairs) row(name string, u unit, value func(sample) float64, g goal) row {
	var ours, reference, ratios []float64
	for i := range p.ours {
		o, r := value(p.ours[i]), value(p.reference[i])
		ours, reference, ratios = append(ours, o), append(reference, r), append(ratios, o/r)
	}
	return row{job: name, unit: u, ours: median(ours), reference: median(reference), ratio: median(ratios), goal: g}
}

func rateOf(s sample) float64 { return s.rate() }
func costOf(s sample) float64 { return float64(s.cost()) }

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
