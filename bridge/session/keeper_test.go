package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

const (
	opened = "appcreated=1600000000000 connected=1 created=now+0s expiry=3600000 form=1 found= node=n1 owner=o1 remote=192.0.2.1:99 seen=now+0s version=5"
	subs   = `subs=[{"filter":"uplinks/#","qos":1,"id":7,"since":{"0":{"MS":1700000000000,"Seq":2}}},{"filter":"events/+/+/+","qos":0,"rap":true}]`
	text   = "cursors=0=1700000000000-5/5/1700000000000-9 2=1700000000000-0/? expiry=3600000 form=1 found= inflight=1=0/1700000000000-6 65535=0/1700000000000-9"
)

func TestKeeperStates(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := b.keeper("n1")
		b.open(k, saved("c", "o1"))
		b.want(state{
			"m2m:{0}:session:ui/c": opened, "m2m:{0}:sessions": "ui/c@now+1h0m15s", "m2m:{0}:sessions:names": "ui/c@0",
		})
		b.save(k, full(saved("c", "o1")))
		b.want(state{
			"m2m:{0}:session:ui/c": "appcreated=1600000000000 connected=1 created=now+0s " + text +
				" node=n1 owner=o1 remote=192.0.2.1:99 seen=now+0s seq=0 " + subs + " version=5",
			"m2m:{0}:sessions": "ui/c@now+1h0m15s", "m2m:{0}:sessions:names": "ui/c@0",
		})
		gone := full(saved("c", "o1"))
		gone.Detached, gone.Seq = true, 1
		b.save(k, gone)
		b.save(k, gone) // sent twice
		b.want(state{
			"m2m:{0}:session:ui/c": "appcreated=1600000000000 connected=0 created=now+0s " + text +
				" node=n1 owner=o1 remote=192.0.2.1:99 seen=now+0s seq=1 " + subs + " version=5",
			"m2m:{0}:sessions": "ui/c@now+1h0m0s", "m2m:{0}:sessions:names": "ui/c@0",
		})
		b.open(b.keeper("n2"), saved("c", "o2"))
		last := saved("c", "o2")
		last.Expiry, last.Detached = 0, true
		b.save(k, last)
		b.want(state{})
		b.save(k, last) // sent twice: it is forgotten, as asked
	})
}

func TestOpenFindsWhatWasKept(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n1, n2 := b.keeper("n1"), b.keeper("n2")
		kept := full(saved("c", "o1"))
		for _, c := range []struct {
			name            string
			detached, clean bool
			with            func(*broker.Saved)
			found           bool
		}{
			{"OK", false, false, func(*broker.Saved) {}, true},
			{"detached", true, false, func(*broker.Saved) {}, true},
			{"clean", true, true, func(*broker.Saved) {}, false},
			{"another app of that name", true, false, func(s *broker.Saved) { s.AppCreated = s.AppCreated.Add(time.Second) }, false},
			{"expired", true, false, func(*broker.Saved) { b.expire("ui/c") }, false},
			{"to end with its connection", false, false, func(*broker.Saved) { b.check(b.client.HSet(t.Context(), "m2m:{0}:session:ui/c", "expiry", "0").Err()) }, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				b.check(b.client.FlushDB(t.Context()).Err())
				b.open(n1, saved("c", "o1"))
				kept.Detached = c.detached
				b.save(n1, kept)
				next := saved("c", "o2")
				c.with(&next)
				var want broker.Saved
				if c.found {
					want = full(next)
					want.Detached = c.detached
				}
				for range 2 { // the second as if the first reply was lost
					found, ok, err := n2.Open(t.Context(), next, c.clean, 1)
					if err != nil || ok != c.found {
						t.Fatalf("open: %v, %v", ok, err)
					}
					if d := cmp.Diff(want, found); d != "" {
						t.Errorf("found (-want +got):\n%s", d)
					}
				}
				if err := n1.Save(t.Context(), []broker.Saved{kept})[0]; !errors.Is(err, broker.ErrTaken) {
					t.Errorf("save of the old owner: %v", err)
				}
				if err := n2.Save(t.Context(), []broker.Saved{next})[0]; err != nil {
					t.Errorf("save of the new owner: %v", err)
				}
			})
		}
	})
}

// Saves overtake each other on their way: the older one comes to nothing.
func TestSaveKeepsTheLatest(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := b.keeper("n1")
		seen := func(owner string) uint64 {
			t.Helper()
			found, ok, err := k.Open(t.Context(), saved("c", owner), false, 0)
			if err != nil || !ok || len(found.Cursors) != 1 {
				t.Fatalf("%+v, %v, %v", found, ok, err)
			}
			return found.Cursors[0].At.ID.Seq
		}
		save := func(owner string, seq int64, at uint64, ends bool) {
			t.Helper()
			s := saved("c", owner)
			s.Seq, s.Cursors, s.Subscriptions = seq, []broker.Cursor{{At: broker.Position{ID: id(at)}}}, []broker.SavedSubscription{{Filter: "#"}}
			if ends {
				s.Detached, s.Expiry = true, 0
			}
			b.save(k, s)
		}
		b.open(k, saved("c", "o1"))
		save("o1", 2, 12, false)
		save("o1", 1, 11, false)
		save("o1", 2, 13, false)
		save("o1", 1, 0, true)
		if got := seen("o2"); got != 12 {
			t.Errorf("kept %d", got)
		}
		save("o2", 1, 21, false) // another owner counts anew
		if got := seen("o2"); got != 21 {
			t.Errorf("kept %d of another owner", got)
		}
		save("o2", 1, 22, false) // its Open was sent twice
		if got := seen("o3"); got != 21 {
			t.Errorf("kept %d", got)
		}
	})
}

func TestSaveLeavesSubscriptions(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := b.keeper("n1")
		b.open(k, saved("c", "o1"))
		cursors := saved("c", "o1")
		cursors.Seq, cursors.Cursors = 1, []broker.Cursor{{At: at(7)}}
		b.save(k, cursors)
		if found, ok, err := k.Open(t.Context(), saved("c", "o2"), false, 0); ok || err != nil {
			t.Errorf("without subscriptions: %+v, %v", found, err)
		}
		b.save(k, full(saved("c", "o2")))
		cursors.Owner, cursors.Seq = "o2", 2
		b.save(k, cursors)
		found, ok, err := k.Open(t.Context(), saved("c", "o3"), false, 0)
		want := saved("c", "o3")
		want.Subscriptions, want.Cursors = full(want).Subscriptions, cursors.Cursors
		if d := cmp.Diff(want, found); err != nil || !ok || d != "" {
			t.Errorf("%v, %v (-want +got):\n%s", ok, err, d)
		}
	})
}

// shared keeps a session that is a member of two shared subscriptions, with
// another of each, and one of another app in the like of it.
func (b *bench) shared(k *Keeper, n *Share, s broker.Saved) {
	b.t.Helper()
	ctx := b.t.Context()
	b.open(k, s)
	s.Subscriptions = []broker.SavedSubscription{{Filter: "$share/workers/uplinks/IMEI/+"}, {Filter: "#"}, {Filter: "$share/all/#"}}
	s.Seq++
	b.save(k, s)
	created := s.AppCreated.UnixMilli()
	other := broker.SessionKey{App: s.Key.App, ClientID: "other"}
	for _, k := range []broker.ShareKey{shareOf(s.Key.App, created, "workers", "uplinks/IMEI/+"), shareOf(s.Key.App, created, "all", "#"), shareOf(s.Key.App, created+1, "all", "#")} {
		members := []broker.Member{{Key: other, Keep: time.Hour}, {Key: s.Key, Keep: 2 * time.Hour}}
		_, err := n.Join(ctx, k, n.keys.streamsOf(k.Filter), members, func(broker.Stream) broker.Position { return at(1) })
		b.check(err)
	}
}

// memberships are the keys of the shared subscriptions that a session is in.
func (b *bench) memberships(k broker.SessionKey) (in []string) {
	b.t.Helper()
	for key, value := range b.state() {
		if strings.Contains(value, " "+memberField(k)+"=") {
			in = append(in, key)
		}
	}
	return in
}

// A session that is no more is no member any more, however long it would have
// been one.
func TestWhatIsForgottenLeavesItsShares(t *testing.T) {
	for _, c := range []struct {
		name   string
		forget func(*bench, *Keeper) error
	}{
		{"removed", func(b *bench, k *Keeper) error { return k.Remove(b.t.Context(), "ui", "c") }},
		{"expired", func(b *bench, k *Keeper) error {
			b.expire("ui/c")
			_, err := k.sweep(b.t.Context(), 0)
			return err
		}},
		{"expired, and another needs its place", func(b *bench, k *Keeper) error {
			b.expire("ui/c")
			_, _, err := k.Open(b.t.Context(), saved("d", "o2"), false, 1)
			return err
		}},
		{"expired, and opened", func(b *bench, k *Keeper) error {
			b.expire("ui/c")
			_, _, err := k.Open(b.t.Context(), saved("c", "o2"), false, 1)
			return err
		}},
		{"started anew", func(b *bench, k *Keeper) error {
			_, _, err := k.Open(b.t.Context(), saved("c", "o2"), true, 1)
			return err
		}},
		{"of an app that is another", func(b *bench, k *Keeper) error {
			next := saved("c", "o2")
			next.AppCreated = next.AppCreated.Add(time.Second)
			_, _, err := k.Open(b.t.Context(), next, false, 1)
			return err
		}},
		{"of an app that is gone", func(b *bench, _ *Keeper) error {
			w := b.watch(func(c *WatchConfig) { c.Apps = apps{} })
			return w.sweep(b.t.Context())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, s *redistest.Server) {
				b := newBench(t, s)
				k := b.keeper("n1")
				b.shared(k, b.share(), saved("c", "o1"))
				if in := b.memberships(member("c")); len(in) != 9 {
					t.Fatalf("member of %v", in)
				}
				b.check(c.forget(b, k))
				for _, key := range b.memberships(member("c")) {
					if !strings.Contains(key, ":ui/1600000000001/") {
						t.Errorf("still a member: %s", key)
					}
				}
				if in := b.memberships(member("other")); len(in) != 9 {
					t.Errorf("the other is left in %v", in)
				}
			})
		})
	}
}

// A session that was never saved has nothing that its client could rely on.
func TestOpenFindsNothingOfASessionThatWasNeverSaved(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		b.open(b.keeper("n1"), saved("c", "o1"))
		if _, ok, err := b.keeper("n2").Open(t.Context(), saved("c", "o2"), false, 0); ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
	})
}

func TestOpenRefusesAnotherForm(t *testing.T) {
	b := newBench(t, redistest.Mini(t))
	k := b.keeper("n1")
	b.open(k, saved("c", "o1"))
	b.save(k, full(saved("c", "o1")))
	b.check(b.client.HSet(t.Context(), "m2m:{0}:session:ui/c", "form", "2").Err())
	if _, _, err := k.Open(t.Context(), saved("c", "o2"), false, 0); !errors.Is(err, errForm) {
		t.Errorf("open: %v", err)
	}
	if s, err := k.Get(t.Context(), "ui", "c"); err != nil || s.Subscriptions != nil {
		t.Errorf("get: %+v, %v", s, err)
	}
	if _, ok, err := k.Open(t.Context(), saved("c", "o3"), true, 0); ok || err != nil {
		t.Errorf("clean open: %v, %v", ok, err)
	}
}

func TestLimit(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k, ctx := b.keeper("n1"), t.Context()
		b.open(k, saved("c1", "o1"))
		b.open(k, saved("c2", "o2"))
		other := saved("c3", "o3")
		other.Key.App = "ui0" // behind all names of ui, and not among them
		b.open(k, other)
		if _, _, err := k.Open(ctx, saved("c4", "o4"), true, 2); !errors.Is(err, broker.ErrSessions) {
			t.Fatalf("one too many: %v", err)
		}
		if _, _, err := k.Open(ctx, saved("c2", "o5"), true, 2); err != nil {
			t.Errorf("one that is there: %v", err)
		}
		b.expire("ui/c1", "ui0/c3")
		k.hold.begin() // Redis was away: their nodes could not save them
		if _, _, err := k.Open(ctx, saved("c4", "o4"), true, 2); !errors.Is(err, broker.ErrSessions) {
			t.Errorf("in the place of one whose node could not save it: %v", err)
		}
		k.hold = hold{}
		if _, _, err := k.Open(ctx, saved("c4", "o4"), false, 2); err != nil {
			t.Errorf("in the place of an expired one: %v", err)
		}
		b.expire("ui/c2")
		if _, _, err := k.Open(ctx, saved("c2", "o6"), false, 2); err != nil {
			t.Errorf("an expired one anew: %v", err)
		}
		names, _, err := k.reading.namesAfter(ctx, Query{Limit: 9})
		if err != nil || strings.Join(names, " ") != "ui/c2 ui/c4 ui0/c3" { // another app's is not touched
			t.Errorf("%v, %v", names, err)
		}
	})
}

func TestSaveTellsOfEachSession(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k, ctx := b.keeper("n1"), t.Context()
		const n = 450 // three pipelines
		var list []broker.Saved
		for i := range n {
			list = append(list, full(saved(fmt.Sprint("c", i), "o")))
			if i != 7 {
				b.open(k, list[i])
			}
		}
		b.open(k, saved("c300", "other"))
		b.check(k.Remove(ctx, "ui", "c449"))
		for round := range 2 {
			for i := range list {
				list[i].Seq++
			}
			for i, err := range k.Save(ctx, list) {
				want := map[int]error{7: broker.ErrRemoved, 300: broker.ErrTaken, 449: broker.ErrRemoved}[i]
				if !errors.Is(err, want) {
					t.Errorf("round %d, session %d: %v, want %v", round, i, err, want)
				}
			}
			b.check(b.client.ScriptFlush(ctx).Err()) // as after a restart
		}
	})
}

func TestSaveSaysWhenRedisIsGone(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s)
	k := b.keeper("n1")
	s.Kill()
	errs := k.Save(t.Context(), []broker.Saved{saved("c1", "o"), saved("c2", "o")})
	for _, err := range errs {
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, broker.ErrRemoved) || errors.Is(err, broker.ErrTaken) {
			t.Errorf("%v", err)
		}
	}
	if _, _, err := k.Open(t.Context(), saved("c", "o"), false, 0); !errors.Is(err, ErrUnavailable) || len(errs) != 2 {
		t.Errorf("%v", err)
	}
}

func TestAnyClientID(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		ks := auth.Keyspace{Partitions: 7}
		k := NewKeeper(Config{Client: b.client, Keys: ks, Node: "n1"})
		ids := []string{"/", "a/b", "{", "}", "{3}", "a{9}b", "a\nb\r\n", "*", "?", "[x]", "(a", "+", "-", "..", "%2F", "ü€😀", "\x01\x7f", "a:claims", " ", strings.Repeat("x", 1000), strings.Repeat("é", 32767)}
		seen := map[string]bool{}
		for _, c := range ids {
			want := full(saved(c, "o1"))
			b.open(k, want)
			b.save(k, want)
			found, ok, err := k.Open(t.Context(), saved(c, "o2"), false, 0)
			want.Owner = "o2"
			if d := cmp.Diff(want, found); err != nil || !ok || d != "" {
				t.Errorf("%.20q: %v %v %s", c, ok, err, d)
			}
			if got, err := k.Get(t.Context(), "ui", c); err != nil || got.ClientID != c {
				t.Errorf("%.20q: got %.20q, %v", c, got.ClientID, err)
			}
		}
		for q := (Query{App: "ui", Limit: 2}); ; {
			page, next, err := k.List(t.Context(), q)
			b.check(err)
			for _, s := range page {
				seen[s.ClientID] = true
			}
			if q.After = next; next == "" {
				break
			}
		}
		for _, c := range ids {
			if !seen[c] {
				t.Errorf("%.20q is not in the list", c)
			}
			b.check(k.Remove(t.Context(), "ui", c))
		}
		b.want(state{})
	})
}

// Of connections that open one session at once, the last to come has it.
func TestOneOwner(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		var wg sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			wg.Go(func() {
				_, _, errs[i] = b.keeper(fmt.Sprint(i%2)).Open(t.Context(), saved("c", fmt.Sprint(i)), false, 1)
			})
		}
		wg.Wait()
		owners := 0
		for i, err := range errs {
			b.check(err)
			switch err := b.keeper("n").Save(t.Context(), []broker.Saved{saved("c", fmt.Sprint(i))})[0]; {
			case err == nil:
				owners++
			case !errors.Is(err, broker.ErrTaken):
				t.Error(err)
			}
		}
		if owners != 1 {
			t.Errorf("%d owners", owners)
		}
	})
}

func TestForms(t *testing.T) {
	for _, bad := range []string{"x", "0", "0=", "0=1", "0=1-2", "0=1-2/x", "0=1-2/-3", "0=1-2/3/", "0=1-2/3/4-5/6", "=1-2/3", "0=1-2/3 x"} {
		if got, err := parseCursors(bad); !errors.Is(err, errForm) {
			t.Errorf("cursors %q: %v, %v", bad, got, err)
		}
	}
	for _, bad := range []string{"x", "1", "1=0", "1=0/5", "65536=0/1-2", "1=x/1-2", "-1=0/1-2"} {
		if got, err := parseInFlight(bad); !errors.Is(err, errForm) {
			t.Errorf("in flight %q: %v, %v", bad, got, err)
		}
	}
	warned := map[broker.Stream]string{0: stateBehind, 11: stateTrimmed}
	if d := cmp.Diff(warned, parseWarned(formatWarned(warned))); d != "" {
		t.Error(d)
	}
}
