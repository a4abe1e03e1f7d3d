package e2e_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const group = "$share/workers/uplinks/#"

// shareFlood is how many uplinks a group is given.
const shareFlood = 20_000

// beside runs f beside the test, which waits for it by the function it gets.
func beside(f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(f)
	return running.Wait
}

// passed waits until a diary has so many different uplinks.
func passed(t *testing.T, d *diary, limit time.Duration, n int) {
	t.Helper()
	if raceEnabled { // it is a flood that is waited for, by one reader among many tests
		limit *= 4
	}
	eventually(t, limit, fmt.Sprintf("%s has %d", d.name, n), func() bool { return d.count() >= n })
}

// TestShare: the members of a group, on two nodes, are given everything together,
// each message once. One leaves in order and comes back meanwhile. One that does
// not acknowledge holds no more than its window, and gives that back; for one
// that is away nothing waits.
func TestShare(t *testing.T) {
	t.Parallel()
	slow(t)
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, fleetSize, nil)
	a := s.app("workers", []string{"uplink.read"})
	all := newDiary("the group")
	join := func(n *node, clientID string) *follower {
		return s.follow(n, login{app: a, clientID: clientID, clean: true}, all, group)
	}
	away := s.open(nodes[1], login{app: a, clientID: "away", expiry: 3600})
	away.mustSubscribe(group)
	away.leave()
	idle := s.open(nodes[1], login{app: a, clientID: "idle", window: 5})
	idle.mustSubscribe(group)
	one, two, three := join(nodes[0], "one"), join(nodes[0], "two"), join(nodes[1], "three")
	wait := beside(func() { s.flood(nodes[0].addr("mqtt"), list, 0, shareFlood/fleetSize) })
	passed(t, all, 30*time.Second, shareFlood/4)
	two.leave()
	passed(t, all, 30*time.Second, shareFlood/2)
	two = join(nodes[1], "two")
	wait()
	stored := s.entries()
	held := 0
	for {
		if _, err := idle.take(200 * time.Millisecond); err != nil {
			break
		}
		held++
	}
	if held != 5 {
		t.Errorf("the member that does not acknowledge holds %d, its window is 5", held)
	}
	passed(t, all, 30*time.Second, len(stored)-held)
	if got := all.count(); got != len(stored)-held {
		t.Errorf("the others have %d of %d, while %d are held", got, len(stored), held)
	}
	idle.leave()
	passed(t, all, 10*time.Second, len(stored))
	for _, f := range []*follower{one, two, three} {
		f.leave()
	}
	onceEach(t, all, stored)
	// All are gone but the one that is away, and it finds what comes from now on.
	s.flood(nodes[0].addr("mqtt"), list, shareFlood/fleetSize, 10)
	late := newDiary("the member that was away")
	s.follow(nodes[0], login{app: a, clientID: "away", expiry: 3600}, late)
	later := s.entries()[len(stored):]
	passed(t, late, 10*time.Second, len(later))
	onceEach(t, late, later)
}

// onceEach wants all of the stream, in any order, each once.
func onceEach(t *testing.T, d *diary, stored []entry) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	wrong := 0
	for _, e := range stored {
		if d.seen[e.id] != 1 {
			if wrong++; wrong <= 5 {
				t.Errorf("%s was given %s %d times", d.name, e.id, d.seen[e.id])
			}
		}
	}
	if wrong > 0 || len(d.seen) != len(stored) {
		t.Errorf("%s: %d of %d wrong, %d different ones came", d.name, wrong, len(stored), len(d.seen))
	}
	if len(d.gaps) > 0 {
		t.Errorf("%s was told of gaps: %+v", d.name, d.gaps)
	}
}

// TestShareDeath: members leave in every way, and a node is killed. Together
// they are given everything.
func TestShareDeath(t *testing.T) {
	t.Parallel()
	slow(t)
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	list := s.devices(0, fleetSize, nil)
	a := s.app("workers", []string{"uplink.read"})
	all := newDiary("the group")
	join := func(n *node, clientID string) *follower {
		return s.follow(n, login{app: a, clientID: clientID, clean: true}, all, group)
	}
	one, two, three := join(nodes[0], "one"), join(nodes[0], "two"), join(nodes[1], "three")
	wait := beside(func() { s.flood(nodes[0].addr("mqtt"), list, 0, shareFlood/fleetSize) })
	passed(t, all, 30*time.Second, shareFlood/8)
	three.leave()
	passed(t, all, 30*time.Second, shareFlood/4)
	three = join(nodes[1], "three")
	two.die()
	passed(t, all, 30*time.Second, shareFlood/8*3)
	two = join(nodes[1], "two")
	passed(t, all, 30*time.Second, shareFlood/2)
	nodes[1].kill() // with two of three
	<-two.ended
	<-three.ended
	three = join(nodes[0], "three")
	wait()
	stored := s.entries()
	passed(t, all, 45*time.Second, len(stored)) // what the node had taken is let go when its lease is over
	one.leave()
	three.leave()
	all.mu.Lock()
	defer all.mu.Unlock()
	again := 0
	for _, e := range stored {
		if all.seen[e.id] == 0 {
			t.Errorf("nobody was given %s", e.id)
		}
		again += max(all.seen[e.id]-1, 0)
	}
	if len(all.seen) != len(stored) || len(all.gaps) > 0 {
		t.Errorf("%d different ones came, %d are stored; gaps %+v", len(all.seen), len(stored), all.gaps)
	}
	t.Logf("%d stored, %d of them were given again", len(stored), again)
	if strings.Contains(nodes[0].out.String(), "level=ERROR") {
		t.Error("the node that lived logged an error")
	}
}
