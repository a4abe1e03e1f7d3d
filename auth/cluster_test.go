package auth

import (
	"context"
	"testing"

	"m2mbridge/auth/redistest"
)

func TestCluster(t *testing.T) {
	_, c := redistest.Cluster(t)
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
