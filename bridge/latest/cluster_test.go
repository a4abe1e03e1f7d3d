package latest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/uplink"
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

// Devices of all partitions of a cluster, whose nodes know none of the scripts:
// values, what was seen, and removal.
func TestCluster(t *testing.T) {
	r := newRig(t, cluster(t), auth.Keyspace{Partitions: 16})
	var ids []auth.DeviceID
	for i := range 200 {
		id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", i))
		r.register(id)
		r.uplink(id, fmt.Sprintf(`[{"bn":%q,"bt":1700000000,"n":"a","v":%d}]`, id.BaseName(), i))
		ids = append(ids, id)
	}
	r.step()
	for i, id := range ids {
		r.want(id, fmt.Sprint("a=", i))
	}
	if seen, err := uplink.NewReader(r.client, r.cfg.Keys).Seen(t.Context(), ids); err != nil || len(seen) != len(ids) {
		t.Errorf("seen %d, %v", len(seen), err)
	}
	for _, id := range ids[:50] {
		if err := r.registry.DeleteDevice(t.Context(), id, auth.AnyRevision); err != nil {
			t.Fatal(err)
		}
		r.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: id})
	}
	r.step()
	for i, id := range ids {
		if n := len(r.get(id)); (n == 0) != (i < 50) {
			t.Errorf("%s: %d values", id, n)
		}
	}
	r.leave()
}
