package presence

import (
	"context"
	"slices"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// on runs a test on both stores, and over several partitions.
func on(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) { f(newWorld(t, s, auth.Keyspace{Partitions: 3})) })
}

func same(w *world, what string, got []string, want ...string) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func TestConnectAndDisconnect(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		if s := n.state(imei); s != (State{}) {
			w.Errorf("never seen, and yet %+v", s)
		}
		n.Online(imei, 1)
		n.flush()
		n.want(imei, "online", "mqtt", "connected")
		if s := n.state(imei); s.Node != "one" || !s.Since.Equal(w.clock()) {
			w.Errorf("%+v", s)
		}
		w.wait(1e9)
		n.Offline(imei, 1, "keep-alive timeout")
		n.flush()
		n.want(imei, "offline", "mqtt", "keep-alive timeout")
		if s := n.state(imei); !s.Since.Equal(w.clock()) {
			w.Errorf("%+v", s)
		}
		same(w, "events", w.events(imei), "online connected", "offline keep-alive timeout")
		if n.links.online() != 0 || len(n.links.of) != 0 {
			w.Error("something is left in memory")
		}
	})
}

// One that comes and goes between two batches was there.
func TestShortVisit(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.Online(imei, 1)
		n.Offline(imei, 1, "disconnected by client")
		n.flush()
		same(w, "events", w.events(imei), "online connected", "offline disconnected by client")
	})
}

// A take-over on one node: no offline between, in whatever order the end of the
// old session is told.
func TestTakeOverHere(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.Online(imei, 1)
		n.flush()
		n.Online(imei, 2)
		n.Offline(imei, 1, "taken over")
		n.flush()
		n.Online(imei, 1) // told late
		n.Offline(imei, 1, "connection lost")
		n.flush()
		n.want(imei, "online", "mqtt", "connected")
		same(w, "events", w.events(imei), "online connected", "online connected")
	})
}

// A take-over on another node: the older one learns of it by the event, ends its
// session, and its late disconnect says nothing.
func TestTakeOverElsewhere(t *testing.T) {
	on(t, func(w *world) {
		one, two := w.node("one"), w.node("two")
		one.Online(imei, 7)
		one.flush()
		two.Online(imei, 1)
		two.flush()
		w.tell(one, two)
		if !slices.Equal(one.lost, []loss{{imei, 7}}) || len(two.lost) != 0 {
			w.Errorf("ended %v and %v", one.lost, two.lost)
		}
		one.flush()
		two.want(imei, "online", "mqtt", "connected")
		if s := two.state(imei); s.Node != "two" {
			w.Errorf("%+v", s)
		}
		same(w, "events", w.events(imei), "online connected", "online connected")
	})
}

// The disconnect alone, without any word of the take-over: the epoch fences it.
func TestLateDisconnect(t *testing.T) {
	on(t, func(w *world) {
		one, two := w.node("one"), w.node("two")
		one.Online(imei, 1)
		one.flush()
		two.Online(imei, 1)
		two.flush()
		one.Offline(imei, 1, "connection lost")
		one.flush()
		two.want(imei, "online", "mqtt", "connected")
		same(w, "events", w.events(imei), "online connected", "online connected")
		if err := one.renew(context.Background()); err != nil {
			w.Fatal(err)
		}
		two.want(imei, "online", "mqtt", "connected")
	})
}

// A reply was lost: the same session is written again, as one.
func TestWrittenTwice(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.Online(imei, 1)
		calls, _ := n.links.take(n.Presence)
		for range 2 {
			for _, reply := range n.runAll(context.Background(), calls) {
				if epoch, err := reply.Int64(); err != nil || epoch == 0 {
					w.Fatalf("%d, %v", epoch, err)
				}
			}
		}
		same(w, "events", w.events(imei), "online connected")
	})
}

// One whose device went elsewhere while its own writing was in doubt does not
// take it back.
func TestInDoubt(t *testing.T) {
	on(t, func(w *world) {
		one, two := w.node("one"), w.node("two")
		one.Online(imei, 1)
		_, settle := one.links.take(one.Presence)
		w.wait(1e9)
		two.Online(imei, 1)
		two.flush()
		failed := one.runAll(canceled(), []call{one.onlineCall(imei, one.links.of[imei])})
		if settle(failed) == nil {
			w.Fatal("no error")
		}
		one.flush()
		if !slices.Equal(one.lost, []loss{{imei, 1}}) {
			w.Errorf("ended %v", one.lost)
		}
		same(w, "events", w.events(imei), "online connected")
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRemovedDevice(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		n.Online(imei, 1)
		n.hear(imei2)
		n.flush()
		for _, d := range []auth.DeviceID{imei, imei2} {
			if err := w.registry.DeleteDevice(context.Background(), d, auth.AnyRevision); err != nil {
				w.Fatal(err)
			}
			n.changed(auth.Change{Kind: auth.ChangeDevice, Device: d})
		}
		n.flush()
		n.Offline(imei, 1, "revoked")
		n.hear(imei2)
		n.flush()
		for _, d := range []auth.DeviceID{imei, imei2} {
			if s := n.state(d); s != (State{}) {
				w.Errorf("%s is %+v", d, s)
			}
		}
		same(w, "events", w.events(imei), "online connected", "offline removed")
		same(w, "events", w.events(imei2), "online uplink", "offline removed")
		if left := w.client.Keys(context.Background(), "*presence*").Val(); len(left) > 1 { // the run's lease
			w.Errorf("left: %q", left)
		}
	})
}

// What is kept of one device is damaged: the others are written.
func TestDamaged(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		ctx := context.Background()
		for _, d := range []auth.DeviceID{imei, imeiOf(1)} {
			w.register(d)
			if err := w.client.Set(ctx, n.keys.presence(d), "x", 0).Err(); err != nil {
				w.Fatal(err)
			}
		}
		n.Online(imei, 1)
		n.Online(imei2, 2)
		n.hear(imeiOf(1))
		n.flush()
		n.want(imei2, "online", "mqtt", "connected")
		if n.links.waiting()+n.pulses.waiting() != 0 {
			w.Error("something waits for ever")
		}
	})
}
