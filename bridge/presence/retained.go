package presence

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// Retained reads the states of devices as messages (broker.Config.Retained),
// partition by partition. Of a device that is not registered any more nothing is
// retained, whatever should be left of it.
func (p *Presence) Retained(ctx context.Context, filter, after string, limit int) (page []*broker.Message, next string, err error) {
	ids, next, err := p.devices(ctx, filter, after, limit)
	if err == nil {
		ids, err = p.registered(ctx, ids)
	}
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

// devices are those seen that a filter may match.
func (p *Presence) devices(ctx context.Context, filter, after string, limit int) (ids []auth.DeviceID, next string, err error) {
	if id, ok := named(filter); ok {
		return []auth.DeviceID{id}, "", nil
	}
	part, id := place(after)
	for part < p.keys.Count() && len(ids) < limit {
		lists, err := p.seen(ctx, part, id, limit)
		if err != nil {
			return nil, "", fmt.Errorf("list devices seen: %w: %w", ErrUnavailable, err)
		}
		for _, list := range lists {
			for _, text := range list {
				if len(ids) == limit {
					return ids, cursor(part, id), nil
				}
				ids, id = append(ids, auth.DeviceID(text)), text
			}
			if len(list) == limit { // there may be more of it
				return ids, cursor(part, id), nil
			}
			part, id = part+1, ""
		}
	}
	if part < p.keys.Count() {
		return ids, cursor(part, id), nil
	}
	return ids, "", nil
}

// cursor is how far was read, place what it says: a partition, and the last id
// of it.
func cursor(part int, id string) string { return strconv.Itoa(part) + " " + id }

func place(after string) (part int, id string) {
	number, id, _ := strings.Cut(after, " ")
	part, _ = strconv.Atoi(number)
	return part, id
}

// seen lists devices of some partitions, of the first behind an id.
func (p *Presence) seen(ctx context.Context, part int, after string, limit int) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := p.cfg.Reader.Pipeline()
	var replies []*redis.StringSliceCmd
	start := "-"
	if after != "" {
		start = "(" + after
	}
	for ; part < p.keys.Count() && len(replies) < batchSize; part++ {
		replies = append(replies, pipe.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: p.keys.seen(part), ByLex: true, Start: start, Stop: "+", Count: int64(limit),
		}))
		start = "-"
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	lists := make([][]string, 0, len(replies))
	for _, reply := range replies {
		if lists = append(lists, reply.Val()); len(reply.Val()) == limit {
			break // there may be more of it
		}
	}
	return lists, nil
}

// registered are those that the registry has; the others are forgotten.
func (p *Presence) registered(ctx context.Context, ids []auth.DeviceID) ([]auth.DeviceID, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := p.cfg.Client.Pipeline()
	replies := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.Exists(ctx, p.keys.registration(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask which of %d devices are registered: %w: %w", len(ids), ErrUnavailable, err)
	}
	known := make([]auth.DeviceID, 0, len(ids))
	for i, id := range ids {
		if replies[i].Val() == 1 {
			known = append(known, id)
		} else {
			p.changed(auth.Change{Kind: auth.ChangeDevice, Device: id})
		}
	}
	return known, nil
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
