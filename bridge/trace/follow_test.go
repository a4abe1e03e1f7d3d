package trace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// await calls Next until so many steps have come.
func (f *Follower) await(t *testing.T, n int) (all []Step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for looks := time.Tick(5 * time.Millisecond); len(all) < n; <-looks {
		steps, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, steps...)
	}
	if len(all) != n {
		t.Fatalf("%d steps came, want %d: %+v", len(all), n, all)
	}
	return all
}

func (n *node) follow(t *testing.T, id auth.DeviceID) *Follower {
	t.Helper()
	f, err := n.Follow(t.Context(), "app", id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// Two nodes know of a device's messages; a follower of either sees both's, once
// each, in the order of time.
func TestTwoNodesAnswer(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		ks := auth.Keyspace{Partitions: 3}
		one, two := newNode(t, s, "one", ks), newNode(t, s, "two", ks)
		for i := range 5 {
			one.Message(accepted(imei, 20*i))
			two.Message(accepted(imei, 20*i+10))
			two.Message(accepted(uuid, i))
		}
		keys, err := s.Client().Keys(t.Context(), "*trace*").Result()
		if err != nil || len(keys) != 0 {
			t.Errorf("nobody follows, and there are %v (%v)", keys, err)
		}
		first, second := one.follow(t, imei), two.follow(t, imei)
		for name, f := range map[string]*Follower{"one": first, "two": second} {
			kept := f.await(t, 40)
			if !slices.IsSortedFunc(kept, func(a, b Step) int { return a.At.Compare(b.At) }) || kept[0].Node != "one" || kept[4].Node != "two" {
				t.Errorf("%s: %+v", name, kept)
			}
		}
		two.Message(accepted(imei, 1000))
		one.Message(accepted(uuid, 1000)) // another's
		for name, f := range map[string]*Follower{"one": first, "two": second} {
			if got := f.await(t, 4); got[3].ID != "1700000000000-1000" {
				t.Errorf("%s: %+v", name, got)
			}
		}
		third := one.follow(t, imei) // nothing is told again
		third.await(t, 44)
		if n, err := s.Client().XLen(t.Context(), key(ks, imei)).Result(); err != nil || n != 44 {
			t.Errorf("%d entries, %v", n, err)
		}
		if ttl := s.Client().TTL(t.Context(), key(ks, imei)).Val(); ttl <= 0 || ttl > streamFor {
			t.Errorf("the stream lives for %v", ttl)
		}
	})
}

func TestLastGivesTheLast(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	one, two := newNode(t, s, "one", auth.Keyspace{}), newNode(t, s, "two", auth.Keyspace{})
	for i := range 100 {
		two.Message(accepted(imei, i))
		one.Message(accepted(imei, i-1000)) // long ago
	}
	steps, err := one.Last(t.Context(), "app", imei)
	if err != nil || len(steps) != Kept || steps[Kept-1].ID != "1700000000000-99" || steps[0].Node != "two" {
		t.Errorf("%d steps, %v: %+v", len(steps), err, steps)
	}
	if steps, err := one.Last(t.Context(), "app", uuid); err != nil || len(steps) != 0 {
		t.Errorf("%v, %v", steps, err)
	}
}

// A node that starts again has other numbers, and one whose interest lapsed
// tells what it told before: readers see each step once.
func TestNoStepTwice(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := newNode(t, s, "one", auth.Keyspace{})
	n.Message(accepted(imei, 1))
	f := n.follow(t, imei)
	f.await(t, 4)
	n.changed(auth.Change{Kind: auth.ChangeAll}) // all is written again
	again := newNode(t, s, "one", auth.Keyspace{})
	again.Message(accepted(imei, 2))
	again.want(imei)
	f.await(t, 4)
	if n := s.Client().XLen(t.Context(), key(auth.Keyspace{}, imei)).Val(); n < 12 {
		t.Errorf("%d entries: nothing was written again", n)
	}
}

func TestInterestLapses(t *testing.T) {
	tr := alone(1 << 20)
	tr.Message(accepted(imei, 1))
	tr.want(imei)
	if got := tr.gather(); len(got) != 1 || len(got[0].steps) != 4 {
		t.Errorf("%+v", got)
	}
	if got := tr.gather(); len(got) != 0 {
		t.Errorf("nothing is new: %+v", got)
	}
	tr.Message(accepted(imei, 2))
	if got := tr.gather(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	tr.wanted[imei].until = time.Now().Add(-time.Second)
	tr.lapse()
	tr.Message(accepted(imei, 3))
	if got := tr.gather(); len(got) != 0 || len(tr.shards[0].followed) != 0 {
		t.Errorf("nobody follows: %+v", got)
	}
	for i := range 2 * maxWanted {
		tr.want(invented(i))
	}
	if len(tr.wanted) > maxWanted {
		t.Errorf("%d devices are wanted", len(tr.wanted))
	}
}

// However many follow, and however often, a device is announced once in a while,
// and there is an end to how many devices can be.
func TestAnnouncementsAreFew(t *testing.T) {
	tr := alone(1 << 20)
	m := tr.cfg.Registry.(*mute)
	var open []*Follower
	for range 100 {
		f, err := tr.Follow(t.Context(), "app", imei)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	tr.renew(t.Context())
	if m.announced != 1 {
		t.Errorf("announced %d times", m.announced)
	}
	tr.asked[imei].announced = time.Now().Add(-renewEvery)
	tr.renew(t.Context())
	tr.renew(t.Context())
	if m.announced != 2 {
		t.Errorf("announced %d times, one was due", m.announced)
	}
	for _, f := range open {
		f.Close()
	}
	for i := range 2 * maxAsked {
		if f, err := tr.Follow(t.Context(), fmt.Sprint(i%8), invented(i)); err == nil {
			f.Close()
		} else if !errors.Is(err, ErrBusy) || i < maxAsked-1 {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if m.announced > 2+maxAsked {
		t.Errorf("announced %d times", m.announced)
	}
	greedy := alone(1 << 20)
	for i := range maxShare + 1 {
		if _, err := greedy.Follow(t.Context(), "greedy", invented(i)); (err == nil) != (i < maxShare) || err != nil && !errors.Is(err, ErrShare) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, err := greedy.Follow(t.Context(), "other", invented(maxShare)); err != nil {
		t.Error(err)
	}
	for _, a := range tr.asked {
		a.announced = time.Now().Add(-renewEvery)
	}
	if tr.renew(t.Context()); len(tr.asked) != 0 {
		t.Errorf("%d are remembered", len(tr.asked))
	}
}

// While Redis is away steps wait, as many as are kept.
func TestStepsWaitForRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AppendOnly())
	n := newNode(t, s, "one", auth.Keyspace{})
	f := n.follow(t, imei)
	n.Message(accepted(imei, 1))
	f.await(t, 4)
	s.Kill()
	n.Message(accepted(imei, 2))
	if _, err := f.Next(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	s.Restart()
	f.await(t, 4)
}
