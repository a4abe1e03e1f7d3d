package uplink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

const (
	testID     = auth.DeviceID("IMEI:356726104408422")
	testSecret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
)

// rig is a running Service over a real store, with one registered device.
type rig struct {
	*Service
	t        *testing.T
	client   *redis.Client
	registry *auth.Registry
}

// newRig starts a Service as cfg has it; client, registry and keys are filled in.
func newRig(t *testing.T, s *redistest.Server, cfg Config) *rig {
	t.Helper()
	client, blocking := s.Client(), s.Client()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Blocking: blocking, Keys: cfg.Keys})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Client, cfg.Registry = client, registry
	service, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Service: service, t: t, client: client, registry: registry}
	r.background(registry.Run)
	t.Cleanup(func() { _ = blocking.Close() }) // ends its XREAD
	r.background(service.Run)
	r.addDevice(auth.Device{ID: testID, Secret: testSecret})
	return r
}

// background runs f until the test ends, and waits for it.
func (r *rig) background(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	r.t.Cleanup(func() { cancel(); <-done })
}

func (r *rig) addDevice(d auth.Device) {
	r.t.Helper()
	if _, err := r.registry.PutDevice(r.t.Context(), d, auth.Create); err != nil {
		r.t.Fatal(err)
	}
}

// send hands a body over HTTP's m2m path with the token of secret.
func (r *rig) send(body, secret string) Verdict {
	r.t.Helper()
	return r.accept(&Message{Via: HTTP, Remote: "127.0.0.1:5000", PathType: "IMEI", Body: []byte(body), Token: tokenOf(body, secret), HasToken: true})
}

// accept bounds the wait, so that a verdict that never comes fails the test.
func (r *rig) accept(m *Message) Verdict {
	r.t.Helper()
	got := make(chan Verdict, 1)
	go func() { got <- r.Accept(context.Background(), m) }()
	select {
	case v := <-got:
		return v
	case <-time.After(10 * time.Second):
		r.t.Fatal("no verdict")
		return Verdict{}
	}
}

// stored is the uplinks stream of partition p.
func (r *rig) stored(p int) []redis.XMessage {
	r.t.Helper()
	entries, err := r.client.XRange(context.Background(), UplinksKey(r.cfg.Keys, p), "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

func tokenOf(body, secret string) string {
	h := sha256.Sum256([]byte(body + secret))
	return hex.EncodeToString(h[:])
}

// packAt is a pack that fixes its time.
func packAt(id auth.DeviceID, t int, v int) string {
	return fmt.Sprintf(`[{"bn":"%s","bt":%d,"n":"seq","v":%d}]`, id.BaseName(), t, v)
}

// timeless is a pack that does not.
func timeless(id auth.DeviceID, v int) string {
	return fmt.Sprintf(`[{"bn":"%s","n":"seq","v":%d}]`, id.BaseName(), v)
}
