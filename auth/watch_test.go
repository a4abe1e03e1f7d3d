package auth

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// slowly is what a machine that is busy with other things may add to a time.
const slowly = 2 * time.Second

// The times promised, which the tests' own bounds are too wide to hold: a change is in force within a second, and who asks
// while Redis is away is told within half a second.
func TestLimits(t *testing.T) {
	if leaseFor >= time.Second || blockFor >= replyLimit || replyLimit >= leaseFor {
		t.Errorf("a lease of %s, renewed within %s to %s", leaseFor, blockFor, replyLimit)
	}
	if askLimit >= 500*time.Millisecond {
		t.Errorf("a lookup may take %s", askLimit)
	}
}

// inTime fails if f takes longer.
func inTime(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if took := time.Since(begun); took > limit {
		t.Errorf("%s took %s, more than %s", what, took, limit)
	}
}

// verifies checks the answer to a body made with the secret.
func verifies(t *testing.T, r *Registry, with string, want error) {
	t.Helper()
	if _, err := r.VerifyToken(t.Context(), imei, body, Token(body, with)); !errors.Is(err, want) {
		t.Errorf("verify = %v, want %v", err, want)
	}
}

func TestChangeReachesAnotherNode(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		here, there := testRegistry(t, s), follow(t, testRegistry(t, s))
		changed := Change{Kind: ChangeDevice, Device: imei}
		reaches := func() {
			t.Helper()
			inTime(t, slowly, "the change", func() { there.await(changed) })
		}
		put(t, here, Device{ID: imei, Secret: secret})
		reaches()
		verifies(t, there.Registry, secret, nil)
		loads := there.Stats().Loads
		verifies(t, there.Registry, secret, nil)
		if st := there.Stats(); st.Loads != loads || st.Entries != 1 || !st.LeaseValid {
			t.Errorf("a cached device was loaded: %+v", st)
		}

		put(t, here, Device{ID: imei, Secret: newer})
		reaches()
		verifies(t, there.Registry, secret, ErrWrongToken)
		verifies(t, there.Registry, newer, nil)

		put(t, here, Device{ID: imei, Disabled: true})
		reaches()
		verifies(t, there.Registry, newer, ErrDisabled)

		put(t, here, Device{ID: imei})
		reaches()
		verifies(t, there.Registry, newer, nil)

		if err := here.DeleteDevice(t.Context(), imei, AnyRevision); err != nil {
			t.Fatalf("delete: %v", err)
		}
		reaches()
		verifies(t, there.Registry, newer, ErrUnknown)
	})
}

// A change made here is in force here when it returns, whatever the change stream does.
func TestOwnChangeIsInForceAtOnce(t *testing.T) {
	r := follow(t, testRegistry(t, redistest.Start(t))).Registry
	for range 50 {
		put(t, r, Device{ID: imei, Secret: secret})
		verifies(t, r, secret, nil)
		put(t, r, Device{ID: imei, Secret: newer})
		verifies(t, r, secret, ErrWrongToken)
		verifies(t, r, newer, nil)
	}
}

func TestWithoutRunEveryAnswerComesFromRedis(t *testing.T) {
	r := testRegistry(t, redistest.Start(t))
	put(t, r, Device{ID: imei, Secret: secret})
	for range 3 {
		verifies(t, r, secret, nil)
	}
	if st := r.Stats(); st.Loads != 3 || st.Hits != 0 || st.Entries != 0 || st.LeaseValid {
		t.Errorf("stats = %+v", st)
	}
}

// The order is forced: the record is read, then changed, the change is known here, and only then is what was read used.
func TestRecordReadBeforeAChangeIsNotCachedAfterIt(t *testing.T) {
	s := redistest.Start(t)
	hold := &holdHook{read: make(chan struct{}), goOn: make(chan struct{})}
	r := follow(t, testRegistry(t, s, func(c *RegistryConfig) {
		client := s.Client()
		client.AddHook(hold)
		c.Client = client
	}))
	elsewhere := testRegistry(t, s)
	put(t, elsewhere, Device{ID: imei, Secret: secret})
	r.await(Change{Kind: ChangeDevice, Device: imei})

	hold.on.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		verifies(t, r.Registry, secret, nil) // it was right when it was read
	}()
	<-hold.read
	hold.on.Store(false)
	put(t, elsewhere, Device{ID: imei, Secret: newer})
	r.await(Change{Kind: ChangeDevice, Device: imei})
	close(hold.goOn)
	<-done
	if st := r.Stats(); st.Entries != 0 {
		t.Errorf("%d entries cached", st.Entries)
	}
	verifies(t, r.Registry, secret, ErrWrongToken)
}

// holdHook holds back the reply to an HGET.
type holdHook struct {
	on         atomic.Bool
	read, goOn chan struct{}
}

func (h *holdHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *holdHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *holdHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "hget" && h.on.Load() {
			h.read <- struct{}{}
			<-h.goOn
		}
		return err
	}
}

// Many ask while the secret changes again and again: once a change is known, nobody gets by with what was before it.
func TestChangesAgainstManyReaders(t *testing.T) {
	s := redistest.Start(t)
	r, elsewhere := follow(t, testRegistry(t, s)), testRegistry(t, s)
	put(t, elsewhere, Device{ID: imei, Secret: secret})
	r.await(Change{Kind: ChangeDevice, Device: imei})
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				for _, with := range []string{secret, newer} {
					if _, err := r.VerifyToken(ctx, imei, body, Token(body, with)); err != nil && !errors.Is(err, ErrWrongToken) && ctx.Err() == nil {
						t.Errorf("verify: %v", err)
					}
				}
			}
		})
	}
	for i := range 60 {
		is, was := newer, secret
		if i%2 == 1 {
			is, was = was, is
		}
		put(t, elsewhere, Device{ID: imei, Secret: is})
		r.await(Change{Kind: ChangeDevice, Device: imei})
		verifies(t, r.Registry, was, ErrWrongToken)
		verifies(t, r.Registry, is, nil)
	}
	stop()
	readers.Wait()
}

// untilUnavailable asks until the registry says that it is unavailable.
func untilUnavailable(t *testing.T, r *Registry) {
	t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		_, err := r.VerifyToken(t.Context(), imei, body, Token(body, secret))
		if errors.Is(err, ErrUnavailable) {
			return
		}
		if err != nil {
			t.Fatalf("verify: %v", err)
		}
	}
	t.Fatal("still answered")
}

func TestCacheIsDroppedWhenRedisIsKilled(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	r := follow(t, testRegistry(t, s))
	r.putCached(Device{ID: imei, Secret: secret})
	s.Kill()
	killed := time.Now()
	inTime(t, leaseFor+askLimit+slowly, "unavailable", func() { untilUnavailable(t, r.Registry) })
	inTime(t, slowly, "the drop", func() {
		for limit := time.Now().Add(patience); r.Stats().Entries != 0 || r.Stats().LeaseValid; runtime.Gosched() {
			if until := r.leases[0].until.Load(); until != nil && until.After(killed.Add(leaseFor)) {
				t.Fatalf("a lease until %s after the kill", until.Sub(killed))
			}
			if time.Now().After(limit) {
				t.Fatalf("stats without Redis = %+v", r.Stats())
			}
		}
	})
	verifies(t, r.Registry, secret, ErrUnavailable)
	s.Restart()
	r.await(Change{Kind: ChangeAll})
	verifies(t, r.Registry, secret, nil)
	if st := r.Stats(); st.Entries != 1 || !st.LeaseValid {
		t.Errorf("stats with Redis back = %+v", st)
	}
}

func TestStoppedRedis(t *testing.T) {
	s, limits := redistest.Start(t), &limitHook{}
	r := follow(t, testRegistry(t, s, limits.watch))
	r.putCached(Device{ID: imei, Secret: secret})
	s.Stop()
	limits.reset()
	inTime(t, leaseFor+askLimit+slowly, "the lease", func() { untilUnavailable(t, r.Registry) })
	for range 3 {
		inTime(t, slowly, "one refusal", func() { verifies(t, r.Registry, secret, ErrUnavailable) })
	}
	var many sync.WaitGroup
	inTime(t, slowly, "many refusals", func() {
		for range 2000 {
			many.Go(func() { verifies(t, r.Registry, secret, ErrUnavailable) })
		}
		many.Wait()
	})
	limits.within(t, askLimit)
	s.Cont()
	r.await(Change{Kind: ChangeAll})
	verifies(t, r.Registry, secret, nil)
}

// A node that is held up, here by its own listener, does not trust what it cannot keep up with.
func TestLeaseEndsByItself(t *testing.T) {
	s := redistest.Start(t)
	r, elsewhere := follow(t, testRegistry(t, s)), testRegistry(t, s)
	put(t, elsewhere, Device{ID: imei, Secret: secret})
	r.await(Change{Kind: ChangeDevice, Device: imei})
	verifies(t, r.Registry, secret, nil)
	goOn := make(chan struct{})
	r.OnChange(func(c Change) {
		if c.Device == other {
			<-goOn
		}
	})
	put(t, elsewhere, Device{ID: other, Unsigned: true})
	put(t, elsewhere, Device{ID: imei, Secret: newer}) // not heard of, for now
	inTime(t, leaseFor+slowly, "the end of the lease", func() {
		for limit := time.Now().Add(patience); r.Stats().LeaseValid; runtime.Gosched() {
			if time.Now().After(limit) {
				close(goOn)
				t.Fatal("the lease goes on")
			}
		}
	})
	verifies(t, r.Registry, secret, ErrWrongToken)
	verifies(t, r.Registry, newer, nil)
	close(goOn)
	r.await(Change{Kind: ChangeDevice, Device: imei})
	verifies(t, r.Registry, newer, nil)
}

// What may have been missed drops everything; each case leaves the change stream as the fault would.
func TestMissedChanges(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, c := range []struct {
			name  string
			fault func(ctx context.Context, c *redis.Client) error
		}{
			{"trimmed past us", func(ctx context.Context, c *redis.Client) error {
				_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
					p.IncrBy(ctx, "m2m:{0}:registry:n", 6)
					p.XAdd(ctx, &redis.XAddArgs{Stream: "m2m:{0}:registry", Values: []string{"n", "7", "kind", "device", "id", "x"}})
					return nil
				})
				return err
			}},
			{"older data", func(ctx context.Context, c *redis.Client) error {
				return c.Set(ctx, "m2m:{0}:registry:n", 0, 0).Err()
			}},
			{"no data", func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }},
			{"older data, changed since", func(ctx context.Context, c *redis.Client) error {
				return c.Set(ctx, "m2m:{0}:registry:n", 9, 0).Err()
			}},
			{"not ours", func(ctx context.Context, c *redis.Client) error {
				return c.XAdd(ctx, &redis.XAddArgs{Stream: "m2m:{0}:registry", Values: []string{"a", "b"}}).Err()
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				client := s.Client()
				if err := client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatalf("flush: %v", err)
				}
				r := follow(t, testRegistry(t, s))
				put(t, r.Registry, Device{ID: imei, Secret: secret})
				r.await(Change{Kind: ChangeDevice, Device: imei})
				verifies(t, r.Registry, secret, nil)
				if st := r.Stats(); st.Entries != 1 {
					t.Fatalf("not cached: %+v", st)
				}
				if err := c.fault(t.Context(), client); err != nil {
					t.Fatalf("fault: %v", err)
				}
				inTime(t, slowly, "the drop", func() { r.await(Change{Kind: ChangeAll}) })
				if st := r.Stats(); st.Entries != 0 {
					t.Errorf("still cached: %+v", st)
				}
				r.stop()
			})
		}
	})
}

// More changes at once than one read takes: none is lost, and the lease waits for the last.
func TestManyChangesAtOnce(t *testing.T) {
	s := redistest.Start(t)
	r, elsewhere := follow(t, testRegistry(t, s, partitions(4))), testRegistry(t, s, partitions(4))
	const n = 2500
	var writers sync.WaitGroup
	for w := range 10 {
		writers.Go(func() {
			for i := w; i < n; i += 10 {
				put(t, elsewhere, Device{ID: benchID(i), Unsigned: true})
			}
		})
	}
	writers.Wait()
	told := map[DeviceID]bool{}
	for limit := time.After(patience); len(told) < n; {
		select {
		case c := <-r.changes:
			if c.Kind != ChangeDevice || told[c.Device] {
				t.Fatalf("told %+v, of %d", c, len(told))
			}
			told[c.Device] = true
		case <-limit:
			t.Fatalf("%d of %d changes told", len(told), n)
		}
	}
}

func partitions(n int) func(*RegistryConfig) {
	return func(c *RegistryConfig) { c.Keys.Partitions = n }
}

// wallHook holds back all lookups until the wall falls.
type wallHook struct {
	up   atomic.Bool
	wall chan struct{}
}

func (h *wallHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *wallHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { h.wait(cmd); return next(ctx, cmd) }
}

func (h *wallHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { h.wait(cmds[0]); return next(ctx, cmds) }
}

func (h *wallHook) wait(cmd redis.Cmder) {
	if cmd.Name() == "hget" && h.up.Load() {
		<-h.wall
	}
}

// However many wrong tokens are waiting to be refused: cached devices are answered from memory, and there is room for
// those that are not cached.
func TestFloodOfRefusals(t *testing.T) {
	s := redistest.Start(t)
	wall := &wallHook{wall: make(chan struct{})}
	f := follow(t, testRegistry(t, s, func(c *RegistryConfig) {
		client := s.Client()
		client.AddHook(wall)
		c.Client = client
	}))
	r := f.Registry
	const waiting, turnedAway = 16, 20
	r.suspect = newLane(1, 8, waiting, r.fetch)
	put(t, r, Device{ID: imei, Secret: secret})
	put(t, r, Device{ID: other, Secret: secret})
	f.await(Change{Kind: ChangeDevice, Device: other}) // or it would drop what is cached next
	verifies(t, r, secret, nil)

	wall.up.Store(true)
	fall := sync.OnceFunc(func() { close(wall.wall) })
	defer time.AfterFunc(patience, fall).Stop()
	var flood sync.WaitGroup
	var busy atomic.Int64
	for range 1 + waiting + turnedAway {
		flood.Go(func() {
			_, err := r.VerifyToken(t.Context(), imei, body, Token(body, newer))
			if errors.Is(err, ErrBusy) {
				busy.Add(1)
			} else if !errors.Is(err, ErrWrongToken) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("refused with %v", err)
			}
		})
	}
	for limit := time.Now().Add(patience); busy.Load() < turnedAway; {
		verifies(t, r, secret, nil)
		if time.Now().After(limit) {
			t.Fatalf("%d turned away", busy.Load())
		}
	}
	uncached := make(chan error)
	go func() {
		_, err := r.VerifyToken(t.Context(), other, body, Token(body, secret))
		uncached <- err
	}()
	verifies(t, r, secret, nil)
	fall()
	flood.Wait()
	if err := <-uncached; errors.Is(err, ErrBusy) {
		t.Errorf("an uncached device: %v", err)
	}
	if st := r.Stats(); st.Busy != uint64(busy.Load()) {
		t.Errorf("stats count %d, want %d", st.Busy, busy.Load())
	}
}
