package fanout

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// reader reads a partition's streams with XREAD BLOCK and hands what comes to
// its tail. While this node stores uplinks itself the tail follows those by the
// chain of its own batches, and the reader leaves that stream alone: else each
// uplink would cross the wire once more only to be thrown away.
type reader struct {
	t    *tail
	keys []string // uplinks, rejects, events
	pos  []string // last id read of each
}

func newReader(t *tail) *reader {
	ks, p := t.f.cfg.Keys, t.partition
	return &reader{t: t, keys: []string{uplinksKey(ks, p), rejectsKey(ks, p), eventsKey(ks, p)}, pos: make([]string, 3)}
}

// order is what the tail tells the reader before each read.
type order struct {
	busy bool // this node stores uplinks itself now
	down bool // the last read failed: one that brings nothing is news too
	pos  id   // how far the uplinks are read
}

// start finds where the streams stand, trying until ctx ends.
func (r *reader) start(ctx context.Context, pos *id) bool {
	for {
		err := r.locate(ctx)
		r.t.report(err)
		if err == nil {
			*pos = parseID(r.pos[0])
			return true
		}
		if !retry(ctx) {
			return false
		}
	}
}

// locate sets the position of each stream to its end.
func (r *reader) locate(ctx context.Context) error {
	for i, key := range r.keys {
		last, err := r.t.f.cfg.Client.XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil {
			return err
		}
		r.pos[i] = "0-0"
		if len(last) > 0 {
			r.pos[i] = last[0].ID
		}
	}
	return nil
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
		r.pos[0] = o.pos.String()
		streams, err := r.read(ctx, o.busy)
		if len(streams) == 0 && ignorable(err) && !o.down {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case r.t.reads <- read{streams, err}:
		}
		if !ignorable(err) && !retry(ctx) {
			return
		}
	}
}

func (r *reader) read(ctx context.Context, busy bool) ([]redis.XStream, error) {
	from, block := 0, blockIdle
	if busy {
		from, block = 1, blockBusy
	}
	args := &redis.XReadArgs{Count: pageSize, Block: block}
	args.Streams = append(append(args.Streams, r.keys[from:]...), r.pos[from:]...)
	ctx, cancel := context.WithTimeout(ctx, block+time.Second)
	defer cancel()
	streams, err := r.t.f.cfg.Blocking.XRead(ctx, args).Result()
	for _, s := range streams {
		if len(s.Messages) == 0 { // go-redis gives what it has read of a reply that was cut off
			continue
		}
		for i, key := range r.keys {
			if key == s.Stream {
				r.pos[i] = s.Messages[len(s.Messages)-1].ID
			}
		}
	}
	return streams, err
}
