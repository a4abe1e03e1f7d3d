package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// ErrRedis marks what Redis could not answer, for whatever reason.
var ErrRedis = errors.New("redis")

// Reader reads the streams. It holds nothing, and may be used by many at once.
type Reader struct {
	client redis.UniversalClient
	keys   auth.Keyspace
}

// NewReader makes a Reader.
func NewReader(client redis.UniversalClient, keys auth.Keyspace) *Reader {
	return &Reader{client: client, keys: keys}
}

// Ask is what a page is asked for with.
type Ask struct {
	Kind      Kind
	Partition int
	After     Position
	Limit     int // entries of the page, at most
}

// End is behind the newest entry. A stream that does not exist is at its
// beginning: the zero Position, which counts.
func (r *Reader) End(ctx context.Context, k Kind, partition int) (Position, error) {
	key := Key(r.keys, k, partition)
	info := r.client.XInfoStream(ctx, key)
	e, err := newExtent(info, nil)
	if err != nil {
		return Position{}, fmt.Errorf("ask where %s ends: %w: %w", key, ErrRedis, err)
	}
	return Position{e.last, e.added}, nil
}

// Page reads what follows a position.
func (r *Reader) Page(ctx context.Context, k Kind, partition int, after Position, limit int) (Page, error) {
	pages, err := r.Pages(ctx, []Ask{{k, partition, after, limit}})
	if err != nil {
		return Page{Next: after}, err
	}
	return pages[0], nil
}

// Pages reads a page of each of several streams. Most take one command, all of
// them in one round trip: while the entry at the position is there nothing
// behind it was trimmed, as trimming goes from the oldest on.
func (r *Reader) Pages(ctx context.Context, asks []Ask) ([]Page, error) {
	found, err := r.ranges(ctx, asks)
	if err != nil {
		return nil, err
	}
	pages := make([]Page, len(asks))
	for i := range asks {
		var ok bool
		if pages[i], ok = asks[i].follow(found[i]); ok {
			continue
		}
		if pages[i], err = r.inspect(ctx, &asks[i]); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// ranges reads each stream from its position on, the entry at it included;
// nothing where there can be none.
func (r *Reader) ranges(ctx context.Context, asks []Ask) ([][]redis.XMessage, error) {
	found, replies := make([][]redis.XMessage, len(asks)), make([]*redis.XMessageSliceCmd, len(asks))
	pipe, sent := r.client.Pipeline(), false
	for i, a := range asks {
		if a.After.ID != (ID{}) {
			replies[i], sent = pipe.XRangeN(ctx, Key(r.keys, a.Kind, a.Partition), a.After.ID.String(), "+", int64(a.Limit)+1), true
		}
	}
	if !sent {
		return found, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read streams: %w: %w", ErrRedis, err)
	}
	for i, reply := range replies {
		if reply != nil {
			found[i] = reply.Val()
		}
	}
	return found, nil
}

// inspect reads a page and, in the same moment, what is known of the stream.
func (r *Reader) inspect(ctx context.Context, a *Ask) (Page, error) {
	if a.After.ID == (ID{math.MaxUint64, math.MaxUint64}) {
		return Page{Next: a.After}, nil // Redis takes no range behind it
	}
	key := Key(r.keys, a.Kind, a.Partition)
	var info *redis.XInfoStreamCmd
	var oldest, rest *redis.XMessageSliceCmd
	_, err := r.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		info = p.XInfoStream(ctx, key)
		oldest = p.XRangeN(ctx, key, "-", "+", 1)
		rest = p.XRangeN(ctx, key, "("+a.After.ID.String(), "+", int64(a.Limit))
		return nil
	})
	if absent(info.Err()) { // which is what err is, then
		err = errors.Join(oldest.Err(), rest.Err())
	}
	if err != nil {
		return Page{}, fmt.Errorf("read %s: %w: %w", key, ErrRedis, err)
	}
	e, err := newExtent(info, oldest.Val())
	if err != nil {
		return Page{}, fmt.Errorf("read %s: %w: %w", key, ErrRedis, err)
	}
	return a.judge(&e, rest.Val()), nil
}

// newExtent reads the answer of XINFO STREAM; a stream that does not exist is
// an empty one.
func newExtent(info *redis.XInfoStreamCmd, oldest []redis.XMessage) (extent, error) {
	if absent(info.Err()) {
		return extent{}, nil
	}
	x, err := info.Result()
	if err != nil {
		return extent{}, err
	}
	e := extent{length: x.Length, added: x.EntriesAdded}
	e.last, _ = ParseID(x.LastGeneratedID)
	if x.EntriesAdded < x.Length || x.EntriesAdded == 0 && e.last != (ID{}) { // miniredis leaves it out
		e.added = Unknown
	}
	if len(oldest) > 0 {
		e.oldest, _ = ParseID(oldest[0].ID)
	}
	return e, nil
}

func absent(err error) bool { return err != nil && strings.Contains(err.Error(), "no such key") }

// Get reads the entries of these ids, in their order, without those that are
// not there any more.
func (r *Reader) Get(ctx context.Context, k Kind, partition int, ids []ID) ([]Entry, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	key, replies := Key(r.keys, k, partition), make([]*redis.XMessageSliceCmd, len(ids))
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			text := id.String()
			replies[i] = p.XRangeN(ctx, key, text, text, 1)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d entries of %s: %w: %w", len(ids), key, ErrRedis, err)
	}
	var entries []Entry
	for i, reply := range replies {
		for _, m := range reply.Val() {
			entries = append(entries, Entry{k, partition, ids[i], Unknown, fields(m.Values)})
		}
	}
	return entries, nil
}
