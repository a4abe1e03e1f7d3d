package auth

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// ListQuery asks for one page of a list, in the order of ids or names.
type ListQuery struct {
	After   string // what next was after the page before; "": from the start
	Limit   int    // 0: 50; at most 1000
	Reverse bool   // from the end

	CreatedSince, CreatedBefore   time.Time // since includes the instant, before does not; zero: no bound
	ModifiedSince, ModifiedBefore time.Time

	Sort   Sort   // of devices only
	Search Search // of devices only
}

const (
	defaultLimit = 50
	maxLimit     = 1000
	scanLimit    = 10000 // things looked at for one page
)

// ListDevices gives one page, and in next what After must be for the following one; "" after the last. A page may be
// shorter than asked, even empty, where the bounds of time let few devices through: next says whether to go on.
func (r *Registry) ListDevices(ctx context.Context, q ListQuery) (page []Device, next string, err error) {
	indexes := make([]string, r.keys.Count())
	for p := range indexes {
		indexes[p] = r.keys.devices(p)
	}
	key := func(id string) string { return r.keys.device(DeviceID(id)) }
	next, err = r.list(ctx, q, indexes, key, func(id string, fields map[string]string) error {
		d, _, err := deviceOf(DeviceID(id), fields)
		if err == nil {
			page = append(page, d)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list devices: %w", err)
	}
	return page, next, nil
}

// list passes the things of one page, in order, to add.
func (r *Registry) list(ctx context.Context, q ListQuery, indexes []string, key func(id string) string,
	add func(id string, fields map[string]string) error,
) (next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	for added, seen := 0, 0; ; {
		ids, more, err := r.idsAfter(ctx, q, indexes)
		if err != nil {
			return "", err
		}
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = key(id)
		}
		hashes, err := r.readHashes(ctx, keys)
		if err != nil {
			return "", err
		}
		for i, id := range ids {
			if hashes[i] != nil && q.admits(hashes[i]) { // nil: deleted just now
				if err := add(id, hashes[i]); err != nil {
					return "", err
				}
				added++
			}
			q.After = id
			if added == q.Limit && (more || i < len(ids)-1) {
				return id, nil
			}
		}
		if seen += len(ids); !more {
			return "", nil
		}
		if seen >= scanLimit {
			return q.After, nil
		}
	}
}

// idsAfter gives the next ids of all indexes together, as many as the page has; more says whether there are others.
func (r *Registry) idsAfter(ctx context.Context, q ListQuery, indexes []string) (ids []string, more bool, err error) {
	args := redis.ZRangeArgs{ByLex: true, Start: "-", Stop: "+", Count: int64(q.Limit) + 1, Rev: q.Reverse}
	if q.Reverse {
		args.Start, args.Stop = args.Stop, args.Start
	}
	if q.After != "" {
		args.Start = "(" + q.After
	}
	pipe := r.client.Pipeline()
	replies := make([]*redis.StringSliceCmd, len(indexes))
	for i, index := range indexes {
		args.Key = index
		replies[i] = pipe.ZRangeArgs(ctx, args)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, unavailable(err)
	}
	for _, reply := range replies {
		ids = append(ids, reply.Val()...)
	}
	slices.Sort(ids)
	if q.Reverse {
		slices.Reverse(ids)
	}
	if len(ids) > q.Limit {
		return ids[:q.Limit], true, nil
	}
	return ids, false, nil
}

// admits holds a hash's times against the query's bounds.
func (q *ListQuery) admits(fields map[string]string) bool {
	return within(fields[fieldCreated], q.CreatedSince, q.CreatedBefore) &&
		within(fields[fieldRev], q.ModifiedSince, q.ModifiedBefore)
}

func within(unixMilli string, since, before time.Time) bool {
	if since.IsZero() && before.IsZero() {
		return true
	}
	ms, err := strconv.ParseInt(unixMilli, 10, 64)
	if err != nil {
		return false
	}
	at := time.UnixMilli(ms)
	return (since.IsZero() || !at.Before(since)) && (before.IsZero() || at.Before(before))
}
