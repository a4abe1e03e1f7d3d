package latest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
)

// All kinds of value, as the pack had them.
func TestValues(t *testing.T) {
	each(t, func(r *rig) {
		id := r.uplink(testID, `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1700000000,"bu":"V","n":"exact","v":1.50E+1},`+
			`{"n":"temp","u":"Cel","v":-0.0},{"n":"on","u":"/","vb":false},{"n":"text","u":"/","vs":"a\"<é"},{"n":"raw","u":"/","vd":"_-8"},`+
			`{"n":"sum","u":"J","s":12.0,"t":1.5},{"n":"both","v":1,"s":2},{"bv":10,"n":"based","v":0.5},`+
			`{"bn":"urn:dev:IMEI:356726104408422:child:","bv":0,"n":"x","v":3},{"bn":"urn:dev:IMEI:356726104408422:","v":4,"n":"0"}]`)
		r.step()
		at := time.Unix(1_700_000_000, 0).UTC()
		want := map[string]Value{
			"exact":   {Unit: "V", Kind: KindNumber, Value: []byte("1.50E+1")},
			"temp":    {Unit: "Cel", Kind: KindNumber, Value: []byte("-0.0")},
			"on":      {Unit: "/", Kind: KindBoolean, Value: []byte("false")},
			"text":    {Unit: "/", Kind: KindString, Value: []byte(`"a\"\u003cé"`)},
			"raw":     {Unit: "/", Kind: KindData, Value: []byte(`"_-8"`)},
			"sum":     {Unit: "J", Sum: []byte("12.0"), Time: at.Add(1500 * time.Millisecond)},
			"both":    {Unit: "V", Kind: KindNumber, Value: []byte("1"), Sum: []byte("2")},
			"based":   {Unit: "V", Kind: KindNumber, Value: []byte("10.5")},
			"child:x": {Unit: "V", Kind: KindNumber, Value: []byte("3")},
			"0":       {Unit: "V", Kind: KindNumber, Value: []byte("4")},
		}
		for name, v := range want {
			v.Name, v.ID = name, id
			if v.Time.IsZero() {
				v.Time = at
			}
			want[name] = v
		}
		if d := cmp.Diff(want, r.get(testID)); d != "" {
			r.t.Error(d)
		}
	})
}

// The latest by time wins, in one pass and over several; of the same time the later uplink.
func TestLatestWins(t *testing.T) {
	for name, step := range map[string]func(*rig){"merged": func(*rig) {}, "written": (*rig).step} {
		t.Run(name, func(t *testing.T) {
			each(t, func(r *rig) {
				for _, pack := range []string{
					one("a", 1_700_000_100, "1"), one("a", 1_700_000_050, "2"),
					one("b", 1_700_000_100, "1"), one("b", 1_700_000_100, "2"),
					one("c", 1_700_000_100, "1"), one("c", 1_700_000_101, "2"),
				} {
					r.uplink(testID, pack)
					step(r)
				}
				r.step()
				r.want(testID, "a=1", "b=2", "c=2")
			})
		})
	}
}

// A clock that ran ahead counts as the time of receipt.
func TestClockAhead(t *testing.T) {
	each(t, func(r *rig) {
		r.uplink(testID, one("a", 4_000_000_000, "1"))
		r.step()
		if at := r.get(testID)["a"].Time; at.After(time.Now()) {
			r.t.Errorf("time %v", at)
		}
		r.uplink(testID, fmt.Sprintf(`[{"bn":%q,"bt":%d.9,"n":"a","v":2}]`, testID.BaseName(), time.Now().Unix()+1))
		r.step()
		r.want(testID, "a=2")
	})
}

// Names are bounded in memory and in Redis: the oldest go.
func TestNamesBound(t *testing.T) {
	each(t, func(r *rig) {
		for i := range 3 * MaxNames {
			r.uplink(testID, one(fmt.Sprint("n", i), 1_700_000_000+i, "1"))
			if i == MaxNames/2 {
				r.step()
			}
		}
		r.step()
		got := r.get(testID)
		if len(got) != MaxNames {
			r.t.Fatalf("%d names", len(got))
		}
		for i := 2 * MaxNames; i < 3*MaxNames; i++ {
			if _, ok := got[fmt.Sprint("n", i)]; !ok {
				r.t.Errorf("name %d is gone", i)
			}
		}
	})
}

func TestTextBound(t *testing.T) {
	each(t, func(r *rig) {
		long := strings.Repeat("é", 300)
		r.uplink(testID, fmt.Sprintf(`[{"bn":%q,"bt":1700000000,"n":"a","u":%q,"vs":"x%s"},{"n":%q,"v":1}]`, testID.BaseName(), strings.Repeat("u", 100), long, strings.Repeat("n", 300)))
		r.step()
		v := r.get(testID)["a"]
		if want := `"x` + long[:254] + `"`; string(v.Value) != want || !v.Cut || len(v.Unit) != maxUnit {
			r.t.Errorf("%+v", v)
		}
		if n := len(r.get(testID)); n != 1 {
			r.t.Errorf("%d values", n)
		}
	})
}

// What one node has read and not written when it dies, the next one writes;
// and should the first come back after all, it changes nothing.
func TestTakeOver(t *testing.T) {
	each(t, func(r *rig) {
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.step()
		r.uplink(testID, one("a", 1_700_000_001, "2"))
		r.uplink(testID, one("b", 1_700_000_001, "1"))
		r.readOnly() // and it dies
		next := r.another()
		next.step()
		r.want(testID, "a=1")
		r.client.Del(r.t.Context(), leaseKey(r.cfg.Keys, 0)) // which has run out
		next.step()
		r.want(testID, "a=2", "b=1")
		next.uplink(testID, one("a", 1_700_000_002, "3"))
		next.step()
		r.uplink(testID, one("c", 1_700_000_003, "1"))
		r.step()
		if r.parts[0].held || len(r.parts[0].pending) > 0 {
			r.t.Error("the first holds on")
		}
		r.want(testID, "a=3", "b=1")
		next.step()
		r.want(testID, "a=3", "b=1", "c=1")
	})
}

// A lease that ran out and was taken by nobody is had again, and what waited is
// read again.
func TestLeaseLapsed(t *testing.T) {
	each(t, func(r *rig) {
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.readOnly()
		r.client.Del(r.t.Context(), leaseKey(r.cfg.Keys, 0))
		r.step()
		r.want(testID, "a=1")
		r.uplink(testID, one("a", 1_700_000_001, "2"))
		r.readOnly()
		r.client.Del(r.t.Context(), leaseKey(r.cfg.Keys, 0))
		if err := r.flush(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.step()
		r.want(testID, "a=2")
	})
}

// Trimmed entries are passed over; a start after a long time reads what there is.
func TestTrimmed(t *testing.T) {
	each(t, func(r *rig) {
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.step()
		for i := range 700 {
			r.uplink(testID, one("b", 1_700_000_000+i, fmt.Sprint(i)))
		}
		r.client.XTrimMaxLen(r.t.Context(), uplink.UplinksKey(r.cfg.Keys, 0), 600)
		r.step()
		r.want(testID, "a=1", "b=699")
	})
}

// Nothing is written for a device that is gone, and what was kept of it goes;
// one registered anew under its id starts anew.
func TestRemoved(t *testing.T) {
	each(t, func(r *rig) {
		ctx, keys := r.t.Context(), uplink.StateKeys(r.cfg.Keys, testID)
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.step()
		at := time.Now().UnixMilli()
		r.client.Set(ctx, keys[0], fmt.Sprintf("%-24s%12d%12d%12d%13d%4stagtagtag1", "1-1", 7, 8, 9, at, "http"), 0)
		r.client.HSet(ctx, keys[1], "count", 5, "at", at, "reason", "login")
		r.client.Set(ctx, keys[2], "1700000000", 0)
		r.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: testID}) // of its name, perhaps
		r.step()
		if n := r.client.Exists(ctx, keys...).Val(); n != 3 {
			r.t.Errorf("%d keys are left of a device that is there", n)
		}
		r.uplink(testID, one("a", 1_700_000_001, "2"))
		r.readOnly()
		if err := r.registry.DeleteDevice(ctx, testID, auth.AnyRevision); err != nil {
			r.t.Fatal(err)
		}
		r.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: testID})
		r.step()
		if left := r.client.Exists(ctx, append(keys, latestKey(r.cfg.Keys, testID))...).Val(); left != 0 {
			r.t.Errorf("%d keys are left of a device that is gone", left)
		}
	})
}

func TestRegisteredAnew(t *testing.T) {
	each(t, func(r *rig) {
		ctx, keys := r.t.Context(), uplink.StateKeys(r.cfg.Keys, testID)
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.step()
		at := time.Now().Add(-time.Second).UnixMilli()
		r.client.Set(ctx, keys[0], fmt.Sprintf("%-24s%12d%12d%12d%13d%4stagtagtag1", "1-1", 7, 8, 9, at, "http"), 0)
		r.client.HSet(ctx, keys[1], "count", 5, "at", at, "reason", "login")
		r.uplink(testID, one("a", 1_700_000_001, "2"))
		r.readOnly()
		time.Sleep(2 * time.Millisecond) // the clock that tells the two lives apart
		if err := r.registry.DeleteDevice(ctx, testID, auth.AnyRevision); err != nil {
			r.t.Fatal(err)
		}
		r.register(testID)
		r.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: testID})
		r.step()
		r.want(testID)
		seen, err := uplink.NewReader(r.client, r.cfg.Keys).Seen(ctx, []auth.DeviceID{testID})
		if err != nil || seen[0] != (uplink.Seen{}) {
			r.t.Errorf("%+v, %v", seen, err)
		}
		if state := r.client.Get(ctx, keys[0]).Val(); !strings.HasSuffix(state, "tagtagtag1") || len(state) != 87 {
			r.t.Errorf("state %q", state)
		}
	})
}

// From memory where that goes back far enough, from Redis where not: each
// uplink once.
func TestRecent(t *testing.T) {
	r := newRig(t, redistest.Start(t).Client(), auth.Keyspace{})
	reader, fromMemory := stream.NewReader(r.client, auth.Keyspace{}), 0
	var start stream.ID
	r.cfg.Recent = func(k stream.Kind, p int, after stream.ID, buf []stream.Entry) ([]stream.Entry, stream.Position, bool) {
		if after.Less(start) {
			return buf, stream.Position{}, false
		}
		page, err := reader.Page(t.Context(), k, p, stream.At(after), cap(buf))
		if err != nil {
			t.Fatal(err)
		}
		fromMemory += len(page.Entries)
		return append(buf, page.Entries...), page.Next, true
	}
	following := 0
	r.cfg.Follow = func(...stream.Kind) func() { following++; return func() { following-- } }
	for i := range 300 {
		start, _ = stream.ParseID(r.uplink(testID, one("a", 1_700_000_000+i, fmt.Sprint(i))))
	}
	r.step()
	r.want(testID, "a=299")
	if fromMemory != 0 || following != 1 {
		t.Errorf("%d from memory, %d follow", fromMemory, following)
	}
	for i := range 700 {
		r.uplink(testID, one("a", 1_700_001_000+i, fmt.Sprint(i)))
	}
	r.step()
	r.want(testID, "a=699")
	if fromMemory != 700 {
		t.Errorf("%d from memory", fromMemory)
	}
	r.leave()
	if n := r.client.Exists(t.Context(), leaseKey(r.cfg.Keys, 0)).Val(); n != 0 || following != 0 {
		t.Errorf("after the end: %d leases, %d follow", n, following)
	}
}

// What waits in memory is bounded: it is written as soon as it is too much.
func TestMemoryBound(t *testing.T) {
	r := newRig(t, redistest.Start(t).Client(), auth.Keyspace{})
	r.cfg.MaxBytes = 5000
	for i := range 600 {
		r.uplink(testID, one(fmt.Sprint("n", i%200), 1_700_000_000+i, fmt.Sprint(i)))
	}
	for more := true; more; {
		var err error
		if more, err = r.pass(t.Context(), r.now); err != nil {
			t.Fatal(err)
		}
		if r.parts[0].bytes >= 5000 {
			t.Fatalf("%d bytes wait", r.parts[0].bytes)
		}
	}
	if n := len(r.get(testID)); n != 200 {
		t.Errorf("%d names", n)
	}
}

// A running Projector writes within seconds, and what it has read when it ends.
func TestRun(t *testing.T) {
	r := newRig(t, redistest.Start(t).Client(), auth.Keyspace{Partitions: 16})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.uplink(testID, one("a", 1_700_000_000, "1"))
	for limit := time.Now().Add(10 * time.Second); len(r.get(testID)) == 0; {
		if time.Now().After(limit) {
			t.Fatal("nothing written")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	next := r.another()
	next.step()
	if !next.parts[r.cfg.Keys.Partition(testID)].held {
		t.Error("the lease is still there")
	}
}

// The last uplink shows as soon as it is stored.
func TestOverlay(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s.Client(), auth.Keyspace{})
		r.uplink(testID, one("a", 1_700_000_000, "1"))
		r.uplink(testID, one("b", 1_700_000_900, "1"))
		r.step()
		service, err := uplink.New(uplink.Config{Client: r.client, Registry: r.registry})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx) }()
		body := []byte(`[{"bn":"urn:dev:IMEI:356726104408422:","bt":1700000100,"n":"a","v":2},{"n":"b","v":2},{"n":"c","v":2}]`)
		v := service.Accept(ctx, &uplink.Message{Via: uplink.MQTT, Login: testID, Body: body})
		cancel()
		if err := errors.Join(<-ended); err != nil || v.Outcome != uplink.Stored {
			t.Fatalf("%+v, %v", v, err)
		}
		r.want(testID, "a=2", "b=1", "c=2")
		r.step()
		r.want(testID, "a=2", "b=1", "c=2")
	})
}

// What is no value of ours is passed over.
func TestParse(t *testing.T) {
	for _, text := range []string{"", "x", "1 2", "1 x {}", "x 1-1 {}", "1 1-1 [", `1 1-1 {"cut":3}`} {
		if v, ok := parse("a", text); ok {
			t.Errorf("%q: %+v", text, v)
		}
	}
	for us, want := range map[int64]string{0: "0000000000000000", 12: "0000000000000012", 1_700_000_000_000_001: "1700000000000001"} {
		if got := string(appendTime(nil, us)); got != want {
			t.Errorf("%d: %s", us, got)
		}
	}
}
