package downlink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	lookBatch = 100 // downlinks looked at in one script
	lookSleep = time.Second
	lookPause = 200 * time.Millisecond // after a failure
)

// Run does what the time demands of downlinks, of all partitions, until ctx ends; it returns nil then. Any number of nodes
// may run it: what a script finds done already it leaves.
func (s *Service) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		next, err := s.look(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Warn("downlinks are not looked at", "error", err)
		}
		if err == nil && failing {
			s.log.Info("downlinks are looked at again")
		}
		failing = err != nil
		sleep := min(lookSleep, max(0, time.Until(next)))
		if failing {
			sleep = lookPause
		}
		timer := time.NewTimer(sleep)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.nudges:
		}
		timer.Stop()
	}
	return nil
}

// look passes over all partitions once, and says when something is due next.
func (s *Service) look(ctx context.Context) (next time.Time, err error) {
	next = s.now().Add(lookSleep)
	if err := s.dropRemoved(ctx); err != nil {
		return next, err
	}
	due, first, err := s.due(ctx)
	if err != nil {
		return next, err
	}
	for p, ids := range due {
		if len(ids) == 0 {
			continue
		}
		args := make([]any, len(ids))
		for i, id := range ids {
			args[i] = id
		}
		if _, err := s.do(ctx, p, "look", args...); err != nil {
			return next, err
		}
		if len(ids) == lookBatch {
			next = s.now()
		}
	}
	if first.Before(next) {
		next = first
	}
	return next, nil
}

// due reads what is due in each partition, and when the first is due that is not yet.
func (s *Service) due(ctx context.Context) (due [][]string, first time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	now := s.now().UnixMilli()
	first = time.UnixMilli(math.MaxInt32 * 1000)
	pipe := s.cfg.Client.Pipeline()
	ids, firsts := make([]*redis.StringSliceCmd, s.cfg.Keys.Count()), make([]*redis.ZSliceCmd, s.cfg.Keys.Count())
	for p := range ids {
		key := dueKey(s.cfg.Keys, p)
		until := strconv.FormatInt(now, 10)
		ids[p] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: key, ByScore: true, Start: "-inf", Stop: until, Count: lookBatch})
		firsts[p] = pipe.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: key, ByScore: true, Start: "(" + until, Stop: "+inf", Count: 1})
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, first, fmt.Errorf("%w: look: %w", ErrUnavailable, err)
	}
	for p := range ids {
		due = append(due, ids[p].Val())
		for _, z := range firsts[p].Val() {
			if at := time.UnixMilli(int64(z.Score)); at.Before(first) {
				first = at
			}
		}
	}
	return due, first, nil
}
