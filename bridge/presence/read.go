package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// ErrUnavailable: Redis could not be asked; try again.
var ErrUnavailable = errors.New("presence unavailable")

// Get reads the states of devices, which are registered. One that was never
// seen is missing.
func (p *Presence) Get(ctx context.Context, ids []auth.DeviceID) (map[auth.DeviceID]State, error) {
	states := make(map[auth.DeviceID]State, len(ids))
	if len(ids) == 0 {
		return states, nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := p.cfg.Reader.Pipeline()
	replies := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.HMGet(ctx, p.keys.presence(id), "state", "via", "since", "cause", "run")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read presence of %d devices: %w: %w", len(ids), ErrUnavailable, err)
	}
	for i, id := range ids {
		if s, ok := stateOf(replies[i].Val()); ok {
			states[id] = s
		}
	}
	return states, nil
}

// stateOf reads a state; false where there is none.
func stateOf(fields []any) (s State, ok bool) {
	var text [5]string
	for i := range text {
		text[i], _ = fields[i].(string)
	}
	since, err := strconv.ParseInt(text[2], 10, 64)
	if text[0] == "" || err != nil {
		return s, false
	}
	return State{State: text[0], Via: text[1], Since: time.UnixMilli(since).UTC(), Cause: text[3], Node: nodeOf(text[4])}, true
}
