package api

import (
	"context"
	"slices"

	"m2mbridge/bridge/stream"
)

// RecentFunc appends to buf, up to its capacity, the entries of a stream behind
// a position, from memory, and says where the stream ends. It is not ok where
// not all entries from there on are in memory.
type RecentFunc func(k stream.Kind, partition int, after stream.ID, buf []stream.Entry) (list []stream.Entry, end stream.Position, ok bool)

// tail reads one stream from a position on.
type tail struct {
	kind      stream.Kind
	partition int
	pos       stream.Position
}

// follower reads several streams, each from its own position: from memory
// where that goes back so far, else from Redis. It holds no more than one page:
// whoever reads slowly costs Redis reads, not memory.
type follower struct {
	reader *stream.Reader
	recent RecentFunc // nil: all is read from Redis
	tails  []*tail
	list   []stream.Entry // of recent, used again
}

// pageEntries is how many entries one read takes of each stream.
const pageEntries = 50

// newFollower follows from the first entry that there is in each stream.
func newFollower(reader *stream.Reader, recent RecentFunc, follow []stream.Kind, only []int) *follower {
	f := &follower{reader: reader, recent: recent}
	for _, k := range follow {
		for _, p := range only {
			f.tails = append(f.tails, &tail{kind: k, partition: p, pos: stream.At(stream.ID{})})
		}
	}
	return f
}

// seek moves every stream to its position in c, where it has one.
func (f *follower) seek(c stream.Cursor) {
	for _, t := range f.tails {
		if positions, ok := c[t.kind]; ok {
			t.pos = stream.At(positions[t.partition])
		}
	}
}

// seekEnd moves every stream that c has no position for to its end.
func (f *follower) seekEnd(ctx context.Context, c stream.Cursor) (err error) {
	for _, t := range f.tails {
		if _, ok := c[t.kind]; ok {
			continue
		}
		if t.pos, err = f.reader.End(ctx, t.kind, t.partition); err != nil {
			return err
		}
	}
	return nil
}

// cursor is where the streams are read up to; partitions that are not followed
// keep what base says.
func (f *follower) cursor(base stream.Cursor, partitions int) stream.Cursor {
	c := stream.Cursor{}
	for _, t := range f.tails {
		if c[t.kind] == nil {
			c[t.kind] = make([]stream.ID, partitions)
			copy(c[t.kind], base[t.kind])
		}
		c[t.kind][t.partition] = t.pos.ID
	}
	return c
}

// batch is what one read found.
type batch struct {
	entries []stream.Entry // ordered by id
	gaps    []Gap
	full    bool              // there may be more at once
	next    []stream.Position // of each tail, behind the batch
}

// read takes a page of each stream, and moves no position: advance does, when
// an entry has been handed on, and settle, when the whole batch has.
func (f *follower) read(ctx context.Context) (batch, error) {
	b := batch{next: make([]stream.Position, len(f.tails))}
	var asks []stream.Ask
	var behind []int // tails that are not read from memory
	for i, t := range f.tails {
		if !f.readRecent(&b, i) {
			asks = append(asks, stream.Ask{Kind: t.kind, Partition: t.partition, After: t.pos, Limit: pageEntries})
			behind = append(behind, i)
		}
	}
	pages, err := f.reader.Pages(ctx, asks)
	if err != nil {
		return batch{}, err
	}
	for i := range pages {
		b.add(&pages[i], f.tails[behind[i]].kind)
		b.next[behind[i]] = pages[i].Next
	}
	slices.SortStableFunc(b.entries, func(x, y stream.Entry) int { return x.ID.Compare(y.ID) })
	return b, nil
}

// readRecent reads the i-th stream from memory, where it can.
func (f *follower) readRecent(b *batch, i int) bool {
	if f.recent == nil {
		return false
	}
	if f.list == nil {
		f.list = make([]stream.Entry, 0, pageEntries)
	}
	t := f.tails[i]
	list, end, ok := f.recent(t.kind, t.partition, t.pos.ID, f.list[:0])
	if !ok {
		return false
	}
	b.entries = append(b.entries, list...)
	switch n := len(list); {
	case n == pageEntries:
		b.full = true
		b.next[i] = stream.Position{ID: list[n-1].ID, N: list[n-1].N}
	case end.ID.Less(t.pos.ID): // a page from Redis was ahead of memory
		b.next[i] = t.pos
	default:
		b.next[i] = end
	}
	clear(list)
	return true
}

func (b *batch) add(p *stream.Page, k stream.Kind) {
	if p.Gap != nil {
		b.gaps = append(b.gaps, newGap(k, p))
	}
	b.full = b.full || p.Full
	b.entries = append(b.entries, p.Entries...)
}

// advance notes that an entry has been handed on.
func (f *follower) advance(e *stream.Entry) {
	for _, t := range f.tails {
		if t.kind == e.Kind && t.partition == e.Partition {
			t.pos = stream.Position{ID: e.ID, N: e.N}
		}
	}
}

// settle notes that a whole batch has been handed on, the word of its gaps too.
func (f *follower) settle(b *batch) {
	for i, t := range f.tails {
		t.pos = b.next[i]
	}
}
