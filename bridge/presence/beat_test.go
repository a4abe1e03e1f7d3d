package presence

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// A node died: the others take its devices for offline, each once, but not
// those that have gone elsewhere.
func TestDeadNode(t *testing.T) {
	on(t, func(w *world) {
		dead, two, three := w.node("dead"), w.node("two"), w.node("three")
		const many = 200
		for i := range many {
			w.register(imeiOf(i))
			dead.Online(imeiOf(i), uint64(i+1))
		}
		dead.flush()
		two.Online(imeiOf(0), 1)
		two.flush()
		for _, n := range []*node{two, three} {
			if err := n.sweepRuns(context.Background()); err != nil {
				w.Fatal(err)
			}
		}
		two.want(imeiOf(5), "online", "mqtt", "connected") // it lives
		w.expire(dead)
		var sweepers sync.WaitGroup
		for _, n := range []*node{two, three} {
			sweepers.Go(func() {
				for begun := time.Now(); n.sweepRuns(context.Background()) != nil && time.Since(begun) < patience; {
				} // as at the next beat
			})
		}
		sweepers.Wait()
		two.want(imeiOf(0), "online", "mqtt", "connected")
		for i := 1; i < many; i++ {
			two.want(imeiOf(i), "offline", "mqtt", "node gone")
			same(w, "events", w.events(imeiOf(i)), "online connected", "offline node gone")
			if i > 10 {
				break
			}
		}
		gone := 0
		for _, e := range w.entries() {
			if e.Fields.Text("cause") == "node gone" {
				gone++
			}
		}
		if gone != many-1 {
			w.Errorf("%d devices told to be offline, want %d", gone, many-1)
		}
		if left := w.client.Keys(context.Background(), "*presence:run:"+dead.run).Val(); len(left) > 0 {
			w.Errorf("left: %q", left)
		}
	})
}

// A node that was only taken for dead tells what is true.
func TestTakenForDead(t *testing.T) {
	on(t, func(w *world) {
		one, two := w.node("one"), w.node("two")
		one.Online(imei, 1)
		one.Online(imei2, 2)
		one.flush()
		w.expire(one)
		if err := two.sweepRuns(context.Background()); err != nil {
			w.Fatal(err)
		}
		two.want(imei, "offline", "mqtt", "node gone")
		w.tell(one) // by the event
		one.want(imei, "online", "mqtt", "connected")
		w.expire(one)
		if err := two.sweepRuns(context.Background()); err != nil {
			w.Fatal(err)
		}
		two.want(imei2, "offline", "mqtt", "node gone")
		if err := one.renew(context.Background()); err != nil { // or, where that was not heard, by the count
			w.Fatal(err)
		}
		one.flush()
		one.want(imei, "online", "mqtt", "connected")
		one.want(imei2, "online", "mqtt", "connected")
		if len(one.lost) > 0 {
			w.Errorf("ended %v", one.lost)
		}
	})
}

// Redis lost what it was told last: a connect and a disconnect. And a take-over
// was not heard of.
func TestReconcile(t *testing.T) {
	on(t, func(w *world) {
		one, two := w.node("one"), w.node("two")
		third := imeiOf(3)
		w.register(third)
		for i, d := range []auth.DeviceID{imei, imei2, third} {
			one.Online(d, uint64(i+1))
		}
		one.flush()
		ctx := context.Background()
		w.client.Del(ctx, one.keys.presence(imei))
		w.client.SRem(ctx, one.keys.devices(one.keys.Partition(imei), one.run), string(imei))
		delete(one.links.of, imei2)
		two.Online(third, 1)
		two.flush()
		for p := range w.keys.Count() {
			if err := one.reconcile(ctx, p); err != nil {
				w.Fatal(err)
			}
		}
		one.flush()
		one.want(imei, "online", "mqtt", "connected")
		one.want(imei2, "offline", "mqtt", "connection lost")
		if !slices.Equal(one.lost, []loss{{third, 3}}) {
			w.Errorf("ended %v", one.lost)
		}
		one.want(third, "online", "mqtt", "connected")
		if s := one.state(third); s.Node != "two" {
			w.Errorf("%+v", s)
		}
	})
}

// Redis is killed and comes back: what happened meanwhile is written, the last
// of it, and what was lost is made good.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AppendOnly())
	w := newWorld(t, s, auth.Keyspace{})
	n := w.node("one")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.Run(ctx) }()
	defer func() { stop(); <-ended }()
	n.Online(imei, 1)
	eventually(w, "online", func() bool { return n.state(imei).State == "online" })
	s.Kill()
	n.Offline(imei, 1, "connection lost")
	n.Online(imei, 2)
	n.Offline(imei, 2, "connection lost")
	n.Online(imei, 3)
	n.Online(imei2, 4)
	n.Offline(imei2, 4, "disconnected by client")
	s.Restart()
	eventually(w, "the last is written", func() bool {
		n.links.mu.Lock()
		defer n.links.mu.Unlock()
		l := n.links.of[imei]
		return len(n.links.of) == 1 && l.epoch != 0
	})
	n.want(imei, "online", "mqtt", "connected")
	n.want(imei2, "offline", "mqtt", "disconnected by client")
	same(w, "events", w.events(imei), "online connected", "online connected")
	same(w, "events", w.events(imei2), "online connected", "offline disconnected by client")
}

// A clean stop tells what the edges leave, and leaves no lease.
func TestCleanStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Start(t), auth.Keyspace{})
	n := w.node("one")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.Run(ctx) }()
	n.Online(imei, 1)
	eventually(w, "online", func() bool { return n.state(imei).State == "online" })
	n.Offline(imei, 1, "shutdown")
	stop()
	<-ended
	n.want(imei, "offline", "mqtt", "shutdown")
	if left := w.client.Keys(context.Background(), "*presence:run*").Val(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func eventually(w *world, what string, yes func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !yes(); {
		select {
		case <-tick.C:
		case <-limit:
			w.Fatalf("still not: %s", what)
		}
	}
}
