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
	readBatch = 512                    // partitions asked in one pipeline
)

// Run does what the time demands of downlinks, of all partitions, until ctx ends; it returns nil then. Any number of nodes
// may run it: what a script finds done already it leaves.
func (s *Service) Run(ctx context.Context) error {
	failing := false
	for ctx.Err() == nil {
		next, err := s.Look(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Warn("downlinks are not looked at", "error", err)
		}
		if err == nil && failing {
			s.log.Info("downlinks are looked at again")
		}
		failing = err != nil
		sleep := min(lookSleep, max(0, next.Sub(s.now())))
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
	last, cancel := context.WithTimeout(context.Background(), s.cfg.Deadline)
	defer cancel()
	return s.lastWords(last)
}

// lastWords tells what is untold, if it can; if not, the leases end.
func (s *Service) lastWords(ctx context.Context) error {
	if err := s.tellUntold(ctx); err != nil {
		s.log.Warn("outcomes of downlinks are not noted: their attempts' leases end", "error", err)
	}
	return nil
}

// Look is one pass of Run: what is due now, in those partitions where something may be. It says when to come again.
func (s *Service) Look(ctx context.Context) (next time.Time, err error) {
	if err := s.tellUntold(ctx); err != nil {
		return next, err
	}
	if err := s.dropRemoved(ctx); err != nil {
		return next, err
	}
	parts := s.agenda.take(s.now())
	for len(parts) > 0 {
		n := min(len(parts), readBatch)
		if err := s.lookAt(ctx, parts[:n]); err != nil {
			s.agenda.giveBack(parts)
			return next, err
		}
		parts = parts[n:]
	}
	return s.agenda.first(), nil
}

// lookAt asks when the first is due in each of the partitions, and looks at those that are.
func (s *Service) lookAt(ctx context.Context, parts []int) error {
	firsts, err := s.firsts(ctx, parts)
	if err != nil {
		return err
	}
	now := s.now().UnixMilli()
	for i, p := range parts {
		for firsts[i] <= now {
			n, first, err := s.lookIn(ctx, p)
			if err != nil {
				return err
			}
			if firsts[i] = first; n < lookBatch {
				break
			}
		}
		s.agenda.due(p, firsts[i])
	}
	return nil
}

// firsts is when the first is due in each of the partitions, Unix ms.
func (s *Service) firsts(ctx context.Context, parts []int) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	pipe := s.cfg.Client.Pipeline()
	replies := make([]*redis.ZSliceCmd, len(parts))
	for i, p := range parts {
		replies[i] = pipe.ZRangeWithScores(ctx, dueKey(s.cfg.Keys, p), 0, 0)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%w: look: %w", ErrUnavailable, err)
	}
	firsts := make([]int64, len(parts))
	for i := range replies {
		firsts[i] = never
		for _, z := range replies[i].Val() {
			firsts[i] = int64(z.Score)
		}
	}
	return firsts, nil
}

// lookIn looks at a batch of what is due in a partition: how many they were, and when the next is due.
func (s *Service) lookIn(ctx context.Context, p int) (n int, next int64, err error) {
	reply, err := s.do(ctx, p, "look", lookBatch)
	if err != nil {
		return 0, 0, err
	}
	words, err := reply.Slice()
	if err != nil || len(words) != 2 {
		return 0, 0, fmt.Errorf("%w: look: %v, %w", ErrUnavailable, words, err)
	}
	count, _ := words[0].(int64)
	text, _ := words[1].(string)
	if text == "" {
		return int(count), never, nil
	}
	at, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: look: %w", ErrUnavailable, err)
	}
	return int(count), int64(at), nil
}

// never is when nothing is due.
const never = math.MaxInt64
