package latest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/uplink"
)

const testID = auth.DeviceID("IMEI:356726104408422")

// rig is a Redis with one registered device, and a Projector that the test moves.
type rig struct {
	*Projector
	t        *testing.T
	client   redis.UniversalClient
	registry *auth.Registry
	now      time.Time // of the next pass, far enough from the last that all is due
}

func newRig(t *testing.T, client redis.UniversalClient, keys auth.Keyspace) *rig {
	t.Helper()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, client: client, registry: registry, now: time.Now(), Projector: New(Config{Client: client, Keys: keys})}
	r.register(testID)
	return r
}

func (r *rig) register(id auth.DeviceID) {
	r.t.Helper()
	d := auth.Device{ID: id, Secret: "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"}
	if _, err := r.registry.PutDevice(r.t.Context(), d, auth.Create); err != nil {
		r.t.Fatal(err)
	}
}

// another is a second Projector over the same Redis.
func (r *rig) another() *rig {
	other := *r
	other.Projector = New(r.cfg)
	return &other
}

// uplink adds an entry as the bridge does.
func (r *rig) uplink(id auth.DeviceID, pack string) string {
	r.t.Helper()
	p := r.cfg.Keys.Partition(id)
	entry, err := r.client.XAdd(r.t.Context(), &redis.XAddArgs{
		Stream: uplink.UplinksKey(r.cfg.Keys, p),
		Values: []any{"device", string(id), "via", "http", "at", time.Now().UnixMilli(), "token", strings.Repeat("0", 64), "pack", pack},
	}).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return entry
}

// step does one pass with all that is due.
func (r *rig) step() {
	r.t.Helper()
	for more := true; more; {
		var err error
		r.now = r.now.Add(leaseEvery)
		if more, err = r.pass(r.t.Context(), r.now); err != nil {
			r.t.Fatal(err)
		}
	}
}

// readOnly merges what is new without writing it.
func (r *rig) readOnly() {
	r.t.Helper()
	if err := r.claim(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = r.read(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) get(id auth.DeviceID) map[string]Value {
	r.t.Helper()
	list, err := NewReader(r.client, r.cfg.Keys).Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	values := map[string]Value{}
	for _, v := range list {
		values[v.Name] = v
	}
	return values
}

// want compares a device's values, written name=value.
func (r *rig) want(id auth.DeviceID, want ...string) {
	r.t.Helper()
	got := r.get(id)
	if len(got) != len(want) {
		r.t.Errorf("%d values, want %d: %v", len(got), len(want), got)
	}
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		if v := got[name]; string(v.Value) != value {
			r.t.Errorf("%s is %s, want %s", name, v.Value, value)
		}
	}
}

func one(name string, at int, value string) string {
	return fmt.Sprintf(`[{"bn":%q,"bt":%d,"n":%q,"v":%s}]`, testID.BaseName(), at, name, value)
}

func each(t *testing.T, f func(r *rig)) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) { f(newRig(t, s.Client(), auth.Keyspace{})) })
}
