package presence

import (
	"context"
	"fmt"
	"time"
)

// beats is what a node does at each beat: it renews its lease, holds what Redis
// knows of it against what there is, and takes devices for offline whose node
// has died, or that are silent. All nodes do it, at no harm: each is done once.
// Only beat's goroutine uses it.
type beats struct {
	counts []int64 // devices of this run, by partition, as Redis last said
	swept  []time.Time
	last   time.Time // when Redis last answered
	hold   time.Time // until when no other run counts for dead
	quiet  time.Time // until when no device counts for silent
}

func (p *Presence) beat(ctx context.Context) {
	p.beats.last = time.Now()
	p.beats.swept = make([]time.Time, p.keys.Count())
	p.holdOff() // Redis may have been away just now, and all leases have run out
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := p.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		p.outage.report(err)
		if err != nil {
			continue
		}
		p.beats.last = time.Now()
	}
}

// holdOff lets other nodes renew what they could not, and devices be heard that
// were told to try again: these as long as that has lasted.
func (p *Presence) holdOff() {
	now := time.Now()
	p.beats.hold = now.Add(lease)
	p.beats.quiet = now.Add(max(lease, min(now.Sub(p.beats.last), firstAllowed)))
}

// pass is one beat.
func (p *Presence) pass(ctx context.Context) error {
	p.pulses.tidy(p.now())
	if err := p.renew(ctx); err != nil {
		return err
	}
	if time.Since(p.beats.last) > 2*beatEvery {
		p.holdOff()
	}
	if time.Now().After(p.beats.hold) {
		if err := p.sweepRuns(ctx); err != nil {
			return err
		}
	}
	if time.Now().After(p.beats.quiet) {
		return p.sweepSilent(ctx)
	}
	return nil
}

// renew renews the lease where this run has devices, and looks closer where
// Redis has not as many as there are.
func (p *Presence) renew(ctx context.Context) error {
	here := p.links.counts(&p.keys)
	var parts []int
	var calls []call
	for part, n := range here {
		if n > 0 || p.beats.counts[part] > 0 {
			parts = append(parts, part)
			calls = append(calls, call{p.scripts.renew, []string{p.keys.runs(part), p.keys.devices(part, p.run)}, []any{p.run, lease.Milliseconds()}})
		}
	}
	counts, err := p.runChunked(ctx, calls)
	if err != nil {
		return fmt.Errorf("renew the lease of this node: %w", err)
	}
	for i, part := range parts {
		p.beats.counts[part] = counts[i]
		if counts[i] == here[part] || !p.links.settled() && time.Since(p.beats.swept[part]) < lease {
			continue
		}
		p.beats.swept[part] = time.Now()
		if err := p.reconcile(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// counts are how many links Redis should know, by partition.
func (ls *links) counts(k *keys) []int64 {
	counts := make([]int64, k.Count())
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for d, l := range ls.of {
		if l.epoch != 0 {
			counts[k.Partition(d)]++
		}
	}
	return counts
}

// settled: nothing waits to be written.
func (ls *links) settled() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.queue) == 0
}

// leave ends the lease of this run where it has told of all devices' end; of
// others another node tells when it has run out.
func (p *Presence) leave(ctx context.Context) {
	var calls []call
	for part := range p.keys.Count() {
		calls = append(calls, call{p.scripts.bury, []string{p.keys.runs(part), p.keys.devices(part, p.run)}, []any{p.run, "1"}})
	}
	_, _ = p.runChunked(ctx, calls) // else it lapses
}
