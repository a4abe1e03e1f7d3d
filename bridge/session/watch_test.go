package session

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

var made = time.UnixMilli(1600000000000) // the app "ui" of these tests

func (b *bench) watch(with ...func(*WatchConfig)) *Watch {
	c := WatchConfig{Client: b.client, Apps: apps{"ui": made}, UplinksMax: 100, EventsMax: 20, Metrics: prometheus.NewRegistry()}
	for _, f := range with {
		f(&c)
	}
	return NewWatch(c)
}

// metric is what a registry shows of one, whatever its labels.
func (b *bench) metric(w *Watch, name string) (sum float64) {
	b.t.Helper()
	families, err := w.cfg.Metrics.(*prometheus.Registry).Gather()
	b.check(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if strings.Join(append([]string{f.GetName()}, labels...), " ") == name {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	b.t.Fatalf("no metric %s", name)
	return 0
}

func (b *bench) events() (lines []string) {
	b.t.Helper()
	entries, err := b.client.XRange(b.t.Context(), "m2m:{0}:events", "-", "+").Result()
	b.check(err)
	for _, e := range entries {
		if e.Values["kind"] == "session" {
			v := e.Values
			lines = append(lines, fmt.Sprintf("%v|%v|%v %v %v", v["device"], v["app"], v["id"], v["state"], v["cause"]))
		}
	}
	return lines
}

// cursor keeps a session of "ui" that has read one stream up to the n-th entry.
func (b *bench) cursor(client string, s broker.Stream, n uint64) {
	b.t.Helper()
	k := b.keeper("n1")
	b.open(k, saved(client, "o"))
	session := saved(client, "o")
	b.saves++
	session.Seq = b.saves
	session.Cursors, session.Subscriptions = []broker.Cursor{{Stream: s, At: at(n)}}, []broker.SavedSubscription{}
	b.save(k, session)
}

func TestSweep(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := b.keeper("n1")
		for _, c := range []struct {
			app, client string
			created     time.Time
		}{
			{"ui", "c1", made}, {"ui", "c2", made}, {"ui", "older", made.Add(-time.Second)}, {"gone", "c1", made}, {"gone", "c2", made},
			{auth.AdminName, "c", time.Time{}},
		} {
			s := saved(c.client, "o")
			s.Key.App, s.AppCreated = c.app, c.created
			b.open(k, s)
		}
		b.expire("ui/c2")
		w := b.watch()
		b.check(w.sweep(t.Context()))
		names, _, err := k.reading.namesAfter(t.Context(), Query{Limit: 99})
		if err != nil || fmt.Sprint(names) != "[admin/c ui/c1 ui/older]" {
			t.Errorf("%v, %v", names, err)
		}
		b.check(w.look(t.Context())) // it also finds those of an app made anew
		names, _, err = k.reading.namesAfter(t.Context(), Query{Limit: 99})
		if err != nil || fmt.Sprint(names) != "[admin/c ui/c1]" {
			t.Errorf("%v, %v", names, err)
		}
		if got := b.client.Keys(t.Context(), "*").Val(); len(got) != 4 {
			t.Errorf("left: %v", got)
		}
		if n := b.metric(w, "m2mbridge_sessions_expired_total"); n != 4 {
			t.Errorf("%v expired", n)
		}
	})
}

type noApps struct{}

func (noApps) GetApp(context.Context, string) (auth.App, error) {
	return auth.App{}, auth.ErrUnavailable
}

func TestSweepForgetsNothingWhenAppsCannotBeLookedUp(t *testing.T) {
	b := newBench(t, redistest.Mini(t))
	b.open(b.keeper("n1"), saved("c", "o"))
	w := b.watch(func(c *WatchConfig) { c.Apps = noApps{} })
	if err := w.sweep(t.Context()); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := b.keeper("n1").Get(t.Context(), "ui", "c"); err != nil {
		t.Error(err)
	}
}

func TestSweepManyExpired(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	k := b.keeper("n1")
	for i := range 2*saveChunk + 50 {
		b.open(k, saved(fmt.Sprint("c", i), "o"))
		b.expire(fmt.Sprint("ui/c", i))
	}
	b.open(k, saved("left", "o"))
	var wg sync.WaitGroup
	for range 3 { // nodes
		wg.Go(func() {
			if err := b.watch().sweep(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.check(b.watch().sweep(t.Context()))
	if n := b.client.ZCard(t.Context(), "m2m:{0}:sessions").Val(); n != 1 {
		t.Errorf("%d left", n)
	}
}

func TestLookMeasures(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	b.fill(kindUplinks, 1, 50)
	b.cursor("near", 0, 45)
	b.cursor("far", 0, 20)
	b.cursor("read", 0, 50)
	k := b.keeper("n1")
	away := full(saved("away", "o"))
	away.Cursors, away.Detached = []broker.Cursor{{Stream: 0, At: broker.Position{ID: id(1), N: broker.Unknown}}, {Stream: 99}}, true
	b.open(k, away)
	b.save(k, away)
	w := b.watch()
	b.check(w.look(t.Context()))
	for name, want := range map[string]float64{
		"m2mbridge_sessions connected": 3, "m2mbridge_sessions away": 1, "m2mbridge_session_lag_entries_max": 30,
		"m2mbridge_session_trim_used_ratio_max": 0.3, "m2mbridge_session_warnings_total": 0,
	} {
		if got := b.metric(w, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := b.metric(w, "m2mbridge_session_lag_seconds_max"); got < sinceID().Seconds()-5 || got > sinceID().Seconds() {
		t.Errorf("%v s", got)
	}
}

func TestWarnings(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	ctx := t.Context()
	w, other := b.watch(), b.watch()
	looks := func(want ...string) {
		t.Helper()
		b.check(w.look(ctx))
		b.check(other.look(ctx))
		got := b.events()
		for i := range max(len(got), len(want)) {
			switch {
			case i >= len(got):
				t.Errorf("missing %s", want[i])
			case i >= len(want) || !regexp.MustCompile("^"+want[i]+"$").MatchString(got[i]):
				t.Errorf("got %s", got[i])
			}
		}
	}
	b.fill(kindUplinks, 1, 80)
	b.cursor("c", 0, 0)
	looks() // 80 of 100
	b.fill(kindUplinks, 81, 85)
	behind := `\|ui\|ui/c behind uplinks: 85 entries and \S+ behind; entries are trimmed at 100 entries`
	looks(behind)
	b.fill(kindUplinks, 86, 90)
	looks(behind) // once
	b.cursor("c", 0, 20)
	looks(behind) // 70: not armed again
	b.fill(kindUplinks, 91, 110)
	looks(behind)
	b.cursor("c", 0, 60)
	looks(behind) // 50
	b.fill(kindUplinks, 111, 150)
	behind2 := strings.Replace(behind, "85", "90", 1)
	looks(behind, behind2)
	// Trimming has passed the cursor.
	b.check(b.client.XTrimMaxLen(ctx, "m2m:{0}:uplinks", 80).Err())
	trimmed := `\|ui\|ui/c trimmed uplinks: 10 entries were trimmed before they were read; 90 entries and .*`
	looks(behind, behind2, trimmed)
	b.check(b.client.XTrimMaxLen(ctx, "m2m:{0}:uplinks", 70).Err())
	looks(behind, behind2, trimmed)
	b.cursor("c", 0, 150)
	looks(behind, behind2, trimmed)
	if got := b.client.HExists(ctx, "m2m:{0}:session:ui/c", "warned").Val(); got {
		t.Error("it is still warned of")
	}
	if n := b.metric(w, "m2mbridge_session_warnings_total"); n != 3 {
		t.Errorf("%v warnings", n)
	}
}

func TestWarningByAge(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		b.fill(kindUplinks, 1, 2)
		b.cursor("c", 0, 1)
		w := b.watch(func(c *WatchConfig) { c.UplinksMax, c.UplinksAge = 0, sinceID()*11/10 })
		b.check(w.look(t.Context()))
		if got := b.events(); len(got) != 1 || !strings.Contains(got[0], " behind; entries are trimmed at ") {
			t.Errorf("%v", got)
		}
		if got := b.metric(w, "m2mbridge_session_trim_used_ratio_max"); got < 0.9 || got > 0.92 {
			t.Errorf("used %v", got)
		}
	})
}

// A warning is an entry of the stream that its session is behind on; it must
// not bring about the next.
func TestWarningsDoNotFeedThemselves(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	ctx := t.Context()
	b.fill(kindEvents, 1, 19)
	for i := range 10 {
		b.cursor(fmt.Sprint("c", i), 2, 2) // 17 of 20
	}
	w := b.watch()
	for range 20 {
		b.check(w.look(ctx))
	}
	if got := b.events(); len(got) > 20 {
		t.Errorf("%d events", len(got))
	}
	last := b.client.XInfoStream(ctx, "m2m:{0}:events").Val().EntriesAdded
	b.check(w.look(ctx))
	if now := b.client.XInfoStream(ctx, "m2m:{0}:events").Val().EntriesAdded; now != last {
		t.Errorf("it goes on: %d, %d", last, now)
	}
}

func TestWarningThatCannotBeWrittenComesLater(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	ctx := t.Context()
	b.fill(kindUplinks, 1, 99)
	b.cursor("c", 0, 0)
	b.check(b.client.Set(ctx, "m2m:{0}:events", "in the way", 0).Err())
	w := b.watch()
	if err := w.look(ctx); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	b.check(b.client.Del(ctx, "m2m:{0}:events").Err())
	b.check(w.look(ctx))
	if got := b.events(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestSharesAreWatched(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		ctx := t.Context()
		n := b.share()
		b.fill(kindUplinks, 1, 90)
		b.join(n, "a", time.Hour, at(0))
		ended := broker.ShareKey{App: "ui", AppCreated: made.UnixMilli(), Name: "ended", Filter: "#"}
		members, start := []broker.Member{{Key: member("a"), Keep: time.Hour}}, func(broker.Stream) broker.Position { return at(0) }
		if _, err := n.Join(ctx, ended, []broker.Stream{2}, members, start); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Claim(ctx, ended, 2, at(0), at(1), []broker.ID{id(1)}); err != nil {
			t.Fatal(err)
		}
		b.check(b.client.Del(ctx, "m2m:{0}:share:events:ui/1600000000000/ended/#").Err()) // as its time runs out
		w := b.watch(func(c *WatchConfig) { c.UplinksAge = sinceID() * 11 / 10 })
		b.check(w.look(ctx))
		b.check(w.look(ctx))
		if got := b.events(); len(got) != 1 || !strings.HasPrefix(got[0], "|ui|ui/$share/workers/uplinks/IMEI/+ behind uplinks: ") {
			t.Errorf("%v", got)
		}
		b.check(n.Leave(ctx, workers, first, member("a")))
		b.check(b.client.Del(ctx, "m2m:{0}:events", "m2m:{0}:uplinks").Err())
		b.want(state{})
	})
}

// Another app of the same name gets neither position nor claims, nor are they
// kept for ever.
func TestSharesOfAppsThatAreGoneAreForgotten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		n := b.share()
		for _, k := range []broker.ShareKey{
			shareOf("ui", made.UnixMilli(), "workers", "#"), shareOf("ui", made.UnixMilli()-1000, "workers", "#"),
			shareOf("gone", made.UnixMilli(), "workers", "#"), shareOf(auth.AdminName, 0, "workers", "#"),
		} {
			b.joinAll(n, k, at(5), broker.Member{Key: broker.SessionKey{App: k.App, ClientID: "c"}, Keep: time.Hour})
			if _, ok, err := n.Claim(t.Context(), k, 0, at(5), at(6), []broker.ID{id(6)}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		for _, fails := range []bool{true, false} {
			w := b.watch(func(c *WatchConfig) {
				if fails {
					c.Apps = noApps{}
				}
			})
			if err := w.look(t.Context()); (err != nil) != fails {
				t.Error(err)
			}
			if fails && len(b.state()) != 9 {
				t.Errorf("apps cannot be looked up, and only this is left: %v", b.state())
			}
		}
		share := " n=6 until=now+1h0m0s until now+1h0m0s"
		b.want(state{
			"m2m:{0}:share:uplinks:ui/1600000000000/workers/#":  "at=1700000000000-6 m:ui/c=now+1h0m0s" + share,
			"m2m:{0}:claims:uplinks:ui/1600000000000/workers/#": "1700000000000-6@now+15s until now+1h0m0s",
			"m2m:{0}:share:uplinks:admin/0/workers/#":           "at=1700000000000-6 m:admin/c=now+1h0m0s" + share,
			"m2m:{0}:claims:uplinks:admin/0/workers/#":          "1700000000000-6@now+15s until now+1h0m0s",
			"m2m:{0}:shares": "uplinks:admin/0/workers/# uplinks:ui/1600000000000/workers/#",
		})
	})
}

// counter counts the commands and round trips of a client.
type counter struct{ commands, trips int }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.commands, c.trips = c.commands+1, c.trips+1
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.commands, c.trips = c.commands+len(cmds), c.trips+1
		return next(ctx, cmds)
	}
}

func TestPassOverTenThousandSessions(t *testing.T) {
	b := newBench(t, redistest.Start(t))
	k, ctx := b.keeper("n1"), t.Context()
	b.fill(kindUplinks, 1, 1000)
	const n = 10000
	list := make([]broker.Saved, n)
	for i := range list {
		list[i] = saved(fmt.Sprint("c", i), "o")
		list[i].Cursors = []broker.Cursor{{Stream: 0, At: at(uint64(i % 1000))}}
		b.open(k, list[i])
	}
	b.save(k, list...)
	w := b.watch(func(c *WatchConfig) { c.UplinksMax = 1e6 })
	count := &counter{}
	b.client.AddHook(count)
	start := time.Now()
	b.check(w.sweep(ctx))
	b.check(w.look(ctx))
	t.Logf("%d commands in %d round trips, %v", count.commands, count.trips, time.Since(start))
	if count.commands > n+200 || count.trips > 100 {
		t.Errorf("%d commands in %d round trips", count.commands, count.trips)
	}
	for i := range list {
		list[i].Seq++
	}
	*count = counter{}
	b.save(k, list...)
	if count.commands != n || count.trips != (n+saveChunk-1)/saveChunk {
		t.Errorf("save: %d commands in %d round trips", count.commands, count.trips)
	}
}

// What Redis's outage kept nodes from saving is not swept right after it.
func TestSweepWaitsAfterAnOutage(t *testing.T) {
	b := newBench(t, redistest.Mini(t))
	b.open(b.keeper("n1"), saved("c", "o"))
	b.expire("ui/c")
	there := func() bool { return b.client.Exists(t.Context(), "m2m:{0}:session:ui/c").Val() == 1 }
	w := b.watch()
	w.pass(t.Context(), func(context.Context) error { return ErrUnavailable })
	if left := time.Until(w.keeper.hold.until); left < lease-time.Second || left > lease {
		t.Errorf("held for %v", left)
	}
	if w.pass(t.Context(), w.sweepUnlessHeld); !there() {
		t.Error("swept at once")
	}
	w.keeper.hold = hold{}
	if w.pass(t.Context(), w.sweepUnlessHeld); there() {
		t.Error("never swept")
	}
}

func TestRun(t *testing.T) {
	b := newBench(t, redistest.Mini(t))
	b.open(b.keeper("n1"), saved("c", "o"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	w := b.watch()
	w.metrics.sessions.WithLabelValues("connected").Set(0)
	go func() { done <- w.Run(ctx) }()
	for limit := time.Now().Add(20 * time.Second); b.metric(w, "m2mbridge_sessions connected") == 0; {
		if time.Now().After(limit) {
			t.Fatal("nothing was looked at")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
