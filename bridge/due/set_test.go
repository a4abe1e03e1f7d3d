package due

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

type entries = map[string]string

func TestLife(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		b.add("b", 20*time.Millisecond)
		b.add("a", 10*time.Millisecond)
		b.add("later", time.Hour)
		again, err := b.set.Add(t.Context(), 0, Entry{ID: "a", At: In(0), Data: "other"})
		b.check(err)
		if again[0] {
			t.Error("added twice")
		}
		b.clock.to(10*time.Millisecond - 10*time.Microsecond)
		if early := b.claim(10); len(early) != 0 {
			t.Errorf("early: %v", ids(early))
		}
		b.clock.to(25 * time.Millisecond)
		claims := b.claim(10)
		if d := cmp.Diff([]string{"a", "b"}, ids(claims)); d != "" || claims[0].Data != "of a" {
			t.Errorf("claims %+v: %s", claims, d)
		}
		b.want(entries{"a": "60025 of a", "b": "60025 of b", "later": "3600000 of later"})
		b.check(b.settle(claims[0], Done()))
		b.check(b.settle(claims[1], Again(At(start.Add(time.Second))).With("new")))
		b.want(entries{"b": "1000 new", "later": "3600000 of later"})
		if n, err := b.set.Len(t.Context()); n != 2 || err != nil {
			t.Errorf("length %d, %v", n, err)
		}
		at, data, ok, err := b.set.Get(t.Context(), 0, "b")
		if !at.Equal(start.Add(time.Second)) || data != "new" || !ok || err != nil {
			t.Errorf("get: %v %q %v %v", at, data, ok, err)
		}
		if _, _, ok, err := b.set.Get(t.Context(), 0, "a"); ok || err != nil {
			t.Errorf("get what is done: %v, %v", ok, err)
		}
	})
}

// Empty data is data, and With("") is not the same as leaving it.
func TestEmptyData(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		_, err := b.set.Add(t.Context(), 0, Entry{ID: "a"})
		b.check(err)
		b.clock.forward(time.Millisecond)
		c := b.one()
		b.check(b.settle(c, Again(In(0)).With("=x")))
		b.clock.forward(time.Millisecond)
		if c = b.one(); c.Data != "=x" {
			t.Errorf("data %q", c.Data)
		}
		b.check(b.settle(c, Again(In(0)).With("")))
		b.clock.forward(time.Millisecond)
		if c = b.one(); c.Data != "" {
			t.Errorf("data %q", c.Data)
		}
	})
}

func TestLeaseRunsOut(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		b.add("a", 0)
		b.clock.forward(time.Millisecond)
		first := b.one()
		b.clock.to(59 * time.Second)
		if second := b.claim(1); len(second) != 0 {
			t.Fatal("claimed twice within a lease")
		}
		b.clock.to(61 * time.Second)
		second := b.one()
		if second.Data != "of a" {
			t.Errorf("data %q: a claim that was not settled changes nothing", second.Data)
		}
		if err := b.settle(first, Done()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("settled by the former holder: %v", err)
		}
		b.want(entries{"a": "121000 of a"})
		b.clock.to(150 * time.Second) // expired, but nobody else has claimed it
		b.check(b.settle(second, Done()))
		b.want(entries{})
	})
}

func TestCancelAndMove(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b, ctx := newBench(t, s), t.Context()
		b.add("a", 0)
		b.add("b", 0)
		b.clock.forward(time.Millisecond)
		claims := b.claim(2)
		there, err := b.set.Cancel(ctx, 0, "a", "c")
		if d := cmp.Diff([]bool{true, false}, there); d != "" || err != nil {
			t.Errorf("cancel: %v, %v", there, err)
		}
		moved, err := b.set.Move(ctx, 0, "b", At(start.Add(time.Hour)))
		if !moved || err != nil {
			t.Errorf("move: %v, %v", moved, err)
		}
		if moved, err := b.set.Move(ctx, 0, "c", In(0)); moved || err != nil {
			t.Errorf("move what is not there: %v, %v", moved, err)
		}
		for _, c := range claims {
			if err := b.settle(c, Done()); !errors.Is(err, ErrNotHeld) {
				t.Errorf("settle %s: %v", c.ID, err)
			}
		}
		b.want(entries{"b": "3600000 of b"})
	})
}

// An entry that is removed and added anew while it is claimed is another one,
// even if it is claimed in the same ms.
func TestLeaseIsUnique(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		b.add("a", 0)
		b.clock.to(5 * time.Millisecond)
		first := b.one()
		_, err := b.set.Cancel(t.Context(), 0, "a")
		b.check(err)
		b.add("a", 0)
		second := b.one()
		if err := b.settle(first, Done()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("settled by the former holder, leases %s and %s: %v", first.Lease, second.Lease, err)
		}
		b.check(b.settle(second, Done()))
	})
}

func TestRefusals(t *testing.T) {
	set := NewSet(Config{Client: redistest.Mini(t).Client()})
	for _, p := range []int{-1, 1} {
		if _, err := set.Add(t.Context(), p, Entry{ID: "a"}); !errors.Is(err, ErrInvalid) {
			t.Errorf("partition %d: %v", p, err)
		}
	}
	if _, err := set.Add(t.Context(), 0, Entry{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no id: %v", err)
	}
}

func TestUnavailable(t *testing.T) {
	s := redistest.Start(t)
	set, ctx := NewSet(Config{Client: s.Client(), Kind: SMS}), t.Context()
	s.Kill()
	_, addErr := set.Add(ctx, 0, Entry{ID: "a"})
	_, cancelErr := set.Cancel(ctx, 0, "a")
	_, moveErr := set.Move(ctx, 0, "a", In(0))
	_, _, _, getErr := set.Get(ctx, 0, "a")
	_, lenErr := set.Len(ctx)
	_, checkErr := set.Check(ctx, 0)
	claimErr := set.Claim(ctx, Ask{0, 1})[0].Err
	settleErr := set.Settle(ctx, Settlement{})[0]
	for i, err := range []error{addErr, cancelErr, moveErr, getErr, lenErr, checkErr, claimErr, settleErr} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		when When
		want string
	}{
		{When{}, "+0"}, {In(-time.Hour), "+0"}, {In(1), "+1"}, {In(time.Second), "+1000"},
		{At(time.UnixMilli(5)), "5"}, {At(time.UnixMilli(5).Add(1)), "6"}, {At(time.UnixMilli(-5).Add(1)), "-4"},
	} {
		if got := c.when.Text(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.when, got, c.want)
		}
	}
}

// By Redis' own clock.
func TestClockOfRedis(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		set := NewSet(Config{Client: patient(t, s), Kind: SMS})
		const wait = 50 * time.Millisecond
		began := time.Now()
		_, err := set.Add(t.Context(), 0, Entry{ID: "a", At: In(wait)})
		for limit := time.Now().Add(patience); err == nil; {
			batch := set.Claim(t.Context(), Ask{0, 1})[0]
			if err = batch.Err; len(batch.Claims) == 1 {
				if took := time.Since(began); took < wait {
					t.Errorf("after %s", took)
				}
				break
			}
			if batch.Empty || batch.Next <= 0 || batch.Next > wait+time.Millisecond || time.Now().After(limit) {
				t.Fatalf("%+v", batch)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// A script of another package settles an entry in the step that changes its own key.
func TestScriptOfAnotherPackage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b, ctx := newBench(t, s), t.Context()
		script := Script(`
local now = due.now(ARGV[1])
if not due.settle(KEYS[2], KEYS[3], now, ARGV[2], ARGV[3], ARGV[4], ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], 'state', 'EXECUTING')
due.add(KEYS[2], KEYS[3], now, 'another', '+5', 'data')
return 1`)
		ks := auth.Keyspace{}
		set, data := Keys(ks, SMS, 0)
		keys := []string{ks.Key(0, "downlink:1"), set, data}
		b.add("a", 0)
		b.clock.to(time.Millisecond)
		c := b.one()
		b.clock.to(2 * time.Millisecond)
		for _, want := range []int{1, 0} {
			args := []any{exactMS(b.clock.now()), c.ID, c.Lease, At(start.Add(time.Second)).Text(), "new"}
			if n, err := script.Run(ctx, b.client, keys, args...).Int(); n != want || err != nil {
				t.Errorf("%d, %v, want %d", n, err, want)
			}
		}
		b.want(entries{"a": "1000 new", "another": "8 data"})
	})
}

func TestDoctor(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b, ctx := newBench(t, s), t.Context()
		var good []Entry
		for i := range 1200 {
			good = append(good, Entry{ID: fmt.Sprint("good", i), At: At(start.Add(time.Hour)), Data: "good"})
		}
		for some := range slices.Chunk(good, 100) {
			_, err := b.set.Add(ctx, 0, some...)
			b.check(err)
		}
		set, data := Keys(auth.Keyspace{}, SMS, 0)
		far := start.Add(400 * 24 * time.Hour)
		b.add("far", far.Sub(start))
		b.check(b.client.HSet(ctx, data, "orphan", "of orphan").Err())
		b.check(b.client.Do(ctx, "ZADD", set, start.UnixMilli(), "bare").Err())
		want := entries{"orphan": "no member", "bare": "no data", "far": "too far"}
		b.faults(want, b.set.Check)
		if some, err := b.set.Check(ctx, 2); len(some) != 2 || err != nil {
			t.Errorf("two faults at most: %v, %v", some, err)
		}
		batch := b.set.Claim(ctx, Ask{0, 10})[0]
		if len(batch.Claims) != 0 || batch.Bare != 1 || batch.Err != nil {
			t.Errorf("claim of what has no data: %+v", batch)
		}
		mend := func(ctx context.Context, _ int) ([]Fault, error) { return b.set.Mend(ctx) }
		b.faults(want, mend)
		b.faults(entries{}, b.set.Check)
		b.clock.forward(time.Millisecond)
		if d := cmp.Diff([]string{"far", "orphan"}, sortedIDs(b.claim(10))); d != "" {
			t.Error(d)
		}
		if n, err := b.set.Len(ctx); n != 1202 || err != nil {
			t.Errorf("%d entries, %v", n, err)
		}
	})
}
