package downlink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
)

// Query asks for one page of downlinks, in the order of their creation.
type Query struct {
	After   string // what next was after the page before; "": from the start
	Limit   int    // 0: 50; at most 1000
	Reverse bool   // the newest first

	Device   auth.DeviceID // "": every device
	Channels []Channel     // none: every one
	States   []State       // none: every one

	CreatedSince, CreatedBefore   time.Time // since includes the instant, before does not; zero: no bound
	ModifiedSince, ModifiedBefore time.Time // when the state changed last

	// Sees leaves out what the asker may not see. Nil: all is seen.
	Sees func(*Downlink) (bool, error)
}

const (
	defaultLimit = 50
	maxLimit     = 1000
	scanLimit    = 10000 // downlinks looked at for one page
)

// List gives one page, and in next what After must be for the following one; "" after the last. A page may be shorter than
// asked, even empty, where few of many match: next says whether to go on. It names no downlink that the asker does not see.
func (s *Service) List(ctx context.Context, q Query) (page []Downlink, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.cfg.Deadline)
	defer cancel()
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	for seen := 0; ; {
		ids, more, err := s.idsAfter(ctx, &q)
		if err != nil {
			return nil, "", err
		}
		found, err := s.read(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		for i, d := range found {
			q.After = placeOf(ids[i])
			ok, err := q.admits(d)
			if err != nil {
				return nil, "", err
			}
			if ok {
				page = append(page, *d)
			}
			if len(page) == q.Limit && (more || i < len(found)-1) {
				return page, q.After, nil
			}
		}
		if seen += len(ids); !more {
			return page, "", nil
		}
		if seen >= scanLimit {
			return page, q.After, nil
		}
	}
}

// placeOf is an id without its partition: what orders downlinks of all partitions.
func placeOf(id string) string {
	_, place, _ := strings.Cut(id, "-")
	return place
}

// idsAfter gives the next ids of all partitions together, as many as the page has; more says whether there are others.
func (s *Service) idsAfter(ctx context.Context, q *Query) (ids []string, more bool, err error) {
	pipe := s.cfg.Client.Pipeline()
	var replies []*redis.StringSliceCmd
	for p := range s.cfg.Keys.Count() {
		key := allKey(s.cfg.Keys, p)
		if q.Device != "" {
			if s.cfg.Keys.Partition(q.Device) != p {
				continue
			}
			key = deviceKey(s.cfg.Keys, p, q.Device)
		}
		replies = append(replies, pipe.ZRangeArgs(ctx, q.rangeOf(key, p)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, fmt.Errorf("%w: list: %w", ErrUnavailable, err)
	}
	for _, reply := range replies {
		ids = append(ids, reply.Val()...)
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(placeOf(a), placeOf(b)) })
	if q.Reverse {
		slices.Reverse(ids)
	}
	if len(ids) > q.Limit {
		return ids[:q.Limit], true, nil
	}
	return ids, false, nil
}

// idSlack is how far the time in an id, which is its node's, may be from the time of creation, which is that of Redis.
const idSlack = 10 * time.Minute

// rangeOf is what to read of one partition. An id begins with the time of its creation, about; admits knows that exactly.
func (q *Query) rangeOf(key string, p int) redis.ZRangeArgs {
	head := strconv.FormatInt(int64(p), 36) + "-"
	from, to := "-", "+"
	if !q.CreatedSince.IsZero() {
		from = "[" + head + timePart(q.CreatedSince.Add(-idSlack))
	}
	if !q.CreatedBefore.IsZero() {
		to = "(" + head + timePart(q.CreatedBefore.Add(idSlack))
	}
	if q.After != "" && q.Reverse {
		to = "(" + head + q.After
	} else if q.After != "" {
		from = "(" + head + q.After
	}
	if q.Reverse {
		from, to = to, from
	}
	return redis.ZRangeArgs{Key: key, ByLex: true, Start: from, Stop: to, Rev: q.Reverse, Count: int64(q.Limit) + 1}
}

// timePart is how an id spells an instant: eight digits until the year 2059.
func timePart(t time.Time) string { return strconv.FormatInt(max(t.UnixMilli(), 0), 36) }

// admits holds a downlink against the query; nil, one that is gone, is none.
func (q *Query) admits(d *Downlink) (bool, error) {
	within := func(t, since, before time.Time) bool {
		return (since.IsZero() || !t.Before(since)) && (before.IsZero() || t.Before(before))
	}
	switch {
	case d == nil,
		len(q.States) > 0 && !slices.Contains(q.States, d.State),
		len(q.Channels) > 0 && !slices.Contains(q.Channels, d.Channel),
		!within(d.Since, q.ModifiedSince, q.ModifiedBefore), !within(d.CreatedAt, q.CreatedSince, q.CreatedBefore):
		return false, nil
	case q.Sees == nil:
		return true, nil
	}
	return q.Sees(d)
}

// read gives several downlinks; nil for those that are gone.
func (s *Service) read(ctx context.Context, ids []string) ([]*Downlink, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := s.cfg.Client.Pipeline()
	replies, nexts := make([]*redis.MapStringStringCmd, len(ids)), make([]*redis.FloatCmd, len(ids))
	for i, id := range ids {
		p, _ := s.partitionOf(id)
		texts, _ := due.Keys(s.cfg.Keys, due.SMS, p)
		replies[i], nexts[i] = pipe.HGetAll(ctx, downlinkKey(s.cfg.Keys, p, id)), pipe.ZScore(ctx, texts, id)
	}
	_, _ = pipe.Exec(ctx) // its error is that of the first one only, which may be that an SMS is not due
	list := make([]*Downlink, len(ids))
	for i, reply := range replies {
		if err := cmp.Or(reply.Err(), nexts[i].Err()); err != nil && (reply.Err() != nil || !errors.Is(err, redis.Nil)) {
			return nil, fmt.Errorf("%w: list: %w", ErrUnavailable, err)
		}
		if fields := reply.Val(); len(fields) > 0 {
			d, err := downlinkOf(ids[i], fields)
			if err != nil {
				return nil, err
			}
			if nexts[i].Err() == nil && d.SMS != nil {
				d.SMS.Next = time.UnixMilli(int64(nexts[i].Val())).UTC()
			}
			list[i] = &d
		}
	}
	return list, nil
}

// Ahead is how many of the device's downlinks go before one that is queued: those whose time has come and that stand before
// it, and the one that is EXECUTING.
func (s *Service) Ahead(ctx context.Context, d *Downlink) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	p := s.cfg.Keys.Partition(d.Device)
	pipe := s.cfg.Client.Pipeline()
	rank := pipe.ZRank(ctx, queueKey(s.cfg.Keys, p, d.Device), d.ID)
	current := pipe.Get(ctx, currentKey(s.cfg.Keys, p, d.Device))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("%w: ahead: %w", ErrUnavailable, err)
	}
	switch current.Val() {
	case "":
		return rank.Val(), nil
	case d.ID:
		return 0, nil // it has its turn
	}
	of, err := s.cfg.Client.ZRank(ctx, queueKey(s.cfg.Keys, p, d.Device), current.Val()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("%w: ahead: %w", ErrUnavailable, err)
	}
	if of > rank.Val() {
		return rank.Val() + 1, nil // it had its turn before this one came, which goes first otherwise
	}
	return rank.Val(), nil
}
