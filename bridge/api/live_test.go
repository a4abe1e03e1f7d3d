package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
)

func TestLiveShowsWhatComes(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.uplink(imei1, 0) // of before
		l := a.live(adminKey, "", "")
		if ct := l.header.Get("Content-Type"); ct != "text/event-stream" {
			t.Errorf("Content-Type %q", ct)
		}
		l.expect("uplink", a.uplink(imei1, 1))
		l.expect("reject", a.add(rejects, "", "reason", "not-json"))
		l.expect("event", a.add(events, imei1, "kind", "presence", "state", "online"))
		l.expect("uplink", a.uplink(imei1, 2), a.uplink(imei2, 3))
	})
}

func TestLiveOfOneStreamHasStreamIDs(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	l := a.live(adminKey, "?kind=uplinks", "")
	a.add(rejects, "", "reason", "not shown")
	id := a.uplink(imei1, 1)
	if m := l.expect("uplink", id); m.id != id {
		t.Errorf("id %q, want %q", m.id, id)
	}
}

func TestLiveGoesOnBehindLastEventID(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for name, options := range map[string][]option{"1 partition": nil, "4 partitions": {partitions(4)}} {
			t.Run(name, func(t *testing.T) {
				a := start(t, server, options...)
				if err := a.client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				l := a.live(adminKey, "", "")
				l.expect("uplink", a.uplink(imei1, 1))
				l.expect("reject", a.add(rejects, imei2, "reason", "x"))
				last := l.expect("uplink", a.uplink(uuid1, 2))
				l.cancel()
				// Each stream goes on from its own place: ids do not order streams.
				up, rej, ev := a.uplink(imei1, 3), a.add(rejects, imei2, "reason", "y"), a.add(events, uuid1, "kind", "sms", "state", "FAILED")
				l = a.live(adminKey, "", last.id)
				got := map[string]bool{}
				for range 3 {
					m, _ := l.next()
					got[m.event] = true
					for _, id := range []string{up, rej, ev} {
						if strings.Contains(m.data, `"id":"`+id+`"`) {
							got[id] = true
						}
					}
				}
				if !got[up] || !got[rej] || !got[ev] || !got["uplink"] || !got["reject"] || !got["event"] {
					t.Errorf("got %v", got)
				}
				l.expect("uplink", a.uplink(imei1, 4))
			})
		}
	})
}

// Entries of the same millisecond in different streams have ids that do not
// tell which came first: one id as position would lose one.
func TestLiveLosesNothingOfOneMillisecond(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	xadd := func(k stream.Kind, id string) {
		t.Helper()
		if err := a.client.Do(t.Context(), "XADD", a.keys.Key(0, string(k)), id, "device", imei1, "pack", "[]").Err(); err != nil {
			t.Fatal(err)
		}
	}
	l := a.live(adminKey, "?kind=uplinks,rejects&after=0", "")
	xadd(uplinks, "1000-5")
	last := l.expect("uplink", "1000-5")
	l.cancel()
	xadd(rejects, "1000-0")
	a.live(adminKey, "?kind=uplinks,rejects", last.id).expect("reject", "1000-0")
}

func TestLiveFilters(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t), partitions(2))
	l := a.live(adminKey, "?device="+strings.ToLower(imei1)+"&kind=uplinks,events", "")
	a.uplink(imei2, 1)
	a.add(rejects, imei1, "reason", "x")
	l.expect("uplink", a.uplink(imei1, 2))
	a.add(events, imei2, "kind", "sms")
	l.expect("event", a.add(events, imei1, "kind", "sms"))
}

// A slow client is read for at its own pace: it misses nothing, and what it
// does not take stays in Redis.
func TestLiveSlowClientLosesNothing(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	l := a.slowLive(adminKey, "?kind=uplinks", "")
	const n = 3000
	big := `[{"n":"x","vs":"` + strings.Repeat("x", 8000) + `"}]` // 24 MB in all: more than the sockets take
	want := make([]string, n)
	for i := range want {
		want[i] = a.add(uplinks, imei1, "via", "http", "pack", big)
	}
	if sent := a.settledMetric(`m2mbridge_api_live_sent_total{type="uplink"}`); sent == 0 || sent > n*3/4 {
		t.Errorf("%v of %d were sent to a client that takes nothing", sent, n)
	}
	close(l.gate)
	l.expect("uplink", want...)
}

// settledMetric reads a metric until it has stopped growing for two looks.
func (a *testAPI) settledMetric(name string) float64 {
	a.t.Helper()
	last, same := -1.0, 0
	for ticks := time.Tick(pollEvery); same < 2; <-ticks {
		value := a.metric(name)
		if same++; value != last || value == 0 {
			last, same = value, 0
		}
	}
	return last
}

func (a *testAPI) metric(name string) float64 {
	a.t.Helper()
	for line := range strings.Lines(string(a.want(http.StatusOK, "", "GET", "/metrics", "", nil).body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				a.t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

func TestLiveTellsAGap(t *testing.T) {
	a := start(t, redistest.Start(t))
	first := a.uplink(imei1, 1)
	for i := range 5 {
		a.uplink(imei1, i)
	}
	last := a.uplink(imei1, 7)
	a.trim(1)
	l := a.live(adminKey, "?kind=uplinks", first)
	m, _ := l.next()
	if want := `{"kind":"uplinks","after":"` + first + `","next":"` + last + `","from":"` + first + `","to":"` + before(t, last) + `","count":-1}`; m.event != "gap" || m.data != want {
		t.Errorf("got %+v, want gap %s", m, want)
	}
	l.expect("uplink", last)
}

// Of a stream that is empty by now the gap is told as well, once.
func TestLiveTellsAGapOfNothingLeft(t *testing.T) {
	a := start(t, redistest.Start(t))
	l := a.live(adminKey, "?kind=uplinks", "")
	first := a.uplink(imei1, 0)
	l.expect("uplink", first)
	l.cancel()
	last := a.uplink(imei1, 1)
	a.trim(0)
	l = a.live(adminKey, "?kind=uplinks", first)
	m, _ := l.next()
	if want := `{"kind":"uplinks","after":"` + first + `","next":"` + last + `","from":"` + first + `","to":"` + last + `","count":-1}`; m.event != "gap" || m.data != want || m.id != last {
		t.Errorf("got %+v, want gap %s", m, want)
	}
	l.expect("uplink", a.uplink(imei1, 2))
}

// before is the greatest id below one.
func before(t *testing.T, id string) string {
	t.Helper()
	parsed, err := stream.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Prev().String()
}

func (a *testAPI) trim(n int64) {
	a.t.Helper()
	if err := a.client.XTrimMaxLen(a.t.Context(), a.keys.Key(0, "uplinks"), n).Err(); err != nil {
		a.t.Fatal(err)
	}
}

// Old entries of a quiet stream go of age without anybody missing one.
func TestLiveTellsNoGapOfAQuietStream(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.uplink(imei1, 0)
	f := newFollower(stream.NewReader(a.client, a.keys), nil, []stream.Kind{uplinks}, []int{0})
	if err := f.seekEnd(t.Context(), stream.Cursor{}); err != nil {
		t.Fatal(err)
	}
	read := func() batch {
		t.Helper()
		b, err := f.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.settle(&b)
		return b
	}
	a.trim(0)
	a.uplink(imei1, 1)
	a.uplink(imei1, 2)
	if b := read(); len(b.gaps) != 0 || len(b.entries) != 2 {
		t.Errorf("after the start: %+v", b)
	}
	read() // quiet
	a.trim(0)
	a.uplink(imei1, 3)
	if b := read(); len(b.gaps) != 0 || len(b.entries) != 1 {
		t.Errorf("later: %+v", b)
	}
	a.uplink(imei1, 4)
	a.trim(0)
	a.uplink(imei1, 5)
	if b := read(); len(b.gaps) != 1 || len(b.entries) != 1 {
		t.Errorf("an entry was lost and no gap told: %+v", b)
	}
}

func TestLiveEndsWithTheServer(t *testing.T) {
	a := start(t, redistest.Start(t))
	l := a.live(adminKey, "", "")
	began := time.Now()
	a.stop()
	if _, ok := l.next(); ok {
		t.Error("a message came")
	}
	a.awaitStop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

func TestLiveEndsWithItsApp(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	key := a.app("soon-gone", "uplink.read")
	l := a.live(key, "", "")
	l.expect("uplink", a.uplink(imei1, 1))
	a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/apps/soon-gone", "", nil)
	if m, ok := l.next(); ok {
		t.Errorf("a message came: %+v", m)
	}
}

func TestLiveWaitsForRedis(t *testing.T) {
	a := start(t, redistest.Start(t, redistest.AppendOnly()))
	l := a.live(adminKey, "?kind=uplinks", "")
	l.expect("uplink", a.uplink(imei1, 1))
	a.redis.Kill()
	a.want(http.StatusServiceUnavailable, adminKey, "GET", "/v1/uplinks", "", nil)
	a.want(http.StatusServiceUnavailable, adminKey, "GET", "/readyz", "", nil)
	a.want(http.StatusOK, "", "GET", "/livez", "", nil)
	a.redis.Restart()
	l.expect("uplink", a.uplink(imei1, 2))
	a.want(http.StatusOK, "", "GET", "/readyz", "", nil)
}

func TestLiveHasPlacesForSoMany(t *testing.T) {
	a := start(t, redistest.Start(t), func(c *Config) { c.MaxLive = 1 })
	l := a.live(adminKey, "", "")
	if got := a.call(adminKey, "GET", "/v1/live", ""); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d", got.status)
	}
	l.cancel()
	for {
		// The place is free when the server has noticed.
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/v1/live", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+adminKey)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
}

// One app cannot shut the others out, not even admin.
func TestLiveHasAShareForEachApp(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t), func(c *Config) { c.MaxLive = 6 })
	key := a.app("greedy", "uplink.read")
	var open []*live
	for range 4 {
		open = append(open, a.live(key, "", ""))
	}
	got := a.call(key, "GET", "/v1/live", "")
	a.expect(got, http.StatusTooManyRequests, "app greedy has its share of clients of /v1/live at this node, which is 4")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	a.live(adminKey, "", "")
	open[0].cancel()
	for deadline := time.Now().Add(10 * time.Second); a.call(key, "HEAD", "/v1/live", "").status != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the place is not given back")
		}
	}
	a.live(adminKey, "", "")
	a.live(adminKey, "", "")
	a.expect(a.call(adminKey, "GET", "/v1/live", ""), http.StatusServiceUnavailable, "6 of all apps")
}

// A nudge is as good as a look: the message comes well before the next one.
func TestLiveIsNudged(t *testing.T) {
	var mu sync.Mutex
	grown := make(chan struct{})
	a := start(t, redistest.Start(t), func(c *Config) {
		c.Changed = func() <-chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			return grown
		}
	})
	l := a.live(adminKey, "", "")
	best := pollEvery
	for i := range 5 {
		began := time.Now()
		id := a.uplink(imei1, i)
		mu.Lock()
		close(grown)
		grown = make(chan struct{})
		mu.Unlock()
		l.expect("uplink", id)
		best = min(best, time.Since(began))
	}
	if best > pollEvery/5 {
		t.Errorf("the fastest of five took %v", best)
	}
}
