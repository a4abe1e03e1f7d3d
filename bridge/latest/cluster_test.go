package latest

import (
	"fmt"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/uplink"
)

// Devices of all partitions of a cluster, whose nodes know none of the scripts:
// values, what was seen, and removal.
func TestCluster(t *testing.T) {
	_, c := redistest.Cluster(t)
	r := newRig(t, c, auth.Keyspace{Partitions: 16})
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
