package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTrimmed: more comes in than is kept, while one session is away and another
// stalls. A warning comes first. Back, each is told exactly what it missed, in
// its place in the order, and is given the rest.
func TestTrimmed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const kept = 400
	n := s.serve("--uplinks-max", fmt.Sprint(kept))
	list := s.devices(0, fleetSize, nil)
	a := s.app("slow", []string{"uplink.read"})
	all := newDiary("the neighbour")
	s.follow(n, login{app: s.app("quick", []string{"uplink.read"}), clientID: "quick"}, all, "uplinks/#")

	away := login{app: a, clientID: "away", expiry: 3600}
	diaries := []*diary{newDiary("the one that was away"), newDiary("the one that stalled")}
	first, stalled := s.open(n, away), s.open(n, login{app: a, clientID: "stalled", expiry: 3600, window: 8})
	first.mustSubscribe("uplinks/#")
	stalled.mustSubscribe("uplinks/#")
	const before = 5
	s.flood(n.addr("mqtt"), list, 0, before)
	for i, c := range []*client{first, stalled} {
		upTo := func(m delivery) bool { diaries[i].note(m); return diaries[i].count() == before*fleetSize }
		if err := c.read(5*time.Second, upTo); err != nil {
			t.Fatalf("%s: %v", diaries[i].name, err)
		}
	}
	first.leave()
	// Nine tenths of what is kept: it is time to warn, and nothing is lost yet.
	s.flood(n.addr("mqtt"), list, before, kept*9/10/fleetSize)
	eventually(t, 25*time.Second, "a warning of both", func() bool {
		return s.event("session", "slow/away", "behind") != nil && s.event("session", "slow/stalled", "behind") != nil
	})
	if s.event("session", "quick/quick", "behind") != nil {
		t.Error("a warning of a session that has read all")
	}
	const more = 400
	s.flood(n.addr("mqtt"), list, before+kept*9/10/fleetSize, more)
	total := (before + kept*9/10/fleetSize + more) * fleetSize
	passed(t, all, 10*time.Second, total)

	back := s.open(n, away)
	if !back.present {
		t.Error("the session is not there")
	}
	for i, c := range []*client{back, stalled} {
		d := diaries[i]
		err := c.read(10*time.Second, func(m delivery) bool {
			d.note(m)
			return d.has(all.last())
		})
		if err != nil {
			t.Errorf("%s: after %d and gaps %+v: %v", d.name, d.count(), d.gaps, err)
		}
		d.complete(t, all)
	}
	for _, id := range []string{"slow/away", "slow/stalled"} {
		eventually(t, 5*time.Second, "an event of the gap of "+id, func() bool { return s.event("gap", id, "missed") != nil })
	}
	// A gap is told once.
	back.leave()
	if again := s.open(n, away); !again.present {
		t.Error("the session is not there")
	} else if d, err := again.take(300 * time.Millisecond); err != errQuiet {
		t.Errorf("it is told again: %s %s, %v", d.topic, d.payload, err)
	}
}

// event finds an event about a session in the events stream; nil: there is none.
func (s *site) event(kind, id, state string) map[string]any {
	s.Helper()
	for _, e := range s.stored("events") {
		if e.Values["kind"] == kind && e.Values["id"] == id && e.Values["state"] == state {
			return e.Values
		}
	}
	return nil
}

// last is the id of the last uplink that came.
func (d *diary) last() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.got) == 0 {
		return ""
	}
	return d.got[len(d.got)-1]
}

// complete wants what was received and what the gaps name to be all that another
// has, each once, the gaps exact.
func (d *diary) complete(t *testing.T, of *diary) {
	t.Helper()
	of.mu.Lock()
	all := slices.Clone(of.got)
	of.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.gaps) == 0 {
		t.Errorf("%s was told of no gap; it has %d of %d", d.name, len(d.got), len(all))
	}
	times := map[string]int{}
	for _, id := range d.got {
		times[id]++
	}
	for _, g := range d.gaps {
		missed := 0
		for _, id := range all {
			if idBefore(g.From, id) && !idBefore(g.To, id) {
				missed++
				times[id]++
			}
		}
		if g.Kind != "gap" || g.Stream != "uplinks" || g.Count == nil || *g.Count != missed {
			t.Errorf("%s: gap %s, and %d lie in it", d.name, g, missed)
		}
		if !slices.Contains(all, g.From) {
			t.Errorf("%s: gap %s begins behind no entry", d.name, g)
		}
	}
	wrong := 0
	for i, id := range all {
		if times[id] != 1 {
			if wrong++; wrong <= 5 {
				t.Errorf("%s: entry %d of %d, %s, came %d times", d.name, i, len(all), id, times[id])
			}
		}
	}
	if len(times) != len(all) || !slices.IsSortedFunc(d.got, func(a, b string) int {
		if idBefore(a, b) {
			return -1
		}
		return 1
	}) {
		t.Errorf("%s: %d came or were missed, %d there are; or the order is not the stream's", d.name, len(times), len(all))
	}
	t.Logf("%s was given %d of %d, and told of %v", d.name, len(d.got), len(all), d.gaps)
}

func (g gap) String() string {
	count := "?"
	if g.Count != nil {
		count = fmt.Sprint(*g.Count)
	}
	return fmt.Sprintf("of %s behind %s up to %s: %s", g.Stream, g.From, g.To, count)
}

// idBefore compares stream ids.
func idBefore(a, b string) bool {
	pad := func(id string) string {
		ms, seq, _ := strings.Cut(id, "-")
		return fmt.Sprintf("%020s-%020s", ms, seq)
	}
	return pad(a) < pad(b)
}
