package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"m2mbridge/auth/redistest"
)

// cluster is a cluster of one node, which refuses commands over several slots as a larger one does.
func cluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	s := redistest.Start(t, redistest.Config("cluster-enabled", "yes"))
	if err := s.Client().ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatalf("give the slots: %v", err)
	}
	for limit := time.Now().Add(patience); ; {
		info, err := s.Client().ClusterInfo(t.Context()).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("cluster not ready: %s, %v", info, err)
		}
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{s.Addr}, Protocol: 2, MaxRedirects: -1, ContextTimeoutEnabled: true,
		ReadTimeout: time.Second, WriteTimeout: time.Second, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCluster(t *testing.T) {
	c := cluster(t)
	make := func() *Registry {
		r, err := NewRegistry(RegistryConfig{Client: c, Blocking: c, Keys: Keyspace{Partitions: 4}})
		if err != nil {
			t.Fatalf("new registry: %v", err)
		}
		return r
	}
	here, there := make(), make()
	if n := len(there.watchers); n != 4 {
		t.Fatalf("%d watchers for 4 partitions", n)
	}
	r := follow(t, there)
	for range 3 { // the first of four has been awaited
		r.await(Change{Kind: ChangeAll})
	}
	const n = 20
	for i := range n {
		id := benchID(i)
		put(t, here, Device{ID: id, Secret: secret})
		r.await(Change{Kind: ChangeDevice, Device: id})
		if _, err := there.VerifyToken(t.Context(), id, body, Token(body, secret)); err != nil {
			t.Errorf("verify: %v", err)
		}
	}
	if st := there.Stats(); st.Entries != n || !st.LeaseValid {
		t.Errorf("stats = %+v", st)
	}
	if page, next, err := there.ListDevices(t.Context(), ListQuery{}); err != nil || len(page) != n || next != "" {
		t.Errorf("list = %d, %q, %v", len(page), next, err)
	}
	asks := []*ask{{id: benchID(0)}, {id: benchID(1)}, {id: benchID(2)}, {id: imei}}
	there.fetch(context.Background(), asks)
	for _, a := range asks {
		if a.err != nil || a.found == (a.id == imei) {
			t.Errorf("fetch %s = %v, %v", a.id, a.found, a.err)
		}
	}
	key := putTestApp(t, here, App{Name: "a", Scopes: Scopes()}, Create)
	if _, err := there.AppByKey(t.Context(), key); err != nil {
		t.Errorf("app: %v", err)
	}
	if err := here.DeleteDevice(t.Context(), benchID(3), AnyRevision); err != nil {
		t.Errorf("delete: %v", err)
	}
	r.await(Change{Kind: ChangeDevice, Device: benchID(3)})
	if st := there.Stats(); st.Entries != n-1 {
		t.Errorf("stats = %+v", st)
	}
}
