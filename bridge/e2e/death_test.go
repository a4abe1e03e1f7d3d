package e2e_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// roamer is a subscriber that is killed and comes back at random, to any node:
// its session goes on. Some messages it never acknowledges on the connection that
// they came on: they must come again.
type roamer struct {
	s      *site
	addrs  []string
	login  login
	random *rand.Rand
	diary  *diary // all it was given
	acked  *diary // what it acknowledged

	settle atomic.Bool // stay, and acknowledge everything

	logins, refused, goodbyes, takeovers int           // its own
	away, leaving                        time.Duration // longest between two connections, and good-bye
}

// roam runs it until stop; it reads on until then. It has subscribed when it
// returns.
func (s *site) roam(random *rand.Rand, nodes []*node) (r *roamer, stop func()) {
	s.Helper()
	r = &roamer{s: s, random: rand.New(rand.NewPCG(random.Uint64(), 1)), diary: newDiary("the roaming app"),
		acked: newDiary("what the roaming app acknowledged"), login: login{
			app: s.app("roaming", []string{"uplink.read", "downlink.read"}), clientID: "roamer", expiry: 3600, window: 40,
		}}
	for _, n := range nodes {
		r.addrs = append(r.addrs, n.addr("mqtt"))
	}
	c := s.open(nodes[0], r.login)
	if c.present {
		s.Error("session present at the first login")
	}
	c.mustSubscribe("uplinks/#", "events/#")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for c != nil {
			end := r.visit(ctx, c)
			next := r.again(ctx)
			end()
			c = next
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	s.Cleanup(stop)
	return r, stop
}

// visit reads for a while, and leaves in one way or another: end is to be called
// when the next connection is there, which takes the session over if this one
// still has it.
func (r *roamer) visit(ctx context.Context, c *client) (end func()) {
	over, settle := time.Now().Add(within(r.random, 50*time.Millisecond, 1500*time.Millisecond)), r.settle.Load()
	for (settle || time.Now().Before(over)) && ctx.Err() == nil {
		d, err := c.take(100 * time.Millisecond)
		if err == errQuiet {
			c.flush()
			continue
		} else if err != nil {
			return c.cut // the node is gone
		}
		r.diary.note(d)
		if settle || r.random.IntN(200) > 0 {
			r.acked.note(d)
			c.ack(d)
		}
	}
	switch r.random.IntN(4) {
	case 0:
		r.goodbyes++
		start := time.Now()
		c.leave()
		r.leaving = max(r.leaving, time.Since(start))
	case 1:
		r.takeovers++
		c.flush()
	default: // killed, some of what it acknowledged not written yet
		c.cut()
	}
	return c.cut
}

// again logs in at any node, until one takes it: nil at the end of ctx.
func (r *roamer) again(ctx context.Context) *client {
	start := time.Now()
	for ctx.Err() == nil {
		c, err := dialApp(r.s.T, r.addrs[r.random.IntN(len(r.addrs))], r.login)
		if err != nil {
			r.refused++
			rest(20 * time.Millisecond)
			continue
		}
		r.logins++
		r.away = max(r.away, time.Since(start))
		if !c.present {
			r.s.Errorf("login %d: the session is not there", r.logins)
		}
		return c
	}
	return nil
}

// TestDeath: an app is killed at random and comes back to either of two nodes,
// while devices keep sending to whichever is up. Ten times a node is killed, and
// three times Redis. Every uplink that was acknowledged to its device reaches the
// app, those of a device in their order; its session was always there.
func TestDeath(t *testing.T) {
	t.Parallel()
	slow(t)
	random := seeded(t)
	s := newSite(t, redistest.AppendOnly())
	nodes := []*node{s.serve(), s.serve()}
	s.devices(0, fleetSize, nil)
	r, stop := s.roam(random, nodes)
	fleets := s.startFleetsAt(door(t, "http", nodes...).addr(), door(t, "mqtt", nodes...).addr())
	faults := append(make([]bool, 10), true, true, true) // true: of Redis
	random.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for i, ofRedis := range faults {
		fleets.acknowledged(25)
		rest(within(random, 0, 700*time.Millisecond)) // the moment is the matter
		if ofRedis {
			s.redis.Kill()
			rest(within(random, 0, 700*time.Millisecond))
			s.redis.Restart()
		} else {
			n := nodes[random.IntN(2)]
			n.kill()
			rest(within(random, 0, 700*time.Millisecond))
			n.again()
		}
		t.Logf("death %d: %s%d received", i+1, fleets, r.diary.count())
	}
	fleets.acknowledged(100)
	fleets.stop()
	stored := s.entries()
	fleets.hold(numbersOf(stored))
	r.settle.Store(true)
	for deadline := time.Now().Add(30 * time.Second); r.acked.count() < len(stored) && time.Now().Before(deadline); {
		rest(10 * time.Millisecond)
	}
	stop()
	r.acked.allOf(t, stored)
	again := r.diary.atLeastOnce(t, stored)
	if fleets.repeats() == 0 {
		t.Error("no device sent twice: the deaths met nothing")
	}
	t.Logf("%d logins, %d refused, %d good-byes, %d take-overs, %s away and %s for a good-bye at most; %d received, %d of them again",
		r.logins, r.refused, r.goodbyes, r.takeovers, r.away.Round(time.Millisecond), r.leaving.Round(time.Millisecond), len(r.diary.got), again)
}
