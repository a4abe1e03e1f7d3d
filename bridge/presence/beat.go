package presence

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
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

// sweepRuns takes the devices of dead runs for offline.
func (p *Presence) sweepRuns(ctx context.Context) error {
	dead, err := p.due(ctx, p.keys.runs, p.redisNow)
	if err != nil {
		return fmt.Errorf("look for dead nodes: %w", err)
	}
	for part, runs := range dead {
		for _, run := range runs {
			if run == p.run {
				continue
			}
			if err := p.sweepRun(ctx, part, run); err != nil {
				return fmt.Errorf("sweep devices of node %s: %w", nodeOf(run), err)
			}
		}
	}
	return nil
}

func (p *Presence) sweepRun(ctx context.Context, part int, run string) error {
	set, runs := p.keys.devices(part, run), p.keys.runs(part)
	for {
		ids, err := p.members(ctx, set)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			_, err := p.runChunked(ctx, []call{{p.scripts.bury, []string{runs, set}, []any{run, ""}}})
			return err
		}
		calls := make([]call, len(ids))
		for i, id := range ids {
			calls[i] = call{p.scripts.gone, p.keys.of(auth.DeviceID(id), set, runs), []any{id, p.cfg.MaxEvents, run}}
		}
		done, err := p.runChunked(ctx, calls)
		if err != nil {
			return err
		}
		for _, n := range done {
			if n < 0 {
				return nil // it lives
			}
		}
	}
}

// members are some of a set's.
func (p *Presence) members(ctx context.Context, set string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return p.cfg.Client.SRandMemberN(ctx, set, batchSize).Result()
}

// sweepSilent takes the devices for offline whose deadline has passed.
func (p *Presence) sweepSilent(ctx context.Context) error {
	for {
		silent, err := p.due(ctx, p.keys.silent, func(context.Context) (int64, error) { return p.now(), nil })
		if err != nil {
			return fmt.Errorf("look for silent devices: %w", err)
		}
		var calls []call
		more := false
		for _, ids := range silent {
			more = more || len(ids) == batchSize
			for _, id := range ids {
				calls = append(calls, call{p.scripts.silent, p.keys.of(auth.DeviceID(id)), []any{id, p.cfg.MaxEvents, p.now()}})
			}
		}
		if _, err := p.runChunked(ctx, calls); err != nil || !more {
			return err
		}
	}
}

// due are the members of a sorted set in each partition whose time has come.
func (p *Presence) due(ctx context.Context, key func(int) string, clock func(context.Context) (int64, error)) (map[int][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	now, err := clock(ctx)
	if err != nil {
		return nil, err
	}
	pipe := p.cfg.Client.Pipeline()
	replies := make([]*redis.StringSliceCmd, p.keys.Count())
	for part := range replies {
		replies[part] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: key(part), ByScore: true, Start: "-inf", Stop: strconv.FormatInt(now, 10), Count: batchSize,
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	found := map[int][]string{}
	for part, reply := range replies {
		if len(reply.Val()) > 0 {
			found[part] = reply.Val()
		}
	}
	return found, nil
}

// redisNow is Redis's clock, by which leases run, so that no node's matters.
func (p *Presence) redisNow(ctx context.Context) (int64, error) {
	now, err := p.cfg.Client.Time(ctx).Result()
	return now.UnixMilli(), err
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
