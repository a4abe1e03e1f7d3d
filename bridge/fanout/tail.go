package fanout

import (
	"context"
	"time"

	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

// tail follows the streams of one partition. Only run's goroutine moves its logs.
type tail struct {
	f         *Fanout
	partition int
	local     chan commit
	reads     chan reading
	orders    chan order
	lastLocal time.Time
	outage    outage
}

// commit is a batch that this node stored: prev is the stream's last id before
// it, and nothing lies between prev and last that is not in it.
type commit struct {
	prev, last stream.ID
	n          int64 // entries
	batch            // empty when nobody wanted it
}

// reading is what the reader brought.
type reading struct {
	pages [3]*stream.Page // by stream.Kind.Index
	err   error
}

const (
	localQueue = 1024                  // own batches waiting for the tail
	localFor   = 50 * time.Millisecond // after an own batch, how long others' uplinks are looked for in the chain of batches alone
	blockIdle  = time.Second           // a cancelled context does not unblock XREAD, so shutdown waits this long at most
	blockBusy  = 20 * time.Millisecond
	pageSize   = 512 // entries of a read
)

func newTail(f *Fanout, p int) *tail {
	return &tail{
		f: f, partition: p, local: make(chan commit, localQueue), reads: make(chan reading), orders: make(chan order),
		outage: outage{
			log:  f.cfg.Log.With("partition", p),
			lost: "live tail cannot read the streams: subscribers wait", back: "live tail reads the streams again",
		},
	}
}

func (t *tail) log(k stream.Kind) *log { return t.f.log(k, t.partition) }

// logs are those of the partition.
func (t *tail) logs() (all [len(tops)]*log) {
	for i := range tops {
		all[i] = t.f.logs[i*t.f.cfg.Keys.Count()+t.partition]
	}
	return all
}

// Committed is given each batch this node stored (uplink.Config.OnCommit). It
// never blocks: a batch that finds no room is read from the stream instead.
func (f *Fanout) Committed(c uplink.Commit) {
	if len(c.Entries) == 0 {
		return
	}
	done := commit{n: int64(len(c.Entries))}
	done.prev, _ = stream.ParseID(c.Prev)
	done.last, _ = stream.ParseID(c.Entries[len(c.Entries)-1].ID)
	if l := f.log(stream.Uplinks, c.Partition); f.wanted(l) {
		done.batch = own(l, done.prev, c.Entries)
	}
	select {
	case f.tails[c.Partition].local <- done:
	default:
	}
}

// run gives subscribers what is new until ctx ends.
func (t *tail) run(ctx context.Context, started func()) {
	r := newReader(t)
	ok := t.start(ctx, r)
	started()
	if !ok {
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	defer func() { <-done }()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-t.local:
			t.lastLocal = time.Now()
			t.take(ctx, r, c)
		case t.orders <- t.order():
			t.forget()
		case got := <-t.reads:
			t.took(got)
		}
	}
}

// start finds where the streams stand, trying until ctx ends.
func (t *tail) start(ctx context.Context, r *reader) bool {
	for {
		err := r.locate(ctx)
		t.outage.report(err)
		if err == nil {
			return true
		}
		if !retry(ctx) {
			return false
		}
	}
}

func (t *tail) order() (o order) {
	o.busy, o.down = time.Since(t.lastLocal) < localFor, t.outage.now.Load()
	for _, k := range stream.Kinds() {
		o.pos[k.Index()] = t.log(k).position()
	}
	return o
}

// forget empties the rings of what nobody wants any more.
func (t *tail) forget() {
	for _, l := range t.logs() {
		if !t.f.wanted(l) {
			l.restart(l.position())
		}
	}
}

// take delivers an own batch, after what lies between it and what was delivered
// before: that was stored by another node, or its reply was lost. Where Redis
// has lost entries the batch may not even be there; then its number is unknown.
func (t *tail) take(ctx context.Context, r *reader, c commit) {
	l := t.log(stream.Uplinks)
	end := l.position()
	for end.ID != c.prev && end.ID.Less(c.last) {
		p, err := r.page(ctx, stream.Uplinks, end)
		t.outage.report(err)
		if err != nil {
			t.lastLocal = time.Time{} // the reader finds it all again
			return
		}
		t.put(l, &p)
		if p.Next.ID == end.ID {
			end.N = stream.Unknown
			break
		}
		end = p.Next
	}
	if end.ID.Less(c.last) {
		t.join(l, c, end)
	}
}

// join delivers an own batch that follows the end.
func (t *tail) join(l *log, c commit, end stream.Position) {
	next := stream.Position{ID: c.last, N: stream.Unknown}
	if end.N != stream.Unknown {
		next.N = end.N + c.n
	}
	for i := range c.items {
		if end.N != stream.Unknown {
			c.items[i].N = end.N + int64(i) + 1
		}
	}
	t.move(l, c.batch, next, nil)
}

// took takes what the reader brought.
func (t *tail) took(got reading) {
	t.outage.report(got.err)
	for _, l := range t.logs() {
		if p := got.pages[l.kind.Index()]; p != nil {
			t.put(l, p)
		}
	}
}

// put takes a page that was read behind the end, or behind where that was: own
// batches may have come since.
func (t *tail) put(l *log, p *stream.Page) {
	end := l.position()
	if !end.ID.Less(p.Next.ID) {
		return
	}
	entries := p.Entries
	for len(entries) > 0 && !end.ID.Less(entries[0].ID) {
		entries = entries[1:]
	}
	hole := p.Gap
	if hole != nil && !end.ID.Less(hole.To) {
		hole = nil
	}
	prev := end.ID
	if hole != nil {
		prev = hole.To
	}
	if events := t.f.cfg.Events; events != nil && l.top == string(stream.Events) && len(entries) > 0 {
		events(entries)
	}
	var b batch
	if t.f.wanted(l) {
		b = stored(l, prev, entries)
	}
	t.move(l, b, p.Next, hole)
}

// move brings the end forward: first in memory, so that who is told finds it there.
func (t *tail) move(l *log, b batch, end stream.Position, hole *stream.Gap) {
	if len(b.items) == 0 {
		l.restart(end)
	} else {
		l.put(b.items, end, hole)
	}
	if d := t.f.deliver; d != nil {
		if hole != nil && len(b.msgs) > 0 {
			d.Deliver(l.stream, nil, broker.Position{ID: broker.ID(hole.To), N: broker.Unknown})
		}
		d.Deliver(l.stream, b.msgs, place(end))
	}
	t.f.nudge()
}
