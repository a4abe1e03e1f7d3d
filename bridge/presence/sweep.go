package presence

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

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
