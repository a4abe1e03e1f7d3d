package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// TestFrozenSubscriber: an app of QoS 1, a mosquitto_sub, stops while much comes
// in. Neither the devices nor another app notice. When it goes on it is given all
// of it, each message once, and is told of no gap.
func TestFrozenSubscriber(t *testing.T) {
	slow(t)
	need(t, "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	s.devices(0, fleetSize, nil)
	witness := s.witness(n, "witness")
	frozen := s.subscribe(n, v5, s.app("frozen", []string{"uplink.read"}), []string{"uplinks/#"})
	fleets := s.startFleets(n, n)
	eventually(t, 10*time.Second, "the app gets something", func() bool { return len(frozen.messages()) > 0 })
	frozen.signal(syscall.SIGSTOP)
	fleets.acknowledged(700)
	frozen.signal(syscall.SIGCONT)
	fleets.acknowledged(100)
	fleets.stop()
	stored := s.entries()
	fleets.hold(numbersOf(stored))
	witness.hold(numbersOf(stored))
	if witness.gaps > 0 {
		t.Errorf("the other app was told of %d gaps", witness.gaps)
	}
	eventually(t, 20*time.Second, "the app has all", func() bool { return len(frozen.messages()) >= len(stored) })
	d := newDiary("the frozen app")
	for _, m := range frozen.messages() {
		d.note(delivery{topic: m.topic, id: strings.TrimPrefix(m.properties, "id:"), payload: []byte(m.payload)})
	}
	d.once(t, stored)
}

// TestFrozenAtQoS0: an app of QoS 0 stops reading while more comes in than is
// kept at hand. Another app does not notice. It goes on in the present, and is
// told how much it missed, and where, which is there on the API: nothing comes
// twice.
func TestFrozenAtQoS0(t *testing.T) {
	t.Parallel()
	slow(t)
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	list := s.devices(0, 4, nil)
	all, d := newDiary("the other app"), newDiary("the frozen app")
	s.follow(n, login{app: s.app("other", []string{"uplink.read"}), clientID: "other", clean: true}, all, "uplinks/#")
	frozen := s.open(n, login{app: s.app("frozen", []string{"uplink.read"}), clientID: "frozen", clean: true, buffer: 16 << 10})
	if codes := frozen.subscribe(0, "", "uplinks/#"); len(codes) != 1 || codes[0] != 0 {
		t.Fatalf("SUBACK %#x", codes)
	}
	const bulky = 2500
	load, err := fleet.NewLoad(fleet.LoadConfig{Via: fleet.MQTT, Addr: n.addr("mqtt"), Devices: list, Window: 16, Count: bulky,
		Pack: func(dst []byte, id string, seq uint64, _ time.Time) []byte {
			return fmt.Appendf(dst, `[{"bn":"urn:dev:%s:","bt":%d,"n":"text","vs":"%s"}]`, id, 1700000000+seq, strings.Repeat("m", 4<<10))
		}})
	if err != nil {
		t.Fatal(err)
	}
	if r := load.Run(t.Context()); r.Accepted != bulky {
		t.Fatalf("%d accepted, failed: %v", r.Accepted, r.Failed)
	}
	passed(t, all, 10*time.Second, bulky)
	// Once it reads again it comes to the present, and is told what it missed up
	// to there; and then what is new is for it.
	present := all.last()
	for _, last := range []string{present, ""} {
		if last == "" {
			s.send(n, list[0], pack(list[0], 0, "new", 1))
			passed(t, all, 5*time.Second, bulky+1)
			last = all.last()
		}
		err := frozen.read(30*time.Second, func(m delivery) bool { d.note(m); return d.has(last) || d.toldUpTo(last) })
		if err != nil {
			t.Fatalf("after %d, gaps %v: %v", d.count(), d.gaps, err)
		}
	}
	if !d.has(all.last()) {
		t.Error("it missed what came when it read again")
	}
	d.complete(t, all)
	for _, g := range d.gaps {
		if got := s.pagesBetween(n, g.From, g.To); g.Count == nil || len(got) != *g.Count {
			t.Errorf("gap %s, but the API has %d there", g, len(got))
		}
	}
	eventually(t, 5*time.Second, "an event of the gap", func() bool { return s.event("gap", "frozen/frozen", "missed") != nil })
}

// toldUpTo tells whether an id lies in a gap.
func (d *diary) toldUpTo(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.gaps, func(g gap) bool { return idBefore(g.From, id) && !idBefore(g.To, id) })
}

// pagesBetween reads the ids behind one up to another, included, from the API.
func (s *site) pagesBetween(n *node, from, to string) (ids []string) {
	s.Helper()
	for after := from; ; {
		var p page
		s.admin(n, "/v1/uplinks?limit=200&after="+after).read(s.T, http.StatusOK, &p)
		for _, u := range p.Items {
			if idBefore(to, u.ID) {
				return ids
			}
			ids = append(ids, u.ID)
		}
		if after = p.Cursor; !p.More {
			return ids
		}
	}
}
