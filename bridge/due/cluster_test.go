package due

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"m2mbridge/auth/redistest"
)

// cluster is a cluster of two nodes with half of the slots each.
func cluster(t *testing.T) (*redistest.Server, *redis.ClusterClient) {
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
		eventually(t, "cluster ready", func() bool {
			info, err := n.Client().ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384")
		})
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{nodes[0].Addr}, Protocol: 2, MaxRedirects: -1, ContextTimeoutEnabled: true,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return nodes[0], c
}

// On a cluster every script stays in its slot, and nodes hear of entries in
// whichever part they are.
func TestCluster(t *testing.T) {
	s, c := cluster(t)
	set := NewSet(Config{Client: c, Keys: partitions(64 * looksPerSecond), Kind: Downlink})
	r, crew := newRecord(), newCrew(t, s)
	for range 2 {
		crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act), Blocking: c})
	}
	const n = 64
	for p := range n {
		addAt(t, set, p, fmt.Sprint(p), 20*time.Millisecond)
	}
	r.await(t, n)
	crew.stopAll()
	few := NewSet(Config{Client: c, Keys: partitions(n), Kind: Downlink})
	if left, err := few.Len(t.Context()); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	if faults, err := few.Mend(t.Context()); len(faults) > 0 || err != nil {
		t.Errorf("mend: %v, %v", faults, err)
	}
	if got := len(r.ids()); got != n {
		t.Errorf("%d acted on, want %d", got, n)
	}
}
