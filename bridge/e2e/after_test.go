package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// halves stores two lots of uplinks, and gives the ids of all, and an instant
// between the two.
func (s *site) halves(n *node, list []fleet.Device, each int) (ids []string, between string) {
	s.Helper()
	s.flood(n.addr("mqtt"), list, 0, each)
	last := s.entries()[each*len(list)-1].id
	var now time.Time
	eventually(s.T, time.Second, "the next millisecond", func() bool {
		var err error
		if now, err = s.own.Time(context.Background()).Result(); err != nil {
			s.Fatal(err)
		}
		return idBefore(last, stampOf(now))
	})
	s.flood(n.addr("mqtt"), list, each, each)
	for _, e := range s.entries() {
		ids = append(ids, e.id)
	}
	return ids, now.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// stampOf is the first stream id of a millisecond.
func stampOf(t time.Time) string { return jsonOf(t.UnixMilli()) + "-0" }

func jsonOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// TestAfter: an app starts where it says, at a stream id or an instant: on MQTT,
// on the API and in tail; and goes on with what is live.
func TestAfter(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_sub", "curl")
	s := newSite(t)
	n := s.serve()
	list := s.devices(0, 2, nil)
	ids, instant := s.halves(n, list, 10)
	a := s.app("reader", []string{"uplink.read"})
	cases := map[string]struct {
		after string
		want  []string
	}{
		"id":      {ids[6], ids[7:]},
		"start":   {"0", ids},
		"end":     {ids[len(ids)-1], nil},
		"instant": {instant, ids[20:]},
	}
	listeners, tails := map[string]*listener{}, map[string]*background{}
	for name, c := range cases {
		listeners[name] = s.subscribe(n, v5, a, []string{"uplinks/#"}, "-D", "subscribe", "user-property", "after", c.after)
		tails[name] = startCommand(t, append(environment(), "M2M_KEY="+adminKey, "M2M_API_URL=http://"+n.addr("api")),
			"tail", "--json", "--kind", "uplinks", "--after", c.after)
		if got := s.pagesAfter(n, a, c.after); !slices.Equal(got, c.want) {
			t.Errorf("API, %s: got %v, want %v", name, got, c.want)
		}
	}
	for name, c := range cases { // what is live comes behind what was asked for
		eventually(t, 10*time.Second, "tail after "+name, func() bool { return len(tailed(tails[name])) >= len(c.want) })
	}
	// Where nothing is to come first, it cannot be seen from outside when a tail
	// has begun: its start is given, so that does not matter.
	s.flood(n.addr("mqtt"), list, 20, 1)
	live := s.entries()[len(ids):]
	for name, c := range cases {
		want := slices.Clone(c.want)
		for _, e := range live {
			want = append(want, e.id)
		}
		l := listeners[name]
		eventually(t, 10*time.Second, "messages after "+name, func() bool { return len(l.messages()) >= len(want) })
		var got []string
		for _, m := range l.messages() {
			got = append(got, strings.TrimPrefix(m.properties, "id:"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("MQTT, %s: got %v, want %v", name, got, want)
		}
		eventually(t, 10*time.Second, "tail after "+name, func() bool { return len(tailed(tails[name])) >= len(want) })
		if got := tailed(tails[name]); !slices.Equal(got, want) {
			t.Errorf("tail, %s: got %v, want %v", name, got, want)
		}
	}
	// What is no place is refused.
	c := s.open(n, login{app: a, clientID: "lost", clean: true})
	if codes := c.subscribe(1, "yesterday", "uplinks/#"); len(codes) != 1 || codes[0] != 0x83 {
		t.Errorf("after=yesterday: SUBACK %#x, want 0x83", codes)
	}
	if r := s.as(a, n, "/v1/uplinks?after=yesterday"); r.status != 422 {
		t.Errorf("after=yesterday: status %d, want 422", r.status)
	}
}

// pagesAfter reads the API from a place to the end.
func (s *site) pagesAfter(n *node, a app, after string) (ids []string) {
	s.Helper()
	for {
		var p page
		s.as(a, n, "/v1/uplinks?limit=7&after="+url.QueryEscape(after)).read(s.T, 200, &p)
		for _, u := range p.Items {
			ids = append(ids, u.ID)
		}
		if after = p.Cursor; !p.More {
			return ids
		}
	}
}

// tailed are the ids that tail --json has printed.
func tailed(b *background) (ids []string) {
	for line := range strings.Lines(b.out.String()) {
		var u struct{ ID string }
		if json.Unmarshal([]byte(line), &u) == nil && u.ID != "" {
			ids = append(ids, u.ID)
		}
	}
	return ids
}

// TestLiveResumed: a reader of GET /v1/live stops again and again, at either
// node, and goes on by Last-Event-ID: nothing is missing and nothing comes twice.
func TestLiveResumed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	random := seeded(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, fleetSize, nil)
	a := s.app("reader", []string{"uplink.read"})
	const total = 5000
	s.flood(nodes[0].addr("mqtt"), list, 0, 1)
	wait := beside(func() { s.flood(nodes[0].addr("mqtt"), list, 1, total/fleetSize-1) })
	var got []string
	last := "0"
	stops := 0
	for deadline := time.Now().Add(60 * time.Second); len(got) < total; stops++ {
		if time.Now().After(deadline) {
			t.Fatalf("after %d stops %d of %d", stops, len(got), total)
		}
		more := 1 + random.IntN(300)
		ids, id := s.listenFor(nodes[stops%2], a, last, more, total-len(got))
		got, last = append(got, ids...), id
	}
	wait()
	stored := s.entries()
	if len(got) != len(stored) {
		t.Errorf("%d came, %d are stored", len(got), len(stored))
	}
	for i, e := range stored {
		if i >= len(got) || got[i] != e.id {
			t.Fatalf("event %d of %d is not %s", i, len(got), e.id)
		}
	}
	t.Logf("%d events over %d connections", len(got), stops)
}

// listenFor takes so many live uplinks behind an event, and stops in the midst
// of what comes; at most what is left.
func (s *site) listenFor(n *node, a app, after string, more, left int) (ids []string, last string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr("api")+"/v1/live?kind=uplinks", nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	req.Header.Set("Last-Event-ID", after)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("/v1/live: status %d", resp.StatusCode)
	}
	last = after
	var event, id, uplink string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			var u struct{ ID string }
			if err := json.Unmarshal([]byte(value), &u); err != nil {
				s.Fatalf("event %s: %v", value, err)
			}
			uplink = u.ID
		case "": // the end of an event
			if event == "uplink" {
				ids = append(ids, uplink)
			} else if event != "" {
				s.Errorf("event %s", event)
			}
			if id != "" {
				last = id
			}
			event, id = "", ""
			if len(ids) >= min(more, left) {
				return ids, last
			}
		}
	}
	return ids, last // it was cut: the next goes on
}
