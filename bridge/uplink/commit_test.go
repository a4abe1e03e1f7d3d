package uplink

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// A batch whose reply was lost is sent again under its number: it is stored
// once, and the second reply is the first.
func TestBatchSentTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{})
		l := newLane(&r.cfg, r.Service.stored, "test", 0, 0)
		batch := []entry{r.checked(timeless(testID, 1)), r.checked(packAt(testID, 1_700_000_000, 2))}
		first, err := l.send(batch, time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		l.seq-- // the reply was lost
		second, err := l.send(batch, time.Now().Add(time.Second))
		if err != nil || strings.Join(first.answers, " ") != strings.Join(second.answers, " ") {
			t.Errorf("first %v, again %v (%v)", first, second, err)
		}
		if n := len(r.stored(0)); n != 2 {
			t.Errorf("stored %d entries, want 2", n)
		}
	})
}

// Where the stream is lost, and Redis' clock is behind what was handed on, ids
// grow all the same; where it is not lost they are Redis' own.
func TestIDsGrowThoughTheStreamIsLost(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		ahead := fmt.Sprint(time.Now().Add(time.Hour).UnixMilli())
		newest := "0-0"
		r := newRig(t, s, Config{Newest: func(int) string { return newest }})
		n := 0
		stored := func() string { n++; return r.send(timeless(testID, n), testSecret).StreamID }
		own := stored()
		newest = own
		if got := stored(); strings.HasPrefix(got, ahead) {
			t.Errorf("id %s in good order", got)
		}
		for _, c := range []struct{ newest, want string }{
			{ahead + "-0", ahead + "-1"}, {ahead + "-41", ahead + "-42"}, {own, ""},
		} {
			if err := r.client.Del(t.Context(), UplinksKey(r.cfg.Keys, 0)).Err(); err != nil {
				t.Fatal(err)
			}
			newest = c.newest
			got, next := stored(), stored()
			if c.want != "" && got != c.want || strings.HasPrefix(got, ahead) != (c.want != "") || got == next || len(r.stored(0)) != 2 {
				t.Errorf("ids %s, %s behind %s", got, next, c.newest)
			}
		}
		// The stream is there and further, but has no entries.
		key := UplinksKey(r.cfg.Keys, 0)
		if err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: ahead + "-7", Values: []any{"x", "y"}}).Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.client.XTrimMaxLen(t.Context(), key, 0).Err(); err != nil {
			t.Fatal(err)
		}
		newest = ahead + "-3"
		if got := stored(); got == "" {
			t.Error("not stored")
		}
	})
}

// A batch that lingered in a socket while a later one was stored is refused.
func TestOvertakenBatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{})
		l := newLane(&r.cfg, r.Service.stored, "test", 0, 0)
		for i := range 2 {
			if _, err := l.send([]entry{r.checked(timeless(testID, i))}, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		l.seq -= 2
		if _, err := l.send([]entry{r.checked(timeless(testID, 0))}, time.Now().Add(time.Second)); err == nil || !strings.Contains(err.Error(), "overtaken") {
			t.Errorf("error %v", err)
		}
		if n := len(r.stored(0)); n != 2 {
			t.Errorf("stored %d entries, want 2", n)
		}
	})
}

// checked is an uplink that has passed every step but the commit.
func (r *rig) checked(body string) entry {
	r.t.Helper()
	u := r.begin(&Message{Via: HTTP, PathType: "IMEI", Body: []byte(body), Token: tokenOf(body, testSecret), HasToken: true})
	if err := r.check(context.Background(), u); err != nil {
		r.t.Fatal(err)
	}
	return entry{u: u, done: func(Verdict) {}, service: r.Service}
}

// Whatever ails Redis, the device hears of it within a second, and service
// resumes by itself.
func TestRedisAway(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(*redistest.Server) }{
		"killed":  {(*redistest.Server).Kill, (*redistest.Server).Restart},
		"stopped": {(*redistest.Server).Stop, (*redistest.Server).Cont},
		"out of memory": {
			func(s *redistest.Server) { s.Client().ConfigSet(context.Background(), "maxmemory", "1") },
			func(s *redistest.Server) { s.Client().ConfigSet(context.Background(), "maxmemory", "0") },
		},
		"read-only": {
			func(s *redistest.Server) { s.Client().ReplicaOf(context.Background(), "127.0.0.1", "1") },
			func(s *redistest.Server) { s.Client().ReplicaOf(context.Background(), "NO", "ONE") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, redistest.AppendOnly())
			r := newRig(t, s, Config{})
			if v := r.send(packAt(testID, 1_700_000_000, 0), testSecret); v.Outcome != Stored {
				t.Fatalf("before: %+v", v)
			}
			fault.begin(s)
			start := time.Now()
			v := r.send(packAt(testID, 1_700_000_001, 1), testSecret)
			if took := time.Since(start); v.Outcome != Unavailable || v.RetryAfter == 0 || took > time.Second {
				t.Errorf("during: %+v after %v", v, took)
			}
			fault.end(s)
			r.eventually(packAt(testID, 1_700_000_002, 2))
			seen := map[any]int{}
			for _, e := range r.stored(0) {
				seen[e.Values["pack"]]++
			}
			for pack, n := range seen {
				if n > 1 {
					t.Errorf("stored %d times: %v", n, pack)
				}
			}
		})
	}
}

// eventually sends until it is stored.
func (r *rig) eventually(body string) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if v := r.send(body, testSecret); v.Outcome.Accepted() {
			return
		}
	}
	r.t.Fatal("service did not resume")
}

// Uplinks of one device are stored in the order they were submitted, and many
// in flight share round trips.
func TestOrderAndSharing(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{})
	const n = 2000
	before := r.evals()
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		body := timeless(testID, i)
		r.Submit(context.Background(), &Message{Via: MQTT, Login: testID, Body: []byte(body)}, func(v Verdict) {
			if v.Outcome != Stored {
				t.Errorf("%d: %+v", i, v)
			}
			wg.Done()
		})
	}
	wg.Wait()
	entries := r.stored(0)
	if len(entries) != n {
		t.Fatalf("stored %d, want %d", len(entries), n)
	}
	for i, e := range entries {
		if want := fmt.Sprintf(`"v":%d}`, i); !strings.Contains(e.Values["pack"].(string), want) {
			t.Fatalf("entry %d is %v", i, e.Values["pack"])
		}
	}
	if trips := r.evals() - before; trips > n/2 {
		t.Errorf("%d round trips for %d uplinks", trips, n)
	}
}

// evals is how many scripts Redis has run.
func (r *rig) evals() (n int) {
	info := r.client.Info(r.t.Context(), "commandstats").Val()
	for _, line := range strings.Split(info, "\r\n") {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			_, _ = fmt.Sscanf(rest, "%d", &n)
		}
	}
	return n
}

// Run settles what is in flight before it returns.
func TestStopSettles(t *testing.T) {
	s := redistest.Start(t)
	r := newRig(t, s, Config{})
	own, err := New(Config{Client: r.client, Registry: r.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		own.Submit(ctx, &Message{Via: MQTT, Login: testID, Body: []byte(timeless(testID, i))}, func(v Verdict) {
			if v.Outcome != Stored {
				t.Errorf("%+v", v)
			}
			wg.Done()
		})
	}
	cancel()
	if err := own.Run(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if n := len(r.stored(0)); n != 50 {
		t.Errorf("stored %d, want 50", n)
	}
}
