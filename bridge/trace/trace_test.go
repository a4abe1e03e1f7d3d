package trace

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestStepsOfAMessage(t *testing.T) {
	tr := alone(1 << 20)
	tr.Message(accepted(imei, 3))
	tr.Delivered(&Delivery{Device: imei, Topic: "uplinks/IMEI/356726104408422", MS: 1700000000000, Seq: 3, Subscribers: 2})
	tr.Message(refused(imei, Claimed))
	tr.Note(imei, Claimed, Connection, "connected")
	steps := tr.kept(imei)
	if len(steps) != 8 {
		t.Fatalf("%d steps: %+v", len(steps), steps)
	}
	at, n := time.UnixMilli(1700000000003).UTC(), steps[0].N
	same := Step{Node: "here", Device: imei, Message: n}
	want := make([]Step, 5)
	for i := range want {
		want[i] = same
		want[i].N, want[i].At = n+uint64(i), at.Add(1250*time.Microsecond)
	}
	want[0].At, want[0].Kind, want[0].Via, want[0].Remote, want[0].Bytes, want[0].Token = at, Received, "http", "192.0.2.7:4711", 302, true
	want[1].Kind, want[1].Outcome, want[1].Secret, want[1].Took = Verdict, "stored", 1, "1.25ms"
	want[2].Kind, want[2].Records, want[2].Measurements = Pack, 9, 8
	want[3].Kind, want[3].ID = Stored, "1700000000000-3"
	want[4].Kind, want[4].ID, want[4].Topic, want[4].Subscribers = Delivered, "1700000000000-3", "uplinks/IMEI/356726104408422", 2
	want[4].At = steps[4].At // the clock's
	if !reflect.DeepEqual(steps[:5], want) {
		t.Errorf("got  %+v\nwant %+v", steps[:5], want)
	}
	for i, text := range []string{
		"http 192.0.2.7:4711  302 bytes, with a token", "stored, by secret 1  in 1.25ms", "9 records, 8 measurements", "1700000000000-3",
		"uplinks/IMEI/356726104408422 1700000000000-3  to 2 subscribers", "mqtt [2001:db8::1]:1  10 bytes, no token",
		"forbidden  token-wrong: token wrong, or device unknown or disabled  in 0s", "connected",
	} {
		if got := steps[i].String(); got != text {
			t.Errorf("step %d: %q, want %q", i, got, text)
		}
	}
}

// Whatever the steps are, the last Kept of them are there, and not many more.
func TestTheLastStepsAreKept(t *testing.T) {
	for name, record := range map[string]func(tr *Trace, i int){
		"accepted": func(tr *Trace, i int) { tr.Message(accepted(imei, i)) },
		"refused": func(tr *Trace, _ int) {
			m := refused(imei, Proven)
			m.Detail = strings.Repeat("é", maxDetail)
			tr.Message(m)
		},
		"notes": func(tr *Trace, i int) { tr.Note(imei, Proven, SMS, fmt.Sprint(strings.Repeat("x", i%200), i)) },
		"delivered": func(tr *Trace, i int) {
			tr.Delivered(&Delivery{Device: imei, Topic: "events/IMEI/1/sms", Subscribers: i})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := alone(1 << 20)
			first := tr.shards[0].n
			for i := range 1000 {
				record(tr, i)
				sh := &tr.shards[0]
				steps := tr.kept(imei)
				if made := sh.n - first; uint64(len(steps)) < min(made, Kept) || len(steps) > 2*Kept+20 {
					t.Fatalf("%d steps are kept of %d", len(steps), made)
				}
				if last := steps[len(steps)-1].N; last != sh.n-1 {
					t.Fatalf("the last is %d, want %d", last, sh.n-1)
				}
				for j := 1; j < len(steps); j++ {
					if steps[j].N != steps[j-1].N+1 {
						t.Fatalf("step %d follows %d", steps[j].N, steps[j-1].N)
					}
				}
			}
			if st := tr.Stats(); st.Bytes > 64<<10 || st.Devices != 1 {
				t.Errorf("one device has %+v", st)
			}
		})
	}
}

func TestTheQuietestGoesFirst(t *testing.T) {
	tr := alone(64 << 10)
	sh := &tr.shards[0]
	n := 0
	for ; sh.evicted == 0; n++ {
		tr.Message(accepted(invented(n), n))
		tr.Message(accepted(invented(0), n)) // always busy
	}
	if tr.kept(invented(1)) != nil || tr.kept(invented(2)) == nil {
		t.Error("not the second device went")
	}
	for ; sh.evicted < 1000; n++ {
		tr.Message(accepted(invented(n), n))
		tr.Message(accepted(invented(0), n))
	}
	if steps := tr.kept(invented(0)); len(steps) < Kept {
		t.Errorf("the busy device has %d steps", len(steps))
	}
	if steps := tr.kept(invented(n - 1)); len(steps) != 4 {
		t.Errorf("the latest device has %d steps", len(steps))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for _, memory := range []int64{64 << 10, 1 << 20, 5 << 20} {
		tr := alone(memory)
		if st := tr.Stats(); st.Bytes != 0 {
			t.Errorf("%d bytes are taken at the start", st.Bytes)
		}
		for i := range 20_000 {
			tr.Message(accepted(invented(i%10_000), i))
			tr.Message(refused(invented(i), Known))
			for range i % 7 {
				tr.Message(accepted(invented(i%100), i))
			}
		}
		st := tr.Stats()
		if st.Bytes > memory || st.Bytes < memory/3 || st.Evicted == 0 {
			t.Errorf("%+v with a bound of %d", st, memory)
		}
		for i := range tr.shards {
			tr.shards[i].hold(t)
		}
	}
}

// hold checks that every slot and block is in its one place.
func (sh *shard) hold(t *testing.T) {
	t.Helper()
	blocks := map[ref]bool{}
	note := func(b ref) {
		if b == 0 || blocks[b] {
			t.Fatalf("block %d is in two places", b)
		}
		blocks[b] = true
	}
	slots := 0
	for which, l := range sh.active {
		held := 0
		for r := l.first; r != 0; r = sh.slot(r).earlier {
			s, steps, own := sh.slot(r), 0, 0
			for b := s.oldest; b != 0; b = sh.block(b).next() {
				note(b)
				own++
				steps += sh.block(b).steps()
			}
			if int(s.list) != which || steps != int(s.steps) || own != int(s.blocks) || sh.byHash[s.hash] != uint32(r-1) {
				t.Fatalf("slot %d: %+v has %d steps in %d blocks", r, *s, steps, own)
			}
			held += own
			slots++
		}
		if held != l.blocks {
			t.Fatalf("list %d: %d blocks, %d are noted", which, held, l.blocks)
		}
	}
	for b := sh.free; b != 0; b = sh.block(b).next() {
		note(b)
	}
	if len(blocks) != int(sh.nextFree) || slots != len(sh.byHash) {
		t.Fatalf("%d blocks of %d, %d slots of %d", len(blocks), sh.nextFree, slots, len(sh.byHash))
	}
}

// Who invents ids, or knows those of many devices, pushes out few.
func TestStrangersPushNobodyOut(t *testing.T) {
	full := func() (*Trace, int) {
		tr := alone(256 << 10)
		n := 0
		for ; tr.shards[0].evicted == 0; n++ {
			tr.Message(accepted(invented(n), n))
		}
		return tr, n
	}
	left := func(tr *Trace, n int) (left int) {
		for i := range n {
			if tr.kept(invented(i)) != nil {
				left++
			}
		}
		return left
	}
	t.Run("invented ids", func(t *testing.T) {
		tr, n := full()
		before := left(tr, n)
		for i := range 10 * n {
			tr.Message(refused(invented(1_000_000+i), Claimed))
		}
		if got := left(tr, n); got != before || tr.kept(invented(1_000_000)) != nil {
			t.Errorf("%d of %d are left", got, before)
		}
	})
	t.Run("known ids", func(t *testing.T) {
		tr, n := full()
		before := left(tr, n)
		for i := range 10 * n {
			tr.Message(refused(invented(1_000_000+i), Known))
		}
		blocks := tr.shards[0].limits.chunks * blocksPerChunk
		if got := left(tr, n); before-got > blocks/8+1 {
			t.Errorf("%d of %d are left", got, before)
		}
		last := invented(1_000_000 + 10*n - 1)
		if len(tr.kept(last)) != 2 {
			t.Error("what is wrong with the device that was refused last is not kept")
		}
		tr.Message(accepted(last, 1)) // it has come by its secret
		tr.shards[0].hold(t)
	})
	t.Run("no id", func(t *testing.T) {
		tr := alone(64 << 10)
		tr.Message(accepted("", 1))
		tr.Message(accepted(imei+imei+imei, 1))
		if st := tr.Stats(); st.Devices != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestTextsAreCutBetweenRunes(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 300), strings.Repeat("é", 100), "x" + strings.Repeat("€", 90), strings.Repeat("\x80", 300)} {
		tr := alone(64 << 10)
		tr.Note(imei, Proven, Downlink, text)
		got := tr.kept(imei)[0].Text
		if len(got) > maxDetail || !strings.HasPrefix(text, got) || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	tr := alone(1 << 20)
	m, d := accepted(uuid, 1), &Delivery{Device: uuid, Topic: "uplinks/DVNUUID/x", MS: 1, Seq: 1, Subscribers: 1}
	tr.Message(m)
	if n := testing.AllocsPerRun(1000, func() { tr.Message(m); tr.Delivered(d) }); n > 0.1 { // a chunk at times
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, devices := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(devices), func(b *testing.B) {
			tr := alone(32 << 20)
			m := accepted(imei, 1)
			ids := make([]*Message, devices)
			for i := range ids {
				ids[i] = accepted(invented(i*7919%devices), i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				*m = *ids[i%devices]
				tr.Message(m)
			}
		})
	}
}
