package fanout

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// tail follows the streams of one partition. pos is how far subscribers have
// been given the uplinks; only run's goroutine moves it.
type tail struct {
	f         *Fanout
	partition int
	local     chan commit
	reads     chan read
	orders    chan order
	pos       id
	lastLocal time.Time
	down      bool
}

// commit is a batch that this node stored: prev is the stream's last id before
// it, and nothing lies between prev, first and last that is not in it.
type commit struct {
	prev, first, last id
	msgs              []broker.Message // nil when nobody wanted them
}

// read is what the reader brought.
type read struct {
	streams []redis.XStream
	err     error
}

const (
	localQueue = 1024                  // own batches waiting for the tail
	localFor   = 50 * time.Millisecond // after an own batch, how long others' uplinks are looked for in the chain of batches alone
	blockIdle  = time.Second           // a cancelled context does not unblock XREAD, so shutdown waits this long at most
	blockBusy  = 20 * time.Millisecond
	pageSize   = 512 // entries of a read
)

func newTail(f *Fanout, p int) *tail {
	return &tail{f: f, partition: p, local: make(chan commit, localQueue), reads: make(chan read), orders: make(chan order)}
}

// run gives subscribers what is new until ctx ends.
func (t *tail) run(ctx context.Context, started func()) {
	r := newReader(t)
	if !r.start(ctx, &t.pos) {
		started()
		return
	}
	started()
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	defer func() { <-done }()
	for {
		next := order{busy: time.Since(t.lastLocal) < localFor, down: t.down, pos: t.pos}
		select {
		case <-ctx.Done():
			return
		case c := <-t.local:
			t.lastLocal = time.Now()
			t.take(ctx, c)
		case t.orders <- next:
		case got := <-t.reads:
			t.read(got)
		}
	}
}

// take delivers an own batch, after what lies between it and what was delivered
// before: that was stored by another node, or its reply was lost.
func (t *tail) take(ctx context.Context, c commit) {
	for !c.joins(t.pos) {
		entries, err := t.page(ctx)
		t.report(err)
		if err != nil {
			t.lastLocal = time.Time{} // the reader finds it all again
			return
		}
		if len(entries) == 0 {
			break // trimmed since
		}
		t.uplinks(entries)
	}
	t.deliver(c)
}

// joins tells whether nothing lies between pos and the batch.
func (c *commit) joins(pos id) bool { return !pos.less(c.prev) }

// deliver gives subscribers what is new of a batch that joins.
func (t *tail) deliver(c commit) {
	if !t.pos.less(c.last) {
		return // read from the stream before
	}
	if msgs := after(t.pos, c); len(msgs) > 0 {
		t.f.cfg.Deliver.Deliver(msgs)
	}
	t.pos = c.last
	t.f.nudge()
}

// after is what of the batch comes after pos.
func after(pos id, c commit) []broker.Message {
	if pos.less(c.first) {
		return c.msgs
	}
	for i := range c.msgs {
		if pos.less(parseID(c.msgs[i].ID)) {
			return c.msgs[i:]
		}
	}
	return nil
}

// page is what comes after pos in the stream.
func (t *tail) page(ctx context.Context) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, blockIdle)
	defer cancel()
	return t.f.cfg.Client.XRangeN(ctx, uplinksKey(t.f.cfg.Keys, t.partition), "("+t.pos.String(), "+", pageSize).Result()
}

// read takes what the reader brought.
func (t *tail) read(got read) {
	t.report(got.err)
	for _, s := range got.streams {
		switch s.Stream {
		case uplinksKey(t.f.cfg.Keys, t.partition):
			t.uplinks(s.Messages)
		case rejectsKey(t.f.cfg.Keys, t.partition):
			t.others(s.Messages, rejectMessage, "rejects/")
		case eventsKey(t.f.cfg.Keys, t.partition):
			t.others(s.Messages, eventMessage, "events/")
		}
	}
}

// uplinks delivers entries of the uplinks stream that are new.
func (t *tail) uplinks(entries []redis.XMessage) {
	wanted := t.f.cfg.Deliver.Wants("uplinks/")
	var msgs []broker.Message
	for _, e := range entries {
		at := parseID(e.ID)
		if !t.pos.less(at) {
			continue
		}
		t.pos = at
		if m, ok := storedUplink(e); ok && wanted {
			msgs = append(msgs, m)
		}
	}
	if len(msgs) > 0 {
		t.f.cfg.Deliver.Deliver(msgs)
	}
	t.f.nudge()
}

// others delivers entries of a stream that only the reader reads.
func (t *tail) others(entries []redis.XMessage, message func(redis.XMessage) (broker.Message, bool), prefix string) {
	t.f.nudge()
	if !t.f.cfg.Deliver.Wants(prefix) {
		return
	}
	var msgs []broker.Message
	for _, e := range entries {
		if m, ok := message(e); ok {
			msgs = append(msgs, m)
		}
	}
	t.f.cfg.Deliver.Deliver(msgs)
}

// report logs once per change that the streams cannot be read.
func (t *tail) report(err error) {
	switch down := !ignorable(err); {
	case down && !t.down:
		t.f.cfg.Log.Warn("live tail cannot read the streams: subscribers wait", "partition", t.partition, "error", err)
		t.down = true
	case !down && t.down:
		t.f.cfg.Log.Info("live tail reads the streams again", "partition", t.partition)
		t.down = false
	}
}
