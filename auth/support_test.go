package auth

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

const (
	imei   = DeviceID("IMEI:356726104408422")
	other  = DeviceID("IMEI:356726104408423")
	uuid   = DeviceID("DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950e")
	secret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	newer  = "aaaaaaaaaaBBBBBBBBBBcccccccccc0123456789"

	// patience bounds every wait of the tests.
	patience = 10 * time.Second
)

// testRegistry is a registry on the server, which does not follow changes.
func testRegistry(t testing.TB, s *redistest.Server, options ...func(*RegistryConfig)) *Registry {
	t.Helper()
	c := RegistryConfig{Client: s.Client(), Blocking: s.Client(), AdminKey: "the admin's key"}
	for _, o := range options {
		o(&c)
	}
	r, err := NewRegistry(c)
	if err != nil {
		t.Fatalf("new registry: %v", err)
	}
	return r
}

// follower is a registry whose Run runs, with the changes that it tells.
type follower struct {
	*Registry
	t       testing.TB
	changes chan Change
	stop    func()
}

// follow runs a registry until the test ends; when it returns, the cache is trusted.
func follow(t testing.TB, r *Registry) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{Registry: r, t: t, changes: make(chan Change, 10000)}
	r.OnChange(func(c Change) { f.changes <- c })
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	f.stop = func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
			ended <- nil
		case <-time.After(patience):
			t.Error("run has not ended")
		}
	}
	t.Cleanup(f.stop)
	f.await(Change{Kind: ChangeAll})
	return f
}

// await returns when the change has been told.
func (f *follower) await(want Change) {
	f.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case c := <-f.changes:
			if c == want {
				return
			}
		case <-limit:
			f.t.Fatalf("change %+v has not been told", want)
		}
	}
}

// put writes a device with the secret and returns it.
func put(t testing.TB, r *Registry, d Device) Device {
	t.Helper()
	stored, err := r.PutDevice(context.Background(), d, Upsert)
	if err != nil {
		t.Fatalf("put device: %v", err)
	}
	return stored
}

// commandCounter is a hook that keeps the names of the commands sent.
type commandCounter struct {
	mu    sync.Mutex
	names []string
}

func (c *commandCounter) add(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		c.names = append(c.names, cmd.Name())
	}
}

// take gives the names since the last call.
func (c *commandCounter) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := strings.Join(c.names, " ")
	c.names = nil
	return names
}

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.add(cmd); return next(ctx, cmd) }
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.add(cmds...); return next(ctx, cmds) }
}
