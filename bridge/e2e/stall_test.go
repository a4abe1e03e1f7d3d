package e2e_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// stallFlood is how much comes in while a subscriber stalls.
func stallFlood() int {
	if raceEnabled {
		return 20_000
	}
	return 100_000
}

// TestStall: two subscribers of QoS 1 stop while much comes in: one reads
// nothing, one reads and acknowledges nothing. A third gets all of it live
// meanwhile, and the bridge does not grow. Then both are given every message, in
// order, once, on the connection that they had.
func TestStall(t *testing.T) {
	slow(t)
	const window = 50
	s := newSite(t)
	n := s.serve()
	list := s.devices(0, fleetSize, nil)
	neighbour := s.witness(n, "neighbour")
	a := s.app("stalled", []string{"uplink.read", "downlink.read"})
	diaries := []*diary{newDiary("the one that did not read"), newDiary("the one that did not acknowledge")}
	stalled := []*client{
		s.open(n, login{app: a, clientID: "deaf", expiry: 3600}),
		s.open(n, login{app: a, clientID: "mute", expiry: 3600, window: window}),
	}
	for _, c := range stalled {
		c.mustSubscribe("uplinks/#", "events/#")
	}
	warm := stallFlood() / 10 / fleetSize // until what is kept in memory is full
	s.flood(n.addr("mqtt"), list, 0, warm)
	var held []delivery
	for len(held) < window {
		d, err := stalled[1].take(5 * time.Second)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(held), err)
		}
		held = append(held, d)
	}
	before := resident(t, n)
	s.flood(n.addr("mqtt"), list, warm, stallFlood()/fleetSize)
	after := resident(t, n)
	t.Logf("resident before %d KiB, after %d KiB", before, after)
	if grown := after - before; grown > 25<<10 && !raceEnabled { // its own memory is the race detector's matter
		t.Errorf("the bridge grew by %d KiB while two subscribers stalled", grown)
	}
	stored := s.entries()
	neighbour.hold(numbersOf(stored))
	if neighbour.gaps > 0 {
		t.Errorf("the neighbour was told of %d gaps", neighbour.gaps)
	}
	if d, err := stalled[1].take(200 * time.Millisecond); err != errQuiet {
		t.Errorf("more than Receive Maximum came: %+v, %v", d, err)
	}
	for _, d := range held {
		diaries[1].note(d)
	}
	stalled[1].ack(held...)
	stalled[1].flush()
	var reading sync.WaitGroup
	for i, c := range stalled {
		reading.Go(func() {
			start := time.Now()
			err := c.read(10*time.Second, func(m delivery) bool {
				diaries[i].note(m)
				return diaries[i].count() == len(stored)
			})
			if err != nil {
				t.Errorf("%s: after %d of %d: %v", diaries[i].name, diaries[i].count(), len(stored), err)
			}
			t.Logf("%s had all %d within %s", diaries[i].name, len(stored), time.Since(start).Round(time.Millisecond))
		})
	}
	reading.Wait()
	// And then it is live: nothing comes again, and nothing is missed.
	s.flood(n.addr("mqtt"), list, warm+stallFlood()/fleetSize, 5)
	stored = s.entries()
	for i, c := range stalled {
		if err := c.read(5*time.Second, func(m delivery) bool { diaries[i].note(m); return diaries[i].count() == len(stored) }); err != nil {
			t.Errorf("%s: live: %v", diaries[i].name, err)
		}
		diaries[i].once(t, stored)
	}
}

func numbersOf(list []entry) []fleet.Number {
	numbers := make([]fleet.Number, len(list))
	for i, e := range list {
		numbers[i] = e.number
	}
	return numbers
}

// resident is a node's resident memory, in KiB.
func resident(t *testing.T, n *node) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// TestAway: a mosquitto_sub with clean session 0 is away while messages come in,
// and finds them all when it is back: after a good-bye each once.
func TestAway(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_sub")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, fleetSize, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	keep := []string{"-c", "-i", "one"}
	first := s.subscribe(nodes[0], v311, a, []string{"uplinks/#"}, keep...)
	const each = 25
	s.flood(nodes[0].addr("mqtt"), list, 0, each)
	eventually(t, 10*time.Second, "what is live", func() bool { return len(first.messages()) == each*len(list) })
	first.interrupt()
	const more = 250
	s.flood(nodes[0].addr("mqtt"), list, each, more)
	again := s.subscribe(nodes[1], v311, a, []string{"uplinks/#"}, keep...)
	want := (each + more) * len(list)
	eventually(t, 20*time.Second, "what came while it was away", func() bool {
		return len(first.messages())+len(again.messages()) >= want
	})
	s.flood(nodes[1].addr("mqtt"), list, each+more, 1)
	want += len(list)
	eventually(t, 10*time.Second, "what is live again", func() bool { return len(first.messages())+len(again.messages()) >= want })
	stored := s.numbered()
	got := append(first.messages(), again.messages()...)
	if len(got) != len(stored) {
		t.Errorf("%d messages came, %d are stored", len(got), len(stored))
	}
	for i, m := range got {
		if n, ok := fleet.NumberOf([]byte(m.payload)); !ok || i >= len(stored) || n != stored[i] {
			t.Fatalf("message %d is %s, %s", i, m.topic, m.payload)
		}
	}
}

// TestAwayOverPartitions: a session with a cursor in each of several streams goes
// on in all of them.
func TestAwayOverPartitions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	nodes := []*node{s.serve("--partitions", "3"), s.serve("--partitions", "3")}
	list := s.devices(0, 12, nil)
	l := login{app: s.app("dashboard", []string{"uplink.read"}), clientID: "one", expiry: 600, window: 20}
	next, total := map[string]int{}, 0
	note := func(m delivery) {
		n, ok := fleet.NumberOf(m.payload)
		if !ok || next[n.Device] != n.N {
			t.Errorf("given %s on %s, want number %d", m.payload, m.topic, next[n.Device])
		}
		next[n.Device]++
		total++
	}
	const each = 40
	first := 0
	for visit, n := range []*node{nodes[0], nodes[1], nodes[0], nodes[1]} {
		c := s.open(n, l)
		if c.present != (visit > 0) {
			t.Errorf("visit %d: session present %v", visit, c.present)
		}
		if visit == 0 {
			c.mustSubscribe("uplinks/#")
		}
		s.flood(n.addr("mqtt"), list, first, each) // live, or behind what came while it was away
		first += each
		want := first * len(list)
		if err := c.read(5*time.Second, func(m delivery) bool { note(m); return total == want }); err != nil {
			t.Fatalf("visit %d: after %d of %d: %v", visit, total, want, err)
		}
		c.leave()
		s.flood(n.addr("mqtt"), list, first, each)
		first += each
	}
}
