package redistest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Cluster runs a cluster of two nodes with half of the slots each, until the test ends. The client is as the program makes
// them; first is one of the nodes.
func Cluster(t testing.TB) (first *Server, c *redis.ClusterClient) {
	t.Helper()
	ctx := t.Context()
	halves := [2][2]int{{0, 8191}, {8192, 16383}}
	var nodes [2]*Server
	for i := range nodes {
		nodes[i] = Start(t, Config("cluster-enabled", "yes"))
		if err := nodes[i].Client().ClusterAddSlotsRange(ctx, halves[i][0], halves[i][1]).Err(); err != nil {
			t.Fatalf("give the slots: %v", err)
		}
	}
	host, port, _ := net.SplitHostPort(nodes[1].Addr)
	if err := nodes[0].Client().ClusterMeet(ctx, host, port).Err(); err != nil {
		t.Fatalf("join the nodes: %v", err)
	}
	for _, n := range nodes {
		client := n.Client()
		for limit := time.Now().Add(startLimit); ; time.Sleep(10 * time.Millisecond) {
			info, err := client.ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("cluster not ready: %s, %v", info, err)
			}
		}
	}
	c = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{nodes[0].Addr}, Protocol: 2, MaxRedirects: -1, ContextTimeoutEnabled: true,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return nodes[0], c
}
