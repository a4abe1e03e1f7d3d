package presence

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// cluster is a cluster of two nodes with half of the slots each.
func cluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	ctx := t.Context()
	halves := [2][2]int{{0, 8191}, {8192, 16383}}
	var nodes [2]*redistest.Server
	for i := range nodes {
		nodes[i] = redistest.Start(t, redistest.Config("cluster-enabled", "yes"))
		if err := nodes[i].Client().ClusterAddSlotsRange(ctx, halves[i][0], halves[i][1]).Err(); err != nil {
			t.Fatalf("give the slots: %v", err)
		}
	}
	host, port, _ := net.SplitHostPort(nodes[1].Addr)
	if err := nodes[0].Client().ClusterMeet(ctx, host, port).Err(); err != nil {
		t.Fatalf("join the nodes: %v", err)
	}
	for _, n := range nodes {
		for limit := time.Now().Add(20 * time.Second); ; {
			info, err := n.Client().ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("cluster not ready: %s, %v", info, err)
			}
		}
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{nodes[0].Addr}, Protocol: 2, MaxRedirects: -1, ContextTimeoutEnabled: true,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// All that there is, with devices on both halves of a cluster.
func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, cluster(t), auth.Keyspace{Partitions: 16})
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
