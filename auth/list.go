package auth

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sort is the order of a list. Of two alike the id decides.
type Sort string

// The orders of lists.
const (
	ByID       Sort = "id"
	ByCreated  Sort = "createdAt"  // of devices only
	ByModified Sort = "modifiedAt" // of devices only
)

// ListQuery asks for one page of a list.
type ListQuery struct {
	After   string // what next, or CursorOf, was for the page before; "": from the start
	Limit   int    // 0: 50; at most 1000
	Sort    Sort   // "": ByID
	Reverse bool   // from the end

	CreatedSince, CreatedBefore   time.Time // since includes the instant, before does not; zero: no bound
	ModifiedSince, ModifiedBefore time.Time

	Search Search // of devices only
}

// CursorOf is what After must be for the page that begins behind d.
func (q *ListQuery) CursorOf(d *Device) string {
	at := mark{id: string(d.ID)}
	switch q.Sort {
	case ByCreated:
		at.score = d.CreatedAt.UnixMilli()
	case ByModified:
		at.score = d.ModifiedAt.UnixMilli()
	}
	return at.cursor(q.Sort)
}

const (
	defaultLimit = 50
	maxLimit     = 1000
	scanLimit    = 10000 // things looked at for one page
)

// ListDevices gives one page, and in next what After must be for the following one; "" after the last. A page may be
// shorter than asked, even empty, where few of many devices match: next says whether to go on. Changes between two pages
// neither repeat nor leave out a device whose own place has not changed.
func (r *Registry) ListDevices(ctx context.Context, q ListQuery) (page []Device, next string, err error) {
	l := lister{r: r, q: q, key: func(id string) string { return r.keys.device(DeviceID(id)) }}
	for p := range r.keys.Count() {
		l.indexes = append(l.indexes, r.keys.order(q.Sort, p))
	}
	l.add = func(id string, fields map[string]string) (bool, error) {
		h, err := r.heldOf(DeviceID(id), fields)
		if err != nil { // it has been logged, and must not keep the others out of every list
			return false, nil
		}
		if !q.Search.matches(&h.device) {
			return false, nil
		}
		page = append(page, h.device)
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	if l.candidates, l.few, err = r.candidates(ctx, &q); err == nil {
		next, err = l.run(ctx)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list devices: %w", err)
	}
	return page, next, nil
}

// lister makes one page.
type lister struct {
	r          *Registry
	q          ListQuery
	indexes    []string // in the order of the list, one for each partition
	few        bool     // candidates are all there are, in place of the indexes
	candidates []mark
	key        func(id string) string
	add        func(id string, fields map[string]string) (bool, error) // false: it does not match
	after      mark
}

// run passes the things of the page, in order, to add.
func (l *lister) run(ctx context.Context) (next string, err error) {
	q := &l.q
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	var ok bool
	if l.after, ok = placeAt(q.Sort, q.After); !ok && q.After != "" {
		return "", fmt.Errorf("%w cursor: it is not of this list", ErrInvalid)
	}
	for added, seen := 0, 0; ; {
		places, more, err := l.places(ctx)
		if err != nil {
			return "", err
		}
		hashes, err := l.hashes(ctx, places)
		if err != nil {
			return "", err
		}
		for i, at := range places {
			if hashes[i] != nil && q.admits(hashes[i]) { // nil: deleted just now
				matches, err := l.add(at.id, hashes[i])
				if err != nil {
					return "", err
				}
				if matches {
					added++
				}
			}
			l.after, q.After = at, at.cursor(q.Sort)
			if added == q.Limit && (more || i < len(places)-1) {
				return q.After, nil
			}
		}
		if seen += len(places); !more {
			return "", nil
		}
		if seen >= scanLimit {
			return q.After, nil
		}
	}
}

func (l *lister) hashes(ctx context.Context, places []mark) ([]map[string]string, error) {
	keys := make([]string, len(places))
	for i, at := range places {
		keys[i] = l.key(at.id)
	}
	return l.r.readHashes(ctx, keys)
}

// places gives the next ones, as many as the page has; more says whether there are others.
func (l *lister) places(ctx context.Context) (places []mark, more bool, err error) {
	if !l.few {
		if places, err = l.indexed(ctx); err != nil {
			return nil, false, err
		}
	} else {
		places = l.candidates
		if l.q.After != "" {
			i := slices.IndexFunc(places, l.isBehind)
			if i < 0 {
				i = len(places)
			}
			places = places[i:]
		}
	}
	if len(places) > l.q.Limit {
		return places[:l.q.Limit], true, nil
	}
	return places, false, nil
}

// isBehind reports whether a place is behind the last one of the page before.
func (l *lister) isBehind(at mark) bool {
	c := at.compare(l.after)
	return c > 0 && !l.q.Reverse || c < 0 && l.q.Reverse
}

// indexed gives the next places of all indexes together, one more than the page has.
func (l *lister) indexed(ctx context.Context) (places []mark, err error) {
	pipe := l.r.client.Pipeline()
	replies := make([]func() []mark, len(l.indexes))
	for i, index := range l.indexes {
		replies[i] = l.read(ctx, pipe, index, 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unavailable(err)
	}
	for i, reply := range replies {
		found, err := l.readOn(ctx, l.indexes[i], reply())
		if err != nil {
			return nil, err
		}
		places = append(places, found...)
	}
	slices.SortFunc(places, mark.compare)
	if l.q.Reverse {
		slices.Reverse(places)
	}
	return places[:min(len(places), l.q.Limit+1)], nil
}

// read asks for as many as the page has, and one more, from where the page before ended. In an order of time that may be
// within many of the same instant: offset passes over them.
func (l *lister) read(ctx context.Context, c redis.Cmdable, index string, offset int64) func() []mark {
	args := redis.ZRangeArgs{Key: index, Start: "-", Stop: "+", Offset: offset, Count: int64(l.q.Limit) + 1, Rev: l.q.Reverse}
	if l.q.byTime() {
		args.Start, args.Stop = "-inf", "+inf"
	}
	if l.q.Reverse {
		args.Start, args.Stop = args.Stop, args.Start
	}
	if !l.q.byTime() {
		if args.ByLex = true; l.q.After != "" {
			args.Start = "(" + l.after.id
		}
		return unscored(c.ZRangeArgs(ctx, args))
	}
	if args.ByScore = true; l.q.After != "" {
		args.Start = strconv.FormatInt(l.after.score, 10)
	}
	return scored(c.ZRangeArgsWithScores(ctx, args))
}

func unscored(reply *redis.StringSliceCmd) func() []mark {
	return func() (places []mark) {
		for _, id := range reply.Val() {
			places = append(places, mark{id: id})
		}
		return places
	}
}

func scored(reply *redis.ZSliceCmd) func() []mark {
	return func() (places []mark) {
		for _, z := range reply.Val() {
			id, _ := z.Member.(string)
			places = append(places, mark{score: int64(z.Score), id: id})
		}
		return places
	}
}

// readOn gives those of one index that are behind the page before, the first read having given list.
func (l *lister) readOn(ctx context.Context, index string, list []mark) (places []mark, err error) {
	for offset := int64(0); ; {
		for _, at := range list {
			if l.q.After == "" || l.isBehind(at) {
				places = append(places, at)
			}
		}
		if len(list) <= l.q.Limit || len(places) > l.q.Limit {
			return places, nil
		}
		offset += int64(len(list))
		pipe := l.r.client.Pipeline()
		reply := l.read(ctx, pipe, index, offset)
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, unavailable(err)
		}
		list = reply()
	}
}

func (q *ListQuery) byTime() bool { return q.Sort == ByCreated || q.Sort == ByModified }

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
