package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// TestLostReplies: every commit's reply is lost once, and then the command
// itself. The program asks again within the device's second; nothing is stored
// twice, not even packs that no one could tell from a repeat.
func TestLostReplies(t *testing.T) {
	s := newSite(t, redistest.Config("appendonly", "no"))
	p := between(t, s.redis)
	n := s.serveOn(p.url())
	list := s.devices(0, 6, nil)
	const each = 25
	p.loseOnce(true)
	var senders sync.WaitGroup
	for i, d := range list {
		probe := &prober{t: t, site: s, node: n, d: d, acked: map[int]bool{}}
		send := probe.overHTTP(i == 0)
		if i >= 3 {
			probe.version = []string{v311, v5}[i%2]
			send = probe.overMQTT()
		}
		// No time in the pack: sent again by the device it would be a new uplink.
		probe.bodies = func(number int) string { return pack(d, 0, "timeless", number) }
		senders.Go(func() {
			for number := range each {
				send(number)
			}
			if got := acked(probe); got != each {
				t.Errorf("%s %s: %d of %d messages were acknowledged at the first try", d.ID, probe.version, got, each)
			}
		})
	}
	senders.Wait()
	p.loseOnce(false)
	if p.cuts.Load() < 2*each {
		t.Errorf("%d replies and commands were lost: the test tried little", p.cuts.Load())
	}
	entries := s.stored("uplinks")
	for _, d := range list {
		packs := s.packs(d)
		for number := range each {
			if got := len(holding(packs, fmt.Sprintf(`"v":%d}`, number))); got != 1 {
				t.Errorf("%s: message %d is stored %d times", d.ID, number, got)
			}
		}
	}
	t.Logf("%d lost, %d stored", p.cuts.Load(), len(entries))
}

// TestNoReplies: no commit is ever answered, though each is executed. Devices
// get their 503 within a second, and what they send again is stored once.
func TestNoReplies(t *testing.T) {
	need(t, "curl")
	slow(t)
	s := newSite(t)
	p := between(t, s.redis)
	n := s.serveOn(p.url())
	probers, stop := s.probe(n)
	all(t, probers, "acknowledged", 5, acked)
	d := s.device(0, nil)
	body := pack(d, 1700000000, "again", 1)
	p.cutAll.Store(true)
	all(t, probers[:2], "answered 503", 2, refused)
	eventually(t, 5*time.Second, "MQTT connections are closed", func() bool { return refused(probers[2]) > 0 && refused(probers[3]) > 0 })
	if r := s.post(n, d, body); r.status != 503 || r.took > answerLimit {
		t.Errorf("status %d after %s", r.status, r.took)
	}
	p.cutAll.Store(false)
	all(t, probers, "acknowledged", 5, acked)
	s.send(n, d, body)
	stop()
	s.settle(probers)
	if got := len(s.packs(d)); got != 1 {
		t.Errorf("stored %d times what was sent again after a 503", got)
	}
}

// TestBadLine: any reply of Redis, to whatever it was asked, may break its
// connection. Devices send on both edges meanwhile; an app hears all.
func TestBadLine(t *testing.T) {
	slow(t)
	s := newSite(t)
	p := between(t, s.redis)
	n := s.serveOn(p.url())
	s.devices(0, fleetSize, nil)
	witness := s.witness(n, "witness")
	fleets := s.startFleets(n, n)
	fleets.acknowledged(100)
	p.chance.Store(50)
	fleets.acknowledged(500)
	eventually(t, 20*time.Second, "the line was bad", func() bool { return p.cuts.Load() > 50 })
	p.chance.Store(0)
	fleets.stop()
	stored := s.numbered()
	fleets.hold(stored)
	witness.hold(stored)
	t.Logf("%d replies broke their connection", p.cuts.Load())
}
