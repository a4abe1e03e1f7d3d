package stream

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// rig is one stream with a reader. The n-th entry that was ever added has n in
// its field v, and the id n-0.
type rig struct {
	*testing.T
	client *redis.Client
	reader *Reader
	key    string
	mini   bool // does not count entries
}

func newRig(t *testing.T, s *redistest.Server) *rig {
	c := s.Client()
	return &rig{t, c, NewReader(c, auth.Keyspace{}), Key(auth.Keyspace{}, Uplinks, 0), s.IsMini()}
}

func (r *rig) add(from, to int) {
	r.Helper()
	for n := from; n <= to; n++ {
		err := r.client.XAdd(r.Context(), &redis.XAddArgs{Stream: r.key, ID: fmt.Sprintf("%d-0", n), Values: []any{"v", n}}).Err()
		if err != nil {
			r.Fatal(err)
		}
	}
}

func (r *rig) trim(n int64) {
	r.Helper()
	if err := r.client.XTrimMaxLen(r.Context(), r.key, n).Err(); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) page(after Position, limit int) Page {
	r.Helper()
	p, err := r.reader.Page(r.Context(), Uplinks, 0, after, limit)
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// entry is the n-th.
func (r *rig) entry(n int) Entry {
	return Entry{Uplinks, 0, ID{uint64(n), 0}, int64(n), Fields{"v", strconv.Itoa(n)}}
}

func at(n int) Position { return Position{ID{uint64(n), 0}, int64(n)} }

// want compares a page with entries from to to, all of which have numbers
// where the server counts; next's number stands for both.
func (r *rig) want(name string, got Page, from, to int, next Position, full bool, gap *Gap) {
	r.Helper()
	want := Page{Next: next, Full: full, Gap: gap}
	for n := from; n <= to; n++ {
		e := r.entry(n)
		if next.N == Unknown {
			e.N = Unknown
		}
		want.Entries = append(want.Entries, e)
	}
	if len(got.Entries) == 0 {
		got.Entries = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// known is p, its number unknown where the server does not count.
func (r *rig) known(p Position) Position {
	if r.mini {
		p.N = Unknown
	}
	return p
}

func (r *rig) gap(from, to ID, count int64) *Gap {
	if r.mini {
		count = Unknown
	}
	return &Gap{from, to, count}
}

func TestEnd(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		end := func() Position {
			p, err := r.reader.End(t.Context(), Uplinks, 0)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if got := end(); got != (Position{}) {
			t.Errorf("no stream: %v", got)
		}
		r.add(1, 5)
		if got := end(); got != r.known(at(5)) {
			t.Errorf("5 entries: %v", got)
		}
		r.trim(0)
		if got := end(); got != r.known(at(5)) {
			t.Errorf("trimmed: %v", got)
		}
	})
}

func TestPagesFollowEachOther(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		r.want("no stream", r.page(Position{}, 5), 1, 0, Position{}, false, nil)
		r.want("all there is, of no stream", r.page(At(ID{}), 5), 1, 0, Position{}, false, nil)
		r.add(1, 12)
		all := r.page(Position{}, 5)
		r.want("first", all, 1, 5, r.known(at(5)), true, nil)
		r.want("second", r.page(at(5), 5), 6, 10, at(10), true, nil)
		r.want("third", r.page(at(10), 5), 11, 12, at(12), false, nil)
		r.want("end", r.page(at(12), 5), 1, 0, at(12), false, nil)
		r.want("not counted", r.page(At(ID{5, 0}), 5), 6, 10, At(ID{10, 0}), true, nil)
		// Where nothing follows the number is learned.
		r.want("not counted, end", r.page(At(ID{12, 0}), 5), 1, 0, r.known(at(12)), false, nil)
		// Between two entries nothing can have been trimmed while one before is there.
		r.want("between, full", r.page(At(ID{6, 0}.Prev()), 3), 6, 8, At(ID{8, 0}), true, nil)
		r.want("between, to the end", r.page(At(ID{11, 0}.Prev()), 3), 11, 12, r.known(at(12)), false, nil)
		r.want("future", r.page(At(ID{99, 0}), 3), 1, 0, At(ID{99, 0}), false, nil)
	})
}

func TestPageBehindTrimmedEntries(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		r.add(1, 12)
		// The instant of before all is behind nothing while nothing was trimmed.
		var before *Gap
		if r.mini {
			before = &Gap{ID{0, 7}, ID{1, 0}.Prev(), Unknown}
		}
		r.want("before all", r.page(At(ID{0, 7}), 2), 1, 2, r.known(at(2)), true, before)
		r.trim(4) // 9 to 12 are left
		last := r.known(at(12))
		r.want("all there is", r.page(At(ID{}), 9), 9, 12, last, false, nil)
		r.want("some missed", r.page(at(5), 9), 9, 12, last, false, r.gap(ID{5, 0}, ID{9, 0}.Prev(), 3))
		r.want("some missed, full", r.page(at(5), 2), 9, 10, r.known(at(10)), true, r.gap(ID{5, 0}, ID{9, 0}.Prev(), 3))
		r.want("some missed, not counted", r.page(At(ID{5, 0}), 9), 9, 12, last, false, &Gap{ID{5, 0}, ID{9, 0}.Prev(), Unknown})
		if !r.mini {
			r.want("none missed", r.page(at(8), 9), 9, 12, last, false, nil)
		}
		r.want("oldest", r.page(at(9), 9), 10, 12, at(12), false, nil)
	})
}

// Who began when the stream was empty misses what is trimmed unread, unlike who
// asks for what there is.
func TestPageBehindAnEmptyStream(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		end, err := r.reader.End(t.Context(), Uplinks, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.add(1, 5)
		r.want("all is there", r.page(end, 9), 1, 5, r.known(at(5)), false, nil)
		r.trim(2)
		want := r.gap(ID{}, ID{4, 0}.Prev(), 3)
		if r.mini { // it cannot be known
			want = nil
		}
		r.want("some missed", r.page(end, 9), 4, 5, r.known(at(5)), false, want)
		r.want("what there is", r.page(At(ID{}), 9), 4, 5, r.known(at(5)), false, nil)
		r.trim(0)
		if want != nil {
			want = r.gap(ID{}, ID{5, 0}, 5)
		}
		r.want("all missed", r.page(end, 9), 1, 0, r.known(at(5)), false, want)
		r.want("nothing there", r.page(At(ID{}), 9), 1, 0, r.known(at(5)), false, nil)
	})
}

// Of a stream that is empty for age the gap is told once.
func TestPageOfNothingLeft(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		r.add(1, 12)
		r.trim(0)
		last := r.known(at(12))
		p := r.page(at(5), 9)
		r.want("missed", p, 1, 0, last, false, r.gap(ID{5, 0}, ID{12, 0}, 7))
		r.want("told", r.page(p.Next, 9), 1, 0, last, false, nil)
		r.want("not counted", r.page(At(ID{5, 0}), 9), 1, 0, last, false, &Gap{ID{5, 0}, ID{12, 0}, Unknown})
		r.want("all there is", r.page(At(ID{}), 9), 1, 0, last, false, nil)
		r.want("nothing missed", r.page(at(12), 9), 1, 0, last, false, nil)
		if !r.mini {
			r.add(13, 13)
			r.want("idle and trimmed", r.page(at(12), 9), 13, 13, at(13), false, nil)
		}
	})
}

// A Redis that lost its entries counts from the start again: nothing was
// trimmed that could have been read.
func TestPageAfterLoss(t *testing.T) {
	r := newRig(t, redistest.Start(t))
	r.add(1, 12)
	if err := r.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	gone := r.page(at(12), 9)
	r.want("no stream", gone, 1, 0, Position{ID{12, 0}, 0}, false, nil)
	r.add(20, 23) // the first four of a new life
	for _, after := range []Position{at(12), gone.Next} {
		p := r.page(after, 2)
		if p.Gap != nil || len(p.Entries) != 2 || p.Entries[0].ID != (ID{20, 0}) || p.Entries[0].N != 1 || p.Next != (Position{ID{21, 0}, 2}) {
			t.Errorf("behind %v: %+v", after, p)
		}
	}
	r.trim(1)
	if p := r.page(Position{ID{21, 0}, 2}, 2); p.Gap == nil || p.Gap.Count != 1 || p.Next != (Position{ID{23, 0}, 4}) {
		t.Errorf("trimmed: %+v", p)
	}
	// An older copy of the same stream: its end is before the position.
	if p := r.page(Position{ID{30, 0}, 9}, 2); p.Gap != nil || p.Next != (Position{ID{30, 0}, 4}) {
		t.Errorf("behind the end: %+v", p)
	}
}

// While the stream is trimmed under the reader's hands, what it reads and what
// it is told of add up to everything.
func TestPagesAndGapsAreEverything(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		r.add(1, 1)
		pos, err := r.reader.End(t.Context(), Uplinks, 0)
		if err != nil {
			t.Fatal(err)
		}
		const total, kept = 5000, 10
		written := make(chan error, 1)
		go func() { written <- r.write(2, total, kept) }()
		read, missed, gaps := int64(0), int64(0), 0
		for pos.ID != (ID{total, 0}) {
			p := r.page(pos, 2)
			for _, e := range p.Entries {
				r.expect(e)
				read++
			}
			if p.Gap != nil {
				gaps++
				missed += p.Gap.Count
				if p.Gap.From != pos.ID {
					t.Fatalf("gap %+v behind %v", p.Gap, pos)
				}
			} else if n := len(p.Entries); n > 0 && p.Entries[0].ID.MS != pos.ID.MS+1 {
				t.Fatalf("behind %v comes %v, and no gap is told", pos, p.Entries[0].ID)
			}
			pos = p.Next
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if !r.mini && read+missed != total-1 {
			t.Errorf("%d read and %d missed of %d", read, missed, total-1)
		}
		t.Logf("%d read, %d missed in %d gaps", read, missed, gaps)
	})
}

// write adds entries in batches, trimming to kept.
func (r *rig) write(from, to int, kept int64) error {
	client := r.client
	for n := from; n <= to; {
		_, err := client.Pipelined(context.Background(), func(p redis.Pipeliner) error {
			for range 1 + n%9 {
				if n <= to {
					p.XAdd(context.Background(), &redis.XAddArgs{Stream: r.key, ID: fmt.Sprintf("%d-0", n), MaxLen: kept, Values: []any{"v", n}})
					n++
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) expect(e Entry) {
	r.Helper()
	want := r.entry(int(e.ID.MS))
	if r.mini {
		want.N = e.N
	}
	if diff := cmp.Diff(want, e); diff != "" {
		r.Fatal(diff)
	}
}

func TestPagesOfSeveralStreams(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	keys := auth.Keyspace{Partitions: 2}
	for p, ids := range [][]string{{"1-0", "2-0"}, {"7-0"}} {
		for _, id := range ids {
			if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: Key(keys, Events, p), ID: id, Values: []any{"v", id}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	pages, err := NewReader(c, keys).Pages(t.Context(), []Ask{
		{Events, 0, at(1), 9}, {Events, 1, Position{}, 9}, {Rejects, 1, Position{}, 9}, {Events, 1, At(ID{5, 0}), 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]ID{{{2, 0}}, {{7, 0}}, nil, {{7, 0}}} {
		var got []ID
		for _, e := range pages[i].Entries {
			got = append(got, e.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" || pages[i].Gap != nil {
			t.Errorf("page %d: %s %+v", i, diff, pages[i].Gap)
		}
	}
}

func TestGet(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s)
		r.add(1, 5)
		r.trim(3)
		got, err := r.reader.Get(t.Context(), Uplinks, 0, []ID{{5, 0}, {1, 0}, {3, 0}, {3, 1}})
		want := []Entry{r.entry(5), r.entry(3)}
		for i := range want {
			want[i].N = Unknown
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if got, err := r.reader.Get(t.Context(), Uplinks, 0, nil); len(got) != 0 || err != nil {
			t.Errorf("of none: %v, %v", got, err)
		}
	})
}

// An id as great as can be, which only something else than the bridge writes,
// is an end like another.
func TestGreatestID(t *testing.T) {
	r := newRig(t, redistest.Start(t))
	const last = "18446744073709551615-18446744073709551615"
	if err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: r.key, ID: last, Values: []any{"v", "x"}}).Err(); err != nil {
		t.Fatal(err)
	}
	p := r.page(Position{}, 5)
	if len(p.Entries) != 1 || p.Next.ID.String() != last {
		t.Fatalf("%+v", p)
	}
	for _, after := range []Position{p.Next, At(p.Next.ID)} {
		if p := r.page(after, 5); len(p.Entries) != 0 || p.Next.ID != after.ID {
			t.Errorf("behind it: %+v", p)
		}
	}
}

func TestReaderWithoutRedis(t *testing.T) {
	s := redistest.Start(t)
	r := newRig(t, s)
	s.Kill()
	if _, err := r.reader.End(t.Context(), Uplinks, 0); err == nil {
		t.Error("end: no error")
	}
	for _, after := range []Position{{}, at(1)} {
		if p, err := r.reader.Page(t.Context(), Uplinks, 0, after, 1); err == nil || p.Next != after {
			t.Errorf("page: %+v, %v", p, err)
		}
	}
	if _, err := r.reader.Get(t.Context(), Uplinks, 0, []ID{{1, 0}}); err == nil {
		t.Error("get: no error")
	}
}
