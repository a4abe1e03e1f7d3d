package fanout

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

var _ broker.Source = (*Fanout)(nil)

func TestStreamsAreNumbered(t *testing.T) {
	one, three := New(Config{}), New(Config{Keys: auth.Keyspace{Partitions: 3}})
	if got := three.Of("rejects"); !slices.Equal(got, []broker.Stream{3, 4, 5}) {
		t.Errorf("rejects: %v", got)
	}
	if got := three.Of("presence"); !slices.Equal(got, []broker.Stream{9, 10, 11}) {
		t.Errorf("presence: %v", got)
	}
	if got := three.Of("things"); len(got) != 0 {
		t.Errorf("things: %v", got)
	}
	if one.Name(2) != "events" || three.Name(8) != "events:2" || three.Name(0) != "uplinks:0" {
		t.Errorf("%s, %s, %s", one.Name(2), three.Name(8), three.Name(0))
	}
}

func TestStart(t *testing.T) {
	f := New(Config{Keys: auth.Keyspace{Partitions: 2}})
	f.logs[3].restart(stream.Position{ID: stream.ID{MS: 77}, N: 7})
	for text, want := range map[string][2]broker.Position{ // of uplinks:1 and rejects:1
		"0":                    {{N: broker.Unknown}, {N: broker.Unknown}}, // what there is
		"5-1":                  {{ID: broker.ID{MS: 5, Seq: 1}, N: broker.Unknown}, {ID: broker.ID{MS: 5, Seq: 1}, N: broker.Unknown}},
		"u1-0_2-0":             {{ID: broker.ID{MS: 2}, N: broker.Unknown}, {ID: broker.ID{MS: 77}, N: 7}},
		"1970-01-01T00:00:01Z": {{ID: broker.ID{MS: 999, Seq: math.MaxUint64}, N: broker.Unknown}, {ID: broker.ID{MS: 999, Seq: math.MaxUint64}, N: broker.Unknown}},
	} {
		at, err := f.Start(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := [2]broker.Position{at(1), at(3)}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "x", "u1-0", "yesterday"} {
		if _, err := f.Start(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// Page by page and from memory, a subscriber reads each message once, wherever
// it begins.
func TestPagesJoinTheRing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
		n := start(t, s, auth.Keyspace{}, func(c *Config) { c.RecentEntries = 40 }) // 30 of uplinks
		for i := range 100 {
			n.send(t, ids[0], i)
		}
		n.until(t, "all of them", func() bool { return len(n.sub.on("uplinks/")) == 100 })
		f, all := n.fanout, n.sub.on("uplinks/")
		for begin := 0; begin < 100; begin += 9 {
			after, got, reads := broker.Position{}, []*broker.Message{}, 0
			if begin > 0 {
				after = broker.Position{ID: all[begin-1].ID, N: all[begin-1].N}
			}
			for buf := make([]*broker.Message, 0, 7); after.ID != all[99].ID; {
				list, end, ok := f.Recent(0, after.ID, buf[:0])
				if ok != (after.N >= 70) && !s.IsMini() {
					t.Fatalf("behind %d: in memory %v", after.N, ok)
				}
				if reads++; !ok || reads%3 == 0 { // now from here, now from there
					p, err := f.Page(t.Context(), 0, after, 5)
					if err != nil || p.Gap != nil {
						t.Fatalf("%+v, %v", p, err)
					}
					list = p.Messages
				}
				if end.ID != all[99].ID {
					t.Fatalf("end %v", end)
				}
				for _, m := range list {
					got = append(got, m)
					after = broker.Position{ID: m.ID, N: m.N}
				}
			}
			for i := range got {
				if s.IsMini() {
					got[i].N = all[begin+i].N
				}
			}
			if diff := cmp.Diff(all[begin:], got, cmpopts.IgnoreUnexported(broker.Message{})); diff != "" {
				t.Fatalf("from %d (-want +got):\n%s", begin, diff)
			}
		}
	})
}

// cursor is a subscriber: it reads from memory where it can.
type cursor struct {
	at           broker.Position
	read, missed int64
	pages        int
}

// next reads on; moved is false where nothing is new.
func (c *cursor) next(t *testing.T, f *Fanout, buf []*broker.Message) (moved bool) {
	list, _, ok := f.Recent(0, c.at.ID, buf[:0])
	if !ok {
		p, err := f.Page(t.Context(), 0, c.at, 20)
		if err != nil {
			t.Error(err)
			return false
		}
		if p.Gap != nil {
			c.missed += p.Gap.Count
			c.at.N += p.Gap.Count
		}
		list = p.Messages
		c.pages++
		defer func() { c.at = p.Next }()
	}
	for _, m := range list {
		if m.N != c.at.N+1 {
			t.Errorf("behind %d comes %d", c.at.N, m.N)
		}
		c.at = broker.Position{ID: m.ID, N: m.N}
		c.read++
	}
	return len(list) > 0 || !ok
}

// While two nodes store and the stream is trimmed, what a subscriber gets and
// what it is told that it missed is everything, in order, in whatever way it reads.
func TestCursorsUnderLoad(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 8)
	small := func(c *Config) { c.RecentEntries = 40 }
	nodes := []*node{start(t, s, auth.Keyspace{}, small), start(t, s, auth.Keyspace{}, small)}
	nodes[0].send(t, ids[0], 0)
	for _, n := range nodes {
		n.until(t, "the first", func() bool { return n.fanout.End(0).N == 1 })
	}
	begin := nodes[0].fanout.End(0)
	var load, reading sync.WaitGroup
	for i, id := range ids {
		load.Go(func() {
			for k := range 150 {
				nodes[i%2].send(t, id, k+1)
				if k%50 == 49 {
					s.Client().XTrimMaxLen(t.Context(), "m2m:{0}:uplinks", 60)
				}
			}
		})
	}
	const total = 8 * 150
	cursors := make([]cursor, 6)
	for i := range cursors {
		cursors[i].at = begin
		reading.Go(func() {
			c, f := &cursors[i], nodes[i%2].fanout
			for buf := make([]*broker.Message, 0, 1+10*i); c.at.N < total+1 && !t.Failed(); {
				changed := f.Changed()
				if c.next(t, f, buf) {
					continue
				}
				for range i + 1 { // the later ones sleep through some
					<-changed
					if changed = f.Changed(); f.End(0).N >= total+1 {
						break
					}
				}
			}
		})
	}
	load.Wait()
	reading.Wait()
	for i := range cursors {
		if c := &cursors[i]; c.read+c.missed != total {
			t.Errorf("cursor %d: %d read and %d missed of %d", i, c.read, c.missed, total)
		}
		t.Logf("cursor %d: %d read, %d missed, %d pages", i, cursors[i].read, cursors[i].missed, cursors[i].pages)
	}
}

func TestGet(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	for i := range 3 {
		n.send(t, ids[0], i)
	}
	n.until(t, "all of them", func() bool { return len(n.sub.on("uplinks/")) == 3 })
	all := n.sub.on("uplinks/")
	got, err := n.fanout.Get(t.Context(), 0, []broker.ID{all[2].ID, {MS: 1}, all[0].ID})
	if err != nil || len(got) != 2 || got[0].ID != all[2].ID || got[1].ID != all[0].ID || string(got[1].Payload) != string(all[0].Payload) {
		t.Errorf("got %v, %v", got, err)
	}
}

// What nobody wants is not kept; the end moves all the same.
func TestUnwantedIsNotKept(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	n.send(t, ids[0], 0)
	n.until(t, "the first", func() bool { return n.sub.end(0).N == 1 })
	n.sub.want(false)
	n.send(t, ids[0], 1)
	n.until(t, "the second", func() bool { return n.sub.end(0).N == 2 })
	if got := n.sub.on("uplinks/"); len(got) != 1 {
		t.Errorf("%d were delivered", len(got))
	}
	buf := make([]*broker.Message, 0, 9)
	if list, end, ok := n.fanout.Recent(0, broker.ID{}, buf); ok || len(list) != 0 || end.N != 2 {
		t.Errorf("from the start: %v, %v, %v", list, end, ok)
	}
	if list, end, ok := n.fanout.Recent(0, n.fanout.End(0).ID, buf); !ok || len(list) != 0 || end.N != 2 {
		t.Errorf("from the end: %v, %v, %v", list, end, ok)
	}
	if n.fanout.logs[0].ring != nil {
		t.Error("the ring holds memory")
	}
	stop := n.fanout.Follow(stream.Uplinks)
	n.send(t, ids[0], 2)
	n.until(t, "the third", func() bool { return n.sub.end(0).N == 3 })
	if list, _, ok := n.fanout.Recent(0, broker.ID{}, buf); ok {
		t.Errorf("from the start: %v", list)
	}
	list, _, ok := n.fanout.Entries(stream.Uplinks, 0, n.fanout.logs[0].start, make([]stream.Entry, 0, 9))
	if !ok || len(list) != 1 || list[0].N != 3 {
		t.Errorf("followed: %v, %v", list, ok)
	}
	stop()
	stop() // once
	if n.fanout.wanted(n.fanout.log(stream.Uplinks, 0)) {
		t.Error("still wanted")
	}
}

// An own uplink in memory says what its stored entry says, the token aside.
func TestRingShowsWhatIsStored(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), Blocking: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	background(t, registry.Run)
	const plain = auth.DeviceID("IMEI:999999999999999")
	if _, err := registry.PutDevice(t.Context(), auth.Device{ID: plain, Unsigned: true}, auth.Create); err != nil {
		t.Fatal(err)
	}
	f := New(Config{Client: s.Client()})
	f.DeliverTo(&subscriber{})
	tail := f.tails[0]
	reader := newReader(tail) // which does not run, so that both come in process
	if err := reader.locate(t.Context()); err != nil {
		t.Fatal(err)
	}
	uplinks, err := uplink.New(uplink.Config{
		Client: s.Client(), Registry: registry, KeepRaw: true, OnCommit: f.Committed,
		UnsignedFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, uplinks.Run)
	for _, m := range []*uplink.Message{
		{Via: uplink.MQTT, Login: ids[0], Body: []byte(`[ {"bn":"` + ids[0].BaseName() + `","n":"a","v":1} ]`)},
		{Via: uplink.HTTP, PathType: "IMEI", Remote: "127.0.0.1:9", Body: []byte(`[{"bn":"` + plain.BaseName() + `","n":"a","v":2}]`)},
	} {
		if v := uplinks.Accept(t.Context(), m); v.Outcome != uplink.Stored {
			t.Fatalf("%+v", v)
		}
		tail.take(t.Context(), reader, <-tail.local)
	}
	kept, _, ok := f.Entries(stream.Uplinks, 0, stream.ID{}, make([]stream.Entry, 0, 9))
	p, err := stream.NewReader(s.Client(), auth.Keyspace{}).Page(t.Context(), stream.Uplinks, 0, stream.Position{}, 9)
	if err != nil || !ok || len(p.Entries) != 2 || len(kept) != 2 {
		t.Fatalf("%v, %v, %v", kept, p.Entries, err)
	}
	for i := range kept {
		for _, name := range []string{"device", "via", "at", "unsigned", "pack", "raw"} {
			if got, want := kept[i].Fields.Text(name), p.Entries[i].Fields.Text(name); got != want {
				t.Errorf("%d: %s is %q, stored %q", i, name, got, want)
			}
		}
		if kept[i].ID != p.Entries[i].ID || kept[i].N != p.Entries[i].N {
			t.Errorf("%v is stored as %v", kept[i], p.Entries[i])
		}
	}
	got, _, _ := f.Recent(0, broker.ID{}, make([]*broker.Message, 0, 9))
	if got[0].Unsigned || !got[1].Unsigned {
		t.Errorf("%+v, %+v", got[0], got[1])
	}
}

// The tail finds a hole: entries that were trimmed before it came. Subscribers
// of before are sent to read a page, which tells them.
func TestHole(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	f := New(Config{Client: c, Keys: auth.Keyspace{}})
	sub := &subscriber{}
	f.DeliverTo(sub)
	tail := f.tails[0]
	r := newReader(tail)
	add := func(n int) {
		t.Helper()
		for range n {
			if err := c.Do(t.Context(), "XADD", "m2m:{0}:rejects", "*", "reason", "x").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(3)
	if err := r.locate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rejects, log := f.number(stream.Rejects, 0), tail.log(stream.Rejects)
	before := f.End(rejects)
	follow := func(trim int64) {
		t.Helper()
		found, err := c.XRange(t.Context(), "m2m:{0}:rejects", "("+log.position().ID.String(), "+").Result()
		if err == nil && trim >= 0 { // after it was read: XREAD says nothing of it
			err = c.XTrimMaxLen(t.Context(), "m2m:{0}:rejects", trim).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.follow(t.Context(), stream.Rejects, log.position(), found)
		if err != nil {
			t.Fatal(err)
		}
		tail.put(log, &p)
	}
	add(2)
	follow(-1)
	if list, end, ok := f.Recent(rejects, before.ID, make([]*broker.Message, 0, 9)); !ok || len(list) != 2 || end.N != 5 {
		t.Fatalf("%v, %v, %v", list, end, ok)
	}
	add(5)
	follow(2) // 6 to 8 are gone
	if end := f.End(rejects); end.N != 10 || sub.end(rejects) != end {
		t.Errorf("end %v, told %v", end, sub.end(rejects))
	}
	if list, _, ok := f.Recent(rejects, before.ID, make([]*broker.Message, 0, 9)); ok {
		t.Errorf("before the hole: %v", list)
	}
	p, err := f.Page(t.Context(), rejects, before, 9)
	if err != nil || p.Gap == nil || p.Gap.Count != 5 || len(p.Messages) != 2 || p.Messages[0].N != 9 {
		t.Errorf("page %+v, %v", p, err)
	}
	if list, _, ok := f.Recent(rejects, p.Gap.To, make([]*broker.Message, 0, 9)); !ok || len(list) != 2 || list[0].N != 9 {
		t.Errorf("behind the hole: %v, %v", list, ok)
	}
	follow(0)
	add(1)
	follow(-1) // the end is gone, and nothing was missed
	if list, end, ok := f.Recent(rejects, p.Next.ID, make([]*broker.Message, 0, 9)); !ok || len(list) != 1 || end.N != 11 {
		t.Errorf("after: %v, %v, %v", list, end, ok)
	}
}

// The ring is bounded in entries and in bytes, and takes memory as it is used.
func TestRing(t *testing.T) {
	for name, l := range map[string]*log{
		"entries": newLog(0, string(stream.Rejects), 0, 40, 1<<20),
		"bytes":   newLog(0, string(stream.Rejects), 0, 1000, 40*(itemSize+10)+5),
	} {
		t.Run(name, func(t *testing.T) {
			l.restart(stream.Position{})
			for n := 1; n <= 200; n++ {
				l.put(numbered(n, 10))
				checkRing(t, l, n, min(n, 40))
				if n == 3 && len(l.ring) != ringBegin {
					t.Errorf("%d places for 3", len(l.ring))
				}
			}
			buf := make([]*broker.Message, 0, 50)
			if allocs := testing.AllocsPerRun(100, func() { l.messages(stream.ID{MS: 170}, buf) }); allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
			l.put(numbered(201, 2<<20)) // takes the place of all, and is too large itself
			checkRing(t, l, 201, 0)
			l.put(numbered(202, 10))
			checkRing(t, l, 202, 1)
		})
	}
}

// numbered is the n-th entry, for put.
func numbered(n, size int) ([]item, stream.Position, *stream.Gap) {
	one := make([]item, 1)
	one[0].size, one[0].ID, one[0].N = itemSize+size, broker.ID{MS: uint64(n)}, int64(n)
	return one, stream.Position{ID: stream.ID{MS: uint64(n)}, N: int64(n)}, nil
}

// checkRing reads behind every position of a ring that keeps so many entries.
func checkRing(t *testing.T, l *log, last, kept int) {
	t.Helper()
	if l.n != kept {
		t.Fatalf("%d entries are kept, want %d", l.n, kept)
	}
	buf := make([]*broker.Message, 0, 50)
	for after := range last + 2 {
		list, end, ok := l.messages(stream.ID{MS: uint64(after)}, buf)
		if end.N != int64(last) || ok != (after >= last-kept) || ok && len(list) != max(last-after, 0) || len(list) > 0 && list[0].N != int64(after)+1 {
			t.Fatalf("behind %d of %d: %d messages, %v", after, last, len(list), ok)
		}
	}
	if list, _, _ := l.messages(stream.ID{MS: uint64(last - kept)}, make([]*broker.Message, 0, 7)); len(list) != min(kept, 7) {
		t.Fatalf("%d messages in 7 places", len(list))
	}
}

// An entry of presence is a message of events and one of presence; others are of
// events alone. To the broker they are two streams, with the entries' own ids.
func TestPresenceIsAStream(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		f := New(Config{Client: s.Client()})
		var ids []string
		for _, values := range [][]any{
			{"device", "IMEI:356726104408422", "at", "1700000000000", "kind", "presence", "id", "7", "state", "online", "cause", "connected", "via", "mqtt"},
			{"device", "IMEI:356726104408422", "at", "1700000000001", "kind", "downlink", "id", "7", "state", "online"},
			{"device", "IMEI:356726104408422", "at", "1700000000002", "kind", "presence", "id", "7", "state", "nonsense"},
			{"device", "nonsense", "at", "1700000000003", "kind", "presence", "id", "7", "state", "offline"},
			{"device", "IMEI:356726104408422", "at", "1700000000004", "kind", "presence", "id", "7", "state", "offline", "cause", "silent", "via", "http"},
		} {
			id, err := s.Client().XAdd(t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:events", Values: values}).Result()
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		topics := map[string][]string{}
		for _, top := range []string{"events", "presence"} {
			page, err := f.Page(t.Context(), f.Of(top)[0], broker.Position{N: broker.Unknown}, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.Messages {
				topics[top] = append(topics[top], m.ID.String()+" "+m.Topic)
				if m.Retain != (top == "presence") || m.Stream != f.Of(top)[0] || m.Device != "IMEI:356726104408422" {
					t.Errorf("%s: %+v", top, m)
				}
			}
			if page.Next.ID.String() != ids[4] {
				t.Errorf("%s: next is %v", top, page.Next)
			}
			if last := string(page.Messages[len(page.Messages)-1].Payload); top == "presence" &&
				last != `{"device":"IMEI:356726104408422","state":"offline","via":"http","since":"2023-11-14T22:13:20.004Z","cause":"silent"}` {
				t.Errorf("payload %s", last)
			}
		}
		const device = "/IMEI/356726104408422"
		want := map[string][]string{
			"presence": {ids[0] + " presence" + device, ids[4] + " presence" + device},
			"events": {
				ids[0] + " events" + device + "/presence", ids[1] + " events" + device + "/downlink",
				ids[2] + " events" + device + "/presence", ids[4] + " events" + device + "/presence",
			},
		}
		if diff := cmp.Diff(want, topics); diff != "" {
			t.Error(diff)
		}
	})
}
