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
		_ = r.blocking.Close() // ends its XREAD
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

// putCached writes a device, and returns when its record is cached: its own change would throw that out again.
func (f *follower) putCached(d Device) {
	f.t.Helper()
	put(f.t, f.Registry, d)
	f.await(Change{Kind: ChangeDevice, Device: d.ID})
	for limit := time.Now().Add(patience); f.Stats().Entries == 0; { // a machine too busy to renew the lease caches nothing
		if _, err := f.VerifyToken(f.t.Context(), d.ID, body, Token(body, d.Secret)); err != nil {
			f.t.Fatalf("verify: %v", err)
		}
		if time.Now().After(limit) {
			f.t.Fatal("the record is not cached")
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

// limitHook is a hook that keeps how long commands may take at most, as their contexts bound them.
type limitHook struct {
	mu        sync.Mutex
	commands  int
	unbounded bool
	longest   time.Duration
}

// watch puts the hook into a registry's client.
func (h *limitHook) watch(c *RegistryConfig) { c.Client.AddHook(h) }

func (h *limitHook) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands, h.unbounded, h.longest = 0, false, 0
}

// within fails if there was a command that might have taken longer, or none at all.
func (h *limitHook) within(t testing.TB, limit time.Duration) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.commands == 0 || h.unbounded || h.longest > limit {
		t.Errorf("%d commands, one without a bound: %v, one of up to %s, want %s", h.commands, h.unbounded, h.longest, limit)
	}
}

func (h *limitHook) note(ctx context.Context) {
	due, bounded := ctx.Deadline()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands++
	h.unbounded = h.unbounded || !bounded
	if bounded {
		h.longest = max(h.longest, time.Until(due))
	}
}

func (h *limitHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *limitHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.note(ctx); return next(ctx, cmd) }
}

func (h *limitHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { h.note(ctx); return next(ctx, cmds) }
}
