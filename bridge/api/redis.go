package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// errRedis marks what Redis could not answer, for whatever reason.
var errRedis = errors.New("redis")

// tail reads one stream from a position on.
type tail struct {
	kind      kind
	partition int
	key       string
	pos       streamID
	// count is how many entries were ever added up to pos; -1: not known. It
	// tells a gap from an idle stream whose old entries went of age.
	count int64
	fresh bool // count is to be looked up when the stream is quiet
}

// follower reads several streams, each from its own position. It holds no more
// than one page: whoever reads slowly costs Redis reads, not memory.
type follower struct {
	client redis.UniversalClient
	tails  []*tail
}

// pageEntries is how many entries one read takes of each stream.
const pageEntries = 50

func newFollower(client redis.UniversalClient, ks auth.Keyspace, follow []kind, only []int) *follower {
	f := &follower{client: client}
	for _, k := range follow {
		for _, p := range only {
			f.tails = append(f.tails, &tail{kind: k, partition: p, key: ks.Key(p, string(k)), count: -1})
		}
	}
	return f
}

// seek moves every stream to its position in c, where it has one.
func (f *follower) seek(c cursor) {
	for _, t := range f.tails {
		if positions, ok := c[t.kind]; ok {
			t.pos, t.count, t.fresh = positions[t.partition], -1, true
		}
	}
}

// seekEnd moves every stream that c has no position for to its end.
func (f *follower) seekEnd(ctx context.Context, c cursor) error {
	for _, t := range f.tails {
		if _, ok := c[t.kind]; ok {
			continue
		}
		info, err := streamInfo(ctx, f.client, t.key)
		if err != nil {
			return err
		}
		t.pos, t.count = info.last, info.added
	}
	return nil
}

// cursor is where the streams are read up to; partitions that are not followed
// keep what base says.
func (f *follower) cursor(base cursor, partitions int) cursor {
	c := cursor{}
	for _, t := range f.tails {
		if c[t.kind] == nil {
			c[t.kind] = repeat(streamID{}, partitions)
			copy(c[t.kind], base[t.kind])
		}
		c[t.kind][t.partition] = t.pos
	}
	return c
}

// batch is what one read found.
type batch struct {
	entries []entry // ordered by id
	gaps    []Gap
	full    bool // there may be more at once
}

// read takes a page of each stream, and moves no position: advance does, when
// an entry has been handed on.
func (f *follower) read(ctx context.Context) (batch, error) {
	var b batch
	pages := make([]*redis.XMessageSliceCmd, len(f.tails))
	_, err := f.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, t := range f.tails {
			pages[i] = p.XRangeN(ctx, t.key, "("+t.pos.String(), "+", pageEntries)
		}
		return nil
	})
	if err != nil {
		return b, fmt.Errorf("read streams: %w: %w", errRedis, err)
	}
	for i, t := range f.tails {
		messages := pages[i].Val()
		if err := f.addPage(ctx, &b, t, messages); err != nil {
			return b, err
		}
	}
	slices.SortStableFunc(b.entries, func(x, y entry) int { return x.id.compare(y.id) })
	return b, nil
}

func (f *follower) addPage(ctx context.Context, b *batch, t *tail, messages []redis.XMessage) error {
	if len(messages) == 0 {
		return f.settle(ctx, t)
	}
	gap, err := f.gap(ctx, t)
	if err != nil {
		return err
	}
	if gap {
		b.gaps = append(b.gaps, Gap{Kind: string(t.kind), After: t.pos.String(), Next: messages[0].ID})
	}
	b.full = b.full || len(messages) == pageEntries
	for _, m := range messages {
		e, err := newEntry(t.kind, t.partition, m)
		if err != nil {
			return fmt.Errorf("read entry %s of %s: %w", m.ID, t.key, err)
		}
		b.entries = append(b.entries, e)
	}
	return nil
}

// advance notes that an entry has been handed on.
func (f *follower) advance(e *entry) {
	for _, t := range f.tails {
		if t.kind == e.kind && t.partition == e.partition {
			t.pos, t.fresh = e.id, true
			if t.count >= 0 {
				t.count++
			}
		}
	}
}

// settle looks up, once the stream has gone quiet, how many entries it had.
func (f *follower) settle(ctx context.Context, t *tail) error {
	if !t.fresh {
		return nil
	}
	info, err := streamInfo(ctx, f.client, t.key)
	if err != nil {
		return err
	}
	if info.last == t.pos {
		t.count, t.fresh = info.added, false
	}
	return nil
}

// gap tells whether entries behind the position were trimmed before they were
// read. While the entry at the position is still there, none can have been.
// Where nothing can be known it says yes: a gap told too often is a look
// too many, one not told is data lost.
func (f *follower) gap(ctx context.Context, t *tail) (bool, error) {
	if t.pos == (streamID{}) {
		return false, nil // asked for what there is
	}
	oldest, err := f.client.XRangeN(ctx, t.key, "-", "+", 1).Result()
	if err != nil {
		return false, fmt.Errorf("read oldest entry of %s: %w: %w", t.key, errRedis, err)
	}
	if len(oldest) == 0 {
		return false, nil
	}
	first, err := parseStreamID(oldest[0].ID)
	if err != nil || first.compare(t.pos) <= 0 {
		return false, err
	}
	info, err := streamInfo(ctx, f.client, t.key)
	if err != nil {
		return false, err
	}
	return t.count < 0 || info.added < 0 || info.added-info.length > t.count, nil
}

// info is what XINFO STREAM says of a stream.
type info struct {
	last          streamID
	length, added int64 // added: entries ever; -1: the server does not say
}

// streamInfo takes a stream that does not exist for an empty one.
func streamInfo(ctx context.Context, client redis.UniversalClient, key string) (info, error) {
	x, err := client.XInfoStream(ctx, key).Result()
	if err != nil {
		if strings.Contains(err.Error(), "no such key") {
			return info{}, nil
		}
		return info{}, fmt.Errorf("ask about stream %s: %w: %w", key, errRedis, err)
	}
	last, err := parseStreamID(x.LastGeneratedID)
	if err != nil {
		return info{}, fmt.Errorf("last id of stream %s: %w", key, err)
	}
	i := info{last: last, length: x.Length, added: x.EntriesAdded}
	if x.EntriesAdded < x.Length { // miniredis leaves it out
		i.added = -1
	}
	return i, nil
}
