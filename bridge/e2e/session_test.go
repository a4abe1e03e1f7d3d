package e2e_test

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// keptSession is a session as the API shows it.
type keptSession struct {
	App, ClientID, Expiry, Version string
	Connected                      bool
	SeenAt                         time.Time
	Subscriptions                  []struct {
		Filter string
		QoS    int
	}
	InFlight int
	Lag      struct {
		Entries *int
		Seconds float64
	}
	Streams []struct{ Stream, Cursor string }
}

// sessions are those that the API lists.
func (s *site) sessions(n *node) (list []keptSession) {
	s.Helper()
	for cursor := ""; ; {
		var p struct {
			Items  []keptSession
			Cursor string
		}
		s.admin(n, "/v1/sessions?limit=2&cursor="+url.QueryEscape(cursor)).read(s.T, 200, &p)
		list = append(list, p.Items...)
		if cursor = p.Cursor; cursor == "" {
			return list
		}
	}
}

// session finds one, nil: there is none.
func (s *site) session(n *node, app, clientID string) *keptSession {
	s.Helper()
	for _, k := range s.sessions(n) {
		if k.App == app && k.ClientID == clientID {
			return &k
		}
	}
	return nil
}

// TestSessionsListed: what an operator sees of sessions, connected and away, on
// either node.
func TestSessionsListed(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	nodes := []*node{s.serve("--session-expiry", "2h"), s.serve("--session-expiry", "2h")}
	list := s.devices(0, 5, nil)
	a, b := s.app("alpha", []string{"uplink.read"}), s.app("beta", []string{"uplink.read"})
	away := s.open(nodes[0], login{app: a, clientID: "away/1 ü", expiry: 600})
	away.mustSubscribe("uplinks/#", "uplinks/IMEI/+")
	away.leave()
	greedy := s.open(nodes[1], login{app: b, clientID: "greedy", expiry: 1<<32 - 1})
	if greedy.expiry == nil || *greedy.expiry != 7200 {
		t.Errorf("a session for ever is granted for %v seconds, want 7200", greedy.expiry)
	}
	greedy.mustSubscribe("uplinks/#")
	s.open(nodes[1], login{app: b, clientID: "passing", clean: true}).mustSubscribe("uplinks/#")
	const each = 5
	s.flood(nodes[0].addr("mqtt"), list, 0, each)
	for _, n := range nodes {
		if got := s.sessions(n); len(got) != 3 || got[0].ClientID != "away/1 ü" || got[1].ClientID != "greedy" || got[2].ClientID != "passing" {
			t.Fatalf("listed %+v", got)
		}
		got := s.session(n, "alpha", "away/1 ü")
		if got.Connected || got.Lag.Entries == nil || *got.Lag.Entries != each*len(list) || got.Expiry != "10m0s" || got.Version != "5" {
			t.Errorf("away: %+v", got)
		}
		if got := s.session(n, "beta", "greedy"); !got.Connected || got.Expiry != "2h0m0s" || len(got.Subscriptions) != 1 || got.Subscriptions[0].Filter != "uplinks/#" {
			t.Errorf("connected: %+v", got)
		}
	}
	var one keptSession
	s.admin(nodes[1], "/v1/sessions/alpha/away%2F1%20%C3%BC").read(t, 200, &one)
	if len(one.Subscriptions) != 2 || len(one.Streams) != 1 || one.Streams[0].Stream != "uplinks" || *one.Lag.Entries != 25 {
		t.Errorf("got %+v", one)
	}
	s.admin(nodes[1], "/v1/sessions/alpha/nobody").read(t, 404, nil)
	s.as(a, nodes[1], "/v1/sessions").read(t, 403, nil)
	out := s.mustCLI(nodes[0], "", "session", "list")
	if !strings.Contains(out, "alpha/away/1 ü") || !strings.Contains(out, "25, ") || !strings.Contains(out, "away") || !strings.Contains(out, "beta/greedy") {
		t.Errorf("session list:\n%s", out)
	}
	if out := s.mustCLI(nodes[0], "", "session", "list", "--app", "beta", "--json"); strings.Count(out, "\n") != 2 || strings.Contains(out, "alpha") {
		t.Errorf("session list --app beta --json:\n%s", out)
	}
	if out := s.mustCLI(nodes[0], "", "session", "get", "alpha/away/1 ü"); !strings.Contains(out, "uplinks/IMEI/+ (QoS 1)") || !strings.Contains(out, "25, ") {
		t.Errorf("session get:\n%s", out)
	}
	if code, _, errs := s.cli(nodes[0], "", "session", "get", "alpha/nobody"); code != 1 || !strings.Contains(errs, "alpha/nobody") {
		t.Errorf("session get of none: exit code %d: %s", code, errs)
	}
	// Read, it is behind no more.
	back := s.open(nodes[1], login{app: a, clientID: "away/1 ü", expiry: 600})
	d := newDiary("it")
	if err := back.read(5*time.Second, func(m delivery) bool { d.note(m); return d.count() == each*len(list) }); err != nil {
		t.Errorf("after %d: %v", d.count(), err)
	}
	back.leave()
	eventually(t, 5*time.Second, "it has read all", func() bool {
		got := s.session(nodes[0], "alpha", "away/1 ü")
		return got != nil && !got.Connected && got.Lag.Entries != nil && *got.Lag.Entries == 0
	})
}

// TestSessionRemoved: an operator removes sessions, one connected and one away;
// the former's client is cut, and neither is found again.
func TestSessionRemoved(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, 1, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	here, away := login{app: a, clientID: "here", expiry: 600}, login{app: a, clientID: "away", expiry: 600}
	c := s.open(nodes[0], here)
	c.mustSubscribe("uplinks/#")
	gone := s.open(nodes[0], away)
	gone.mustSubscribe("uplinks/#")
	gone.leave()
	s.mustCLI(nodes[1], "", "session", "remove", "dashboard/here")
	if code, took := c.ended(5 * time.Second); code != 0x98 || took > 3*time.Second {
		t.Errorf("cut with code %#02x after %s, want 0x98 within a second or so", code, took)
	}
	s.mustCLI(nodes[1], "", "session", "remove", "dashboard/away")
	if code, _, errs := s.cli(nodes[1], "", "session", "remove", "dashboard/away"); code != 1 || !strings.Contains(errs, "dashboard/away") {
		t.Errorf("removed twice: exit code %d: %s", code, errs)
	}
	if got := s.sessions(nodes[0]); len(got) != 0 {
		t.Errorf("still there: %+v", got)
	}
	s.flood(nodes[0].addr("mqtt"), list, 0, 5)
	for _, l := range []login{here, away} {
		c := s.open(nodes[1], l)
		if c.present {
			t.Errorf("%s is present after it was removed", l.clientID)
		}
		if d, err := c.take(200 * time.Millisecond); err != errQuiet {
			t.Errorf("%s is given %+v, %v", l.clientID, d, err)
		}
	}
}

// TestSessionEnds: a session lasts as long as its client asked for, and no longer.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	a := s.app("dashboard", []string{"uplink.read"})
	short, long, none := login{app: a, clientID: "short", expiry: 2}, login{app: a, clientID: "long", expiry: 600}, login{app: a, clientID: "none"}
	for _, l := range []login{short, long, none} {
		c := s.open(nodes[0], l)
		if c.present {
			t.Errorf("%s: present at its first login", l.clientID)
		}
		c.mustSubscribe("uplinks/#")
		c.leave()
	}
	// Not over yet; it begins anew with each connection.
	c := s.open(nodes[1], short)
	if !c.present {
		t.Error("short: gone at once")
	}
	c.leave()
	if c := s.open(nodes[1], none); c.present {
		t.Error("none: a session without expiry is present")
	} else {
		c.leave()
	}
	eventually(t, 15*time.Second, "the short one is forgotten", func() bool { return s.session(nodes[0], "dashboard", "short") == nil })
	if s.session(nodes[0], "dashboard", "none") != nil {
		t.Error("a session without expiry is kept")
	}
	for _, l := range []login{short, long} {
		if c := s.open(nodes[0], l); c.present != (l.clientID == "long") {
			t.Errorf("%s: present %v", l.clientID, c.present)
		}
	}
	// A clean start forgets.
	long.clean = true
	if c := s.open(nodes[1], long); c.present {
		t.Error("present after a clean start")
	} else {
		c.leave()
	}
	long.clean = false
	c = s.open(nodes[1], long)
	if d, err := c.take(200 * time.Millisecond); !c.present || err != errQuiet {
		t.Errorf("after a clean start: present %v, %+v, %v", c.present, d, err)
	}
}

// TestSessionTakenOver: the same client id logs in on another node, and the connection
// that had the session is told and closed; what it had not acknowledged comes to
// the new one, and all that follows.
func TestSessionTakenOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, 1, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	for name, l := range map[string]login{"kept": {app: a, clientID: "kept", expiry: 600}, "passing": {app: a, clientID: "passing"}} {
		t.Run(name, func(t *testing.T) {
			first := s.open(nodes[0], l)
			first.mustSubscribe("uplinks/#")
			s.post(nodes[0], list[0], pack(list[0], 0, "before", 1)).accepted(t)
			m, err := first.take(5 * time.Second) // not acknowledged
			if err != nil {
				t.Fatal(err)
			}
			second := s.open(nodes[1], l)
			if code, took := first.ended(5 * time.Second); code != 0x8e || took > 3*time.Second {
				t.Errorf("the first connection ended with code %#02x after %s, want 0x8e within two seconds or so", code, took)
			}
			if second.present != (l.expiry > 0) {
				t.Errorf("present %v", second.present)
			}
			if l.expiry == 0 {
				return
			}
			again, err := second.take(5 * time.Second)
			if err != nil || again.id != m.id {
				t.Errorf("the second connection is given %+v, %v; want %s again", again, err, m.id)
			}
			second.ack(again)
			second.flush()
			s.post(nodes[0], list[0], pack(list[0], 0, "behind", 1)).accepted(t)
			if next, err := second.take(5 * time.Second); err != nil || !strings.Contains(string(next.payload), "behind") {
				t.Errorf("then %+v, %v", next, err)
			}
		})
	}
}

// TestUnacknowledgedComesAgain: a node dies while its client has read far ahead
// of what it has not acknowledged. The client comes back elsewhere, leaves in
// order before it is as far again, and comes back once more: all from the first
// message that was not acknowledged comes again, and that is not forgotten for
// what the node that died had sent.
func TestUnacknowledgedComesAgain(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, 1, nil)
	l := login{app: s.app("dashboard", []string{"uplink.read"}), clientID: "one", expiry: 600, window: 20}
	c := s.open(nodes[1], l)
	c.mustSubscribe("uplinks/#")
	const total, early, late = 300, 5, 200
	s.flood(nodes[0].addr("mqtt"), list, 0, total)
	ids := s.entries()
	for i := range total {
		d, err := c.take(5 * time.Second)
		if err != nil || d.id != ids[i].id {
			t.Fatalf("message %d: %+v, %v", i, d, err)
		}
		if i != early && i != late {
			c.ack(d)
		}
	}
	c.flush()
	done := time.Now().Add(50 * time.Millisecond)
	eventually(t, 10*time.Second, "the session is kept as it is", func() bool {
		return s.session(nodes[0], "dashboard", "one").SeenAt.After(done)
	})
	nodes[1].kill()
	acked := map[string]bool{}
	visit := func(until int) {
		t.Helper()
		c := s.open(nodes[0], l)
		if !c.present {
			t.Error("the session is not there")
		}
		for {
			d, err := c.take(time.Second)
			if err != nil {
				break
			}
			acked[d.id] = true
			if c.ack(d); d.id == ids[until].id {
				break
			}
		}
		c.leave()
	}
	visit(early + 10)
	visit(total - 1)
	for _, i := range []int{early, early + 1, late} {
		if !acked[ids[i].id] {
			t.Errorf("message %d was not acknowledged, and did not come again", i)
		}
	}
	visit(total - 1) // nothing is left
	if want := total - early; len(acked) != want {
		t.Errorf("%d came again, want all %d from the first that was not acknowledged", len(acked), want)
	}
}
