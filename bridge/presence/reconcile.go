package presence

import (
	"context"
	"fmt"
	"maps"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// reconcile brings what Redis has of this run in a partition in line with what
// there is. They differ where a newer session elsewhere was not heard of, where
// another node took this one for dead, and where Redis has lost what it was
// told last. Each difference goes through the scripts, which know who is newer.
func (p *Presence) reconcile(ctx context.Context, part int) error {
	here := p.links.known(&p.keys, part)
	missing := maps.Clone(here)
	var foreign []auth.DeviceID
	for cursor := uint64(0); ; {
		ids, next, err := p.scan(ctx, part, cursor)
		if err != nil {
			return fmt.Errorf("read the devices of this node: %w", err)
		}
		for _, id := range ids {
			d := auth.DeviceID(id)
			if _, known := here[d]; !known {
				foreign = append(foreign, d)
			}
			delete(missing, d)
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	p.links.renew(missing)
	return p.disown(ctx, part, foreign)
}

func (p *Presence) scan(ctx context.Context, part int, cursor uint64) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return p.cfg.Client.SScan(ctx, p.keys.devices(part, p.run), cursor, "", batchSize).Result()
}

// known are the epochs of the links that Redis should know.
func (ls *links) known(k *keys, part int) map[auth.DeviceID]int64 {
	found := map[auth.DeviceID]int64{}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for d, l := range ls.of {
		if l.epoch != 0 && k.Partition(d) == part {
			found[d] = l.epoch
		}
	}
	return found
}

// renew has links written again, unless they have changed since.
func (ls *links) renew(missing map[auth.DeviceID]int64) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for d, epoch := range missing {
		if l := ls.of[d]; l != nil && l.epoch == epoch && !l.ended {
			ls.put(d)
		}
	}
}

// has tells whether there is a link, written or not.
func (ls *links) has(d auth.DeviceID) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.of[d] != nil
}

// disown tells the end of sessions that this node does not have any more, each
// by its own number: of one that begins meanwhile that says nothing.
func (p *Presence) disown(ctx context.Context, part int, foreign []auth.DeviceID) error {
	for len(foreign) > 0 {
		n := min(len(foreign), batchSize)
		sessions, err := p.sessionsOf(ctx, foreign[:n])
		if err != nil {
			return fmt.Errorf("read sessions: %w", err)
		}
		var calls []call
		for i, d := range foreign[:n] {
			if !p.links.has(d) {
				calls = append(calls, call{p.scripts.offline, p.keys.of(d, p.keys.devices(part, p.run)), []any{
					string(d), p.cfg.MaxEvents, p.run, sessions[i], p.now(), "connection lost",
				}})
			}
		}
		if _, err := p.runChunked(ctx, calls); err != nil {
			return fmt.Errorf("tell the end of sessions: %w", err)
		}
		foreign = foreign[n:]
	}
	return nil
}

// sessionsOf are the numbers of the sessions that Redis has.
func (p *Presence) sessionsOf(ctx context.Context, ids []auth.DeviceID) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := p.cfg.Client.Pipeline()
	replies := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.HMGet(ctx, p.keys.presence(id), "session")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	sessions := make([]string, len(ids))
	for i, reply := range replies {
		sessions[i], _ = reply.Val()[0].(string)
	}
	return sessions, nil
}
