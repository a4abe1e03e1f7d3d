package session

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// hold keeps expired sessions where they are for a while after Redis could not
// be asked, or this node has started, perhaps since: the nodes of connected
// sessions could not save them, and must get the time to. The zero one is off.
type hold struct {
	mu    sync.Mutex
	until time.Time
}

// begin puts it on from now on.
func (h *hold) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = time.Now().Add(lease)
}

func (h *hold) on() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.until)
}

// sweep forgets the sessions of a partition that have expired, and says how many.
func (k *Keeper) sweep(ctx context.Context, p int) (swept int, err error) {
	for {
		names, err := k.expired(ctx, p, 0)
		if err != nil || len(names) == 0 {
			return swept, err
		}
		done, err := k.forget(ctx, k.scripts.sweep, k.sweepCalls(names))
		swept += done
		if err != nil || len(names) < saveChunk || done == 0 { // 0: another node is at it
			return swept, err
		}
	}
}

// sweepOf forgets the sessions of one app that have expired.
func (k *Keeper) sweepOf(ctx context.Context, app string) error {
	var own []string
	for offset := int64(0); ; offset += saveChunk {
		names, err := k.expired(ctx, k.keys.of(app), offset)
		if err != nil {
			return err
		}
		for _, name := range names {
			if appOf(name) == app {
				own = append(own, name)
			}
		}
		if len(names) < saveChunk {
			break
		}
	}
	_, err := k.forget(ctx, k.scripts.sweep, k.sweepCalls(own))
	return err
}

func (k *Keeper) sweepCalls(names []string) []call {
	calls := make([]call, len(names))
	for i, name := range names {
		calls[i] = call{k.keys.session(name), []any{name}}
	}
	return calls
}

// expired are the names of some sessions that have expired.
func (k *Keeper) expired(ctx context.Context, p int, offset int64) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	now, err := k.client.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("read the time: %w", unavailable(err))
	}
	names, err := k.client.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: k.keys.index(p), ByScore: true, Start: "-inf", Stop: now.UnixMilli(), Offset: offset, Count: saveChunk,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("read expired sessions: %w", unavailable(err))
	}
	return names, nil
}

// forget calls a script that deletes sessions, takes those out of their shared
// subscriptions, and says how many they were.
func (k *Keeper) forget(ctx context.Context, s *redis.Script, calls []call) (done int, err error) {
	var gone []departed
	for chunk := range slices.Chunk(calls, saveChunk) {
		for i, reply := range runAll(ctx, k.client, s, chunk) {
			was, failed := reply.Slice()
			switch {
			case failed != nil && err == nil:
				err = fmt.Errorf("forget sessions: %w", unavailable(failed))
			case len(was) > 0:
				name, _ := chunk[i].args[0].(string)
				gone = append(gone, departedOf(keyOf(name), was))
			}
		}
	}
	if failed := k.leave(ctx, gone); err == nil {
		err = failed
	}
	return len(gone), err
}

// departed is a session that is not kept any more.
type departed struct {
	key     broker.SessionKey
	created int64 // its app
	subs    string
}

// departedOf reads what a script says of a session that it has deleted.
func departedOf(key broker.SessionKey, fields []any) departed {
	var texts [2]string
	for i := range min(len(fields), len(texts)) {
		texts[i], _ = fields[i].(string)
	}
	return departed{key, number(texts[0]), texts[1]}
}

// leave takes sessions out of their shared subscriptions. What a newer program
// kept of them cannot be read; their memberships then end when they would have
// expired.
func (k *Keeper) leave(ctx context.Context, gone []departed) error {
	var calls []call
	for _, d := range gone {
		subs, err := parseSubs(d.subs)
		if err != nil {
			continue
		}
		for _, sub := range subs {
			name, filter, ok := cutShared(sub.Filter)
			if !ok {
				continue
			}
			key := broker.ShareKey{App: d.key.App, AppCreated: d.created, Name: name, Filter: filter}
			calls = append(calls, k.keys.leaveCalls(key, k.keys.streamsOf(filter), d.key)...)
		}
	}
	return leave(ctx, k.client, k.scripts.leave, calls)
}
