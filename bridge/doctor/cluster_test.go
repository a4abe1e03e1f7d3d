package doctor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/store"
)

// A cluster of one node refuses commands over several slots as a larger one does.
func TestCluster(t *testing.T) {
	s := redistest.Start(t, redistest.Config("cluster-enabled", "yes"))
	asCluster := func(c *Config) { c.Redis = "redis+cluster://" + s.Addr }
	examine(t, s).want(t, "version", Fault, "redis+cluster://")
	if err := s.Client().ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(10 * time.Second); !strings.Contains(s.Client().ClusterInfo(t.Context()).Val(), "cluster_state:ok"); {
		if time.Now().After(limit) {
			t.Fatal("the cluster is not ready")
		}
	}
	s.Client().Set(t.Context(), "m2m:{0}:partitions", 4, 0)
	st, err := store.Open(t.Context(), store.Config{URL: "redis+cluster://" + s.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	keys := auth.Keyspace{Partitions: 4}
	r, err := auth.NewRegistry(auth.RegistryConfig{Client: st.Client, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	d := downlink.New(downlink.Config{Client: st.Client, Keys: keys})
	for i := range 40 {
		id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", i))
		if _, err := r.PutDevice(t.Context(), auth.Device{ID: id, Name: "Pump", Secret: secret}, auth.Create); err != nil {
			t.Fatal(err)
		}
		draft := downlink.Draft{Device: id, Channel: downlink.Any, Priority: downlink.DefaultPriority, Pack: []byte(`[{"n":"led","v":1}]`)}
		if _, _, err := d.Create(t.Context(), draft); err != nil {
			t.Fatal(err)
		}
	}
	all := examine(t, s, asCluster)
	for _, name := range []string{"cluster", "partitions", "registry", "downlinks", "uplinks", "commands", "sessions"} {
		all.want(t, name, OK, "")
	}
	if all["version"].Node == "" {
		t.Error("it does not say which node it is")
	}
	for p := range 4 {
		for _, key := range []string{"devices:terms", "due:downlink"} {
			if err := s.Client().Del(t.Context(), keys.Key(p, key)).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	all = examine(t, s, asCluster, fix)
	if all["registry"].Mended != 40 || all["downlinks"].Mended != 40 {
		t.Errorf("%+v, %+v", all["registry"], all["downlinks"])
	}
	all = examine(t, s, asCluster)
	all.want(t, "registry", OK, "agree")
	all.want(t, "downlinks", OK, "agree")
	if err := s.Client().ClusterDelSlots(t.Context(), 16383).Err(); err != nil { // of no partition's
		t.Fatal(err)
	}
	examine(t, s, asCluster).want(t, "cluster", Fault, "16383 of 16384")
}
