package downlink

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
)

// Step is one thing that happened to a downlink.
type Step struct {
	At   time.Time
	What string // the state it came into, in lower case, or of SMS: accepted, temporary, permanent, unknown, throttled, unsent, a receipt's state, woke
	Text string
}

// Timeline is what happened to a downlink, in order, and when its next attempt by SMS is due, zero if none is. Of very many steps
// the last 400 are kept.
func (s *Service) Timeline(ctx context.Context, id string) (steps []Step, next time.Time, err error) {
	p, ok := s.partitionOf(id)
	if !ok {
		return nil, next, ErrUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	set, _ := due.Keys(s.cfg.Keys, due.SMS, p)
	pipe := s.cfg.Client.Pipeline()
	lines, score := pipe.LRange(ctx, stepsKey(s.cfg.Keys, p, id), 0, -1), pipe.ZScore(ctx, set, id)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, next, fmt.Errorf("%w: timeline: %w", ErrUnavailable, err)
	}
	if score.Err() == nil {
		next = time.UnixMilli(int64(score.Val())).UTC()
	}
	for _, line := range lines.Val() {
		at, rest, _ := strings.Cut(line, " ")
		what, text, _ := strings.Cut(rest, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil || ms < 0 || ms > lastMilli {
			continue // outside hands were here
		}
		steps = append(steps, Step{time.UnixMilli(ms).UTC(), what, text})
	}
	return steps, next, nil
}

func stepsKey(k auth.Keyspace, p int, id string) string { return k.Key(p, "downlink:steps:"+id) }
