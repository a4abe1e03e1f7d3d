package fanout

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/stream"
)

// reader reads a partition's streams with XREAD BLOCK and hands what comes to
// its tail. While this node stores uplinks itself the tail follows those by the
// chain of its own batches, and the reader leaves that stream alone: else each
// uplink would cross the wire once more only to be thrown away.
type reader struct {
	t      *tail
	stream *stream.Reader
	keys   [3]string // by stream.Kind.Index
}

func newReader(t *tail) *reader {
	r := &reader{t: t, stream: stream.NewReader(t.f.cfg.Client, t.f.cfg.Keys)}
	for i, k := range stream.Kinds() {
		r.keys[i] = stream.Key(t.f.cfg.Keys, k, t.partition)
	}
	return r
}

// order is what the tail tells the reader before each read.
type order struct {
	busy bool // this node stores uplinks itself now
	down bool // the last read failed: one that brings nothing is news too
	pos  [3]stream.Position
}

// turnsAtOnce is how many partitions ask Redis at once for more than XREAD
// gives them. The connections for that are few, and others need them too: of
// thousands that all start, or have news, most would wait in vain.
const turnsAtOnce = 8

// turn waits until this partition may ask; done lets the next one.
func (r *reader) turn(ctx context.Context) (done func(), err error) {
	select {
	case r.t.f.turns <- struct{}{}:
		return func() { <-r.t.f.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// locate sets each log to its stream's end.
func (r *reader) locate(ctx context.Context) error {
	done, err := r.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, k := range stream.Kinds() {
		end, err := r.stream.End(ctx, k, r.t.partition)
		if err != nil {
			return err
		}
		for _, l := range r.t.logs() {
			if l.kind == k {
				l.restart(end)
			}
		}
	}
	return nil
}

// page reads behind a position, without waiting.
func (r *reader) page(ctx context.Context, k stream.Kind, after stream.Position) (stream.Page, error) {
	done, err := r.turn(ctx)
	if err != nil {
		return stream.Page{}, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, blockIdle)
	defer cancel()
	return r.stream.Page(ctx, k, r.t.partition, after, pageSize)
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) {
	for {
		var o order
		select {
		case <-ctx.Done():
			return
		case o = <-r.t.orders:
		}
		got := r.read(ctx, o)
		if got.pages == ([3]*stream.Page{}) && ignorable(got.err) && !o.down {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case r.t.reads <- got:
		}
		if !ignorable(got.err) && !retry(ctx) {
			return
		}
	}
}

// read waits for entries in any of the streams.
func (r *reader) read(ctx context.Context, o order) (got reading) {
	from, block := 0, blockIdle
	if o.busy {
		from, block = 1, blockBusy
	}
	args := &redis.XReadArgs{Count: pageSize, Block: block, Streams: append([]string{}, r.keys[from:]...)}
	for _, p := range o.pos[from:] {
		args.Streams = append(args.Streams, p.ID.String())
	}
	bound, cancel := context.WithTimeout(ctx, block+time.Second)
	defer cancel()
	streams, err := r.t.f.cfg.Blocking.XRead(bound, args).Result()
	got.err = err
	for _, s := range streams {
		for i, k := range stream.Kinds() {
			if r.keys[i] != s.Stream || len(s.Messages) == 0 { // go-redis gives what it has read of a reply that was cut off
				continue
			}
			p, err := r.follow(ctx, k, o.pos[i], s.Messages)
			if err != nil {
				got.err = err
				continue
			}
			got.pages[i] = &p
		}
	}
	return got
}

// follow is what XREAD gave as a page. XREAD does not tell of entries that were
// trimmed before it came; while the one at the position is there, there are
// none. Else the page is read again, with all that is known of it.
func (r *reader) follow(ctx context.Context, k stream.Kind, after stream.Position, found []redis.XMessage) (stream.Page, error) {
	if after.N != stream.Unknown && after.ID != (stream.ID{}) {
		there, err := r.isThere(ctx, k, after.ID)
		if err != nil {
			return stream.Page{}, err
		}
		if there {
			return stream.Entries(k, r.t.partition, after, found), nil
		}
	}
	return r.page(ctx, k, after)
}

func (r *reader) isThere(ctx context.Context, k stream.Kind, id stream.ID) (bool, error) {
	done, err := r.turn(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, blockIdle)
	defer cancel()
	there, err := r.stream.Get(ctx, k, r.t.partition, []stream.ID{id})
	return len(there) == 1, err
}
