package presence

import (
	"context"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// All that there is, with devices on both halves of a cluster.
func TestCluster(t *testing.T) {
	t.Parallel()
	_, c := redistest.Cluster(t)
	w := newWorldOn(t, c, auth.Keyspace{Partitions: 16})
	one, two, ctx := w.node("one"), w.node("two"), context.Background()
	const many = 40
	for i := range many {
		w.register(imeiOf(i))
		one.Online(imeiOf(i), uint64(i+1))
	}
	one.flush()
	for i := range many / 2 {
		two.Online(imeiOf(i), uint64(i+1)) // the set of the other run is changed, too
	}
	two.flush()
	w.tell(one, two)
	if len(one.lost) != many/2 || len(two.lost) != 0 {
		t.Errorf("ended %v and %v", one.lost, two.lost)
	}
	w.expire(one)
	if err := two.sweepRuns(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		if i < many/2 {
			two.want(imeiOf(i), "online", "mqtt", "connected")
			two.Offline(imeiOf(i), uint64(i+1), "connection lost")
		} else {
			two.want(imeiOf(i), "offline", "mqtt", "node gone")
		}
		two.hear(imeiOf(i))
	}
	two.flush()
	two.flush() // of what was heard while the session was still there
	for i := range many {
		two.hear(imeiOf(i))
	}
	two.flush()
	w.wait(firstAllowed)
	two.sweep()
	for i := range many {
		if s := two.state(imeiOf(i)); s.State != "offline" {
			t.Errorf("%+v", s)
		}
	}
	if err := two.renew(ctx); err != nil {
		t.Error(err)
	}
	seen, after := 0, ""
	for more := true; more; more = after != "" {
		page, next, err := two.Retained(ctx, "presence/#", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		seen, after = seen+len(page), next
	}
	if seen != many {
		t.Errorf("retained of %d devices, want %d", seen, many)
	}
	if err := w.registry.DeleteDevice(ctx, imeiOf(1), auth.AnyRevision); err != nil {
		t.Fatal(err)
	}
	two.changed(auth.Change{Kind: auth.ChangeDevice, Device: imeiOf(1)})
	two.flush()
	if s := two.state(imeiOf(1)); s != (State{}) {
		t.Errorf("%+v", s)
	}
}
