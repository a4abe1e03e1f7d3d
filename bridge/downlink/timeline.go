package downlink

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
)

// Step is one thing that happened to a downlink.
type Step struct {
	At   time.Time
	What string // the state it came into, in lower case, or of SMS: accepted, temporary, permanent, unknown, throttled, unsent, a receipt's state, woke
	Text string
}

// Timeline is what happened to a downlink, in order. Of very many steps the last 400 are kept.
func (s *Service) Timeline(ctx context.Context, id string) (steps []Step, err error) {
	p, ok := s.partitionOf(id)
	if !ok {
		return nil, ErrUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	lines, err := s.cfg.Client.LRange(ctx, stepsKey(s.cfg.Keys, p, id), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("%w: timeline: %w", ErrUnavailable, err)
	}
	for _, line := range lines {
		at, rest, _ := strings.Cut(line, " ")
		what, text, _ := strings.Cut(rest, " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil || ms < 0 || ms > lastMilli {
			continue // outside hands were here
		}
		steps = append(steps, Step{time.UnixMilli(ms).UTC(), what, text})
	}
	return steps, nil
}

func stepsKey(k auth.Keyspace, p int, id string) string { return k.Key(p, "downlink:steps:"+id) }
