package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// TestFrozenSubscriber: an app stops reading while much comes in. Neither the
// devices nor another app notice. When it reads again it is told what it
// missed, which is there on the API: nothing is lost, nothing comes twice.
func TestFrozenSubscriber(t *testing.T) {
	slow(t)
	need(t, "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	list := s.devices(0, fleetSize, nil)
	witness := s.witness(n, "witness")
	frozen := s.subscribe(n, v5, s.app("frozen", []string{"uplink.read"}), []string{"uplinks/#"})
	fleets := s.startFleets(n, n)
	eventually(t, 10*time.Second, "the app gets something", func() bool { return len(frozen.messages()) > 0 })
	frozen.signal(syscall.SIGSTOP)
	fleets.acknowledged(1500)
	fleets.stop()
	frozen.signal(syscall.SIGCONT)
	eventually(t, 10*time.Second, "the app is told of a gap", func() bool { return len(frozen.on("events/gap")) > 0 })
	last := fleet.Number{Device: list[0].ID, N: 1 << 30}
	s.postQuickly(n, list[0], pack(list[0], 1800000000, "number", last.N))
	frozen.await(fmt.Sprint(last.N))
	stored := s.numbered()
	fleets.hold(stored)
	witness.hold(stored)
	if witness.gaps > 0 {
		t.Errorf("the other app was told of %d gaps", witness.gaps)
	}
	s.whole(frozen)
}

// whole wants what an app received, and what its gaps name, to be the stream
// from its first message on, each entry once.
func (s *site) whole(l *listener) {
	s.Helper()
	seen, first := map[string]int{}, ""
	for _, m := range l.messages() {
		if id, ok := strings.CutPrefix(m.properties, "id:"); ok {
			seen[id]++
			if first == "" {
				first = id
			}
		}
	}
	received := len(seen)
	for _, m := range l.on("events/gap") {
		var gap struct {
			Kind, From, To string
			Count          int
		}
		if err := json.Unmarshal([]byte(m.payload), &gap); err != nil || gap.Kind != "gap" || gap.Count == 0 {
			s.Fatalf("gap %s: %v", m.payload, err)
		}
		missed := s.between(gap.From, gap.To)
		if len(missed) != gap.Count {
			s.Errorf("gap %s, but the API has %d from there to there", m.payload, len(missed))
		}
		for _, id := range missed {
			seen[id]++
		}
	}
	begun := false
	for _, e := range s.stored("uplinks") {
		if begun = begun || e.ID == first; begun && seen[e.ID] != 1 {
			s.Errorf("entry %s came %d times", e.ID, seen[e.ID])
		}
	}
	s.Logf("the app received %d and was told of %d more", received, len(seen)-received)
}

// between reads the ids from one to another, both included, from the API.
func (s *site) between(from, to string) (ids []string) {
	s.Helper()
	for after := "0"; ; {
		var p page
		answer := s.call(http.MethodGet, "/v1/uplinks?limit=1000&after="+after, nil, http.StatusOK)
		if err := json.Unmarshal(answer, &p); err != nil {
			s.Fatal(err)
		}
		for _, u := range p.Items {
			if u.ID == from || len(ids) > 0 {
				ids = append(ids, u.ID)
			}
			if u.ID == to {
				return ids
			}
		}
		if after = p.Cursor; !p.More {
			return ids
		}
	}
}
