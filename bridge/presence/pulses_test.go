package presence

import (
	"context"
	"testing"
	"time"

	"m2mbridge/auth"
)

func (n *node) sweep() {
	n.w.Helper()
	n.flush()
	if err := n.sweepSilent(context.Background()); err != nil {
		n.w.Fatal(err)
	}
}

// A device of which little is known is online for a day.
func TestFirstUplink(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.hear(imei)
		n.flush()
		n.want(imei, "online", "http", "uplink")
		w.wait(firstAllowed - time.Second)
		n.sweep()
		n.want(imei, "online", "http", "uplink")
		w.wait(time.Second)
		n.sweep()
		n.want(imei, "offline", "http", "silent")
		n.hear(imei)
		n.sweep()
		n.want(imei, "online", "http", "uplink")
		same(w, "events", w.events(imei), "online uplink", "offline silent", "online uplink")
	})
}

// One that reports every ten minutes, to either of two nodes, may miss one; then
// it is silent, told once, whoever looks.
func TestCadence(t *testing.T) {
	on(t, func(w *world) {
		nodes := []*node{w.node("one"), w.node("two")}
		for i := range 20 {
			nodes[i%2].hear(imei)
			nodes[i%2].flush()
			w.wait(10 * time.Minute)
			nodes[0].sweep()
			nodes[0].want(imei, "online", "http", "uplink")
		}
		w.wait(14 * time.Minute) // 24 since the last
		nodes[1].sweep()
		nodes[1].want(imei, "online", "http", "uplink")
		w.wait(2 * time.Minute)
		nodes[1].sweep()
		nodes[0].sweep()
		nodes[0].want(imei, "offline", "http", "silent")
		same(w, "events", w.events(imei), "online uplink", "offline silent")
	})
}

// A device that slows down for good is found out after a few times; a single
// silence hardly counts.
func TestSlower(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		for range 10 {
			n.hear(imei)
			n.flush()
			w.wait(time.Minute)
		}
		w.wait(5 * time.Hour)
		n.hear(imei)
		n.sweep()
		w.wait(15 * time.Minute)
		n.sweep()
		n.want(imei, "offline", "http", "silent") // five hours have not become usual
		for range 30 {
			w.wait(2 * time.Hour)
			n.sweep()
			n.hear(imei)
			n.flush()
		}
		w.wait(2 * time.Hour)
		n.sweep()
		n.want(imei, "online", "http", "uplink")
	})
}

// Redis is told of a busy device now and then, and at once when it has been
// taken for offline.
func TestHold(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		writes := 0
		for range 600 {
			n.hear(imei)
			if n.pulses.waiting() > 0 {
				writes++
			}
			n.flush()
			w.wait(time.Second)
		}
		if writes < 20 || writes > 60 {
			w.Errorf("%d writes for 600 uplinks in ten minutes", writes)
		}
		n.pulses.tidy(w.clock().Add(time.Hour).UnixMilli())
		if held := n.pulses.held(); held != 0 {
			w.Errorf("%d holds are left", held)
		}
	})
}

// An MQTT session speaks for itself; when it has ended an uplink over HTTP counts.
func TestBothTransports(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.hear(imei)
		n.flush()
		n.Online(imei, 1)
		n.flush()
		n.want(imei, "online", "mqtt", "connected")
		w.wait(48 * time.Hour)
		n.sweep()
		n.hear(imei)
		n.flush()
		n.want(imei, "online", "mqtt", "connected")
		n.Offline(imei, 1, "connection lost")
		n.flush()
		n.want(imei, "offline", "mqtt", "connection lost")
		n.hear(imei)
		n.flush()
		n.want(imei, "online", "http", "uplink")
		same(w, "events", w.events(imei), "online uplink", "online connected", "offline connection lost", "online uplink")
	})
}

func TestManyHolds(t *testing.T) {
	ps := newPulses()
	for i := range maxHeld + 10 {
		ps.hear(auth.DeviceID(string(rune(i))), 1)
	}
	if len(ps.holds) > maxHeld {
		t.Errorf("%d holds", len(ps.holds))
	}
}
