package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
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

// Retained reads the states of registered devices as messages
// (broker.Config.Retained), in the order of their ids.
func (p *Presence) Retained(ctx context.Context, filter, after string, limit int) (page []*broker.Message, next string, err error) {
	ids, next, err := p.devices(ctx, filter, after, limit)
	if err != nil {
		return nil, "", err
	}
	states, err := p.Get(ctx, ids)
	if err != nil {
		return nil, "", err
	}
	for _, id := range ids {
		m := &broker.Message{}
		if s, ok := states[id]; ok && fill(m, payload{id, s.State, s.Via, s.Since, s.Cause}) {
			page = append(page, m)
		}
	}
	return page, next, nil
}

// devices are those that a filter may match.
func (p *Presence) devices(ctx context.Context, filter, after string, limit int) (ids []auth.DeviceID, next string, err error) {
	if id, ok := named(filter); ok {
		_, err := p.cfg.Registry.GetDevice(ctx, id)
		if errors.Is(err, auth.ErrUnknown) {
			return nil, "", nil
		}
		return []auth.DeviceID{id}, "", err
	}
	list, next, err := p.cfg.Registry.ListDevices(ctx, auth.ListQuery{After: after, Limit: limit})
	for i := range list {
		ids = append(ids, list[i].ID)
	}
	return ids, next, err
}

// named is the device that a filter names.
func named(filter string) (auth.DeviceID, bool) {
	levels := strings.Split(filter, "/")
	if len(levels) < 3 {
		return "", false
	}
	id, err := auth.ParseDeviceID(levels[1] + ":" + levels[2])
	return id, err == nil
}
