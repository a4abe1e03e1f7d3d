package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// clock is a clock that stands still.
func clock(ms *int64) func(*RegistryConfig) {
	return func(c *RegistryConfig) { c.Now = func() time.Time { return time.UnixMilli(*ms) } }
}

func TestPutAndGetDevice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		now, no := int64(1800000000000), false
		r, ctx := testRegistry(t, s, clock(&now)), t.Context()
		d := Device{
			ID: "imei:356726104408422", Name: "Pumpe Süd", ICCID: "8931080019073497795", MSISDN: "+31612345678",
			RatePlan: "flat", SMS: &no, RequireToken: true, Labels: map[string]string{"floor": "2", "a/b.c": "x=y z"}, Secret: secret,
		}
		want := d
		want.ID, want.MSISDN, want.Secret, want.Secrets, want.CreatedAt, want.ModifiedAt = imei, "31612345678", "", 1, at(now), at(now)
		stored, err := r.PutDevice(ctx, d, Create)
		if diff := cmp.Diff(want, stored); err != nil || diff != "" {
			t.Fatalf("created: %v %s", err, diff)
		}
		if got, err := r.GetDevice(ctx, imei); err != nil || !cmp.Equal(want, got) {
			t.Fatalf("get: %v %s", err, cmp.Diff(want, got))
		}
		if _, err := r.PutDevice(ctx, d, Create); !errors.Is(err, ErrExists) {
			t.Fatalf("created twice: %v", err)
		}
		// The clock stands still; the revision goes on.
		changed := Device{ID: imei, Name: "Pumpe Nord"}
		want = Device{ID: imei, Name: "Pumpe Nord", Secrets: 1, CreatedAt: at(now), ModifiedAt: at(now + 1)}
		stored, err = r.PutDevice(ctx, changed, Replace)
		if diff := cmp.Diff(want, stored); err != nil || diff != "" {
			t.Fatalf("replaced: %v %s", err, diff)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); err != nil {
			t.Errorf("the secret was not kept: %v", err)
		}
		if _, err := r.PutDevice(ctx, Device{ID: other, Secret: secret}, Replace); !errors.Is(err, ErrUnknown) {
			t.Errorf("replaced nothing: %v", err)
		}
		if err := r.DeleteDevice(ctx, imei, AnyRevision); err != nil {
			t.Errorf("delete: %v", err)
		}
		if err := r.DeleteDevice(ctx, imei, AnyRevision); !errors.Is(err, ErrUnknown) {
			t.Errorf("deleted twice: %v", err)
		}
		if _, err := r.GetDevice(ctx, imei); !errors.Is(err, ErrUnknown) {
			t.Errorf("get deleted: %v", err)
		}
	})
}

func TestPutDeviceRefuses(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprint("l", i)] = ""
	}
	long := map[string]string{}
	for i := range 20 {
		long[fmt.Sprint("l", i)] = strings.Repeat("x", 200)
	}
	for name, d := range map[string]Device{
		"id":               {ID: "IMEI:1", Secret: secret},
		"no secret":        {ID: imei},
		"short secret":     {ID: imei, Secret: "short"},
		"secret, unsigned": {ID: imei, Secret: secret, Unsigned: true},
		"iccid":            {ID: imei, Secret: secret, ICCID: "893108001907349779"},
		"msisdn":           {ID: imei, Secret: secret, MSISDN: "0612345678"},
		"msisdn letters":   {ID: imei, Secret: secret, MSISDN: "3161234567a"},
		"name":             {ID: imei, Secret: secret, Name: "a\nb"},
		"name not UTF-8":   {ID: imei, Secret: secret, Name: "\xff"},
		"rate plan":        {ID: imei, Secret: secret, RatePlan: strings.Repeat("x", 257)},
		"label name":       {ID: imei, Secret: secret, Labels: map[string]string{"a=b": "c"}},
		"label name empty": {ID: imei, Secret: secret, Labels: map[string]string{"": "c"}},
		"label tab":        {ID: imei, Secret: secret, Labels: map[string]string{"a": "b\tc"}},
		"many labels":      {ID: imei, Secret: secret, Labels: many},
		"long labels":      {ID: imei, Secret: secret, Labels: long},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.PutDevice(t.Context(), d, Upsert)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error = %v", err)
			}
			if d.Secret != "" && strings.Contains(fmt.Sprint(err), d.Secret) && d.Secret != "short" {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestSecretsLeaveNoTrace(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	d := Device{ID: imei, Secret: secret}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("put", "device", d)
	stored := put(t, r, d)
	text, err := json.Marshal([]any{d, stored})
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	if strings.Contains(string(text)+log.String(), secret) || stored.Secret != "" {
		t.Errorf("the secret shows in %s or %s", text, log.String())
	}
}

func TestRotation(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := follow(t, testRegistry(t, s)).Registry, t.Context()
		put(t, r, Device{ID: imei, Secret: secret})
		const newest = "0123456789012345678901234567890123456789"
		rotates := func(to string, force bool) {
			t.Helper()
			if _, got, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: to, Window: time.Hour, Force: force}); err != nil || got != to {
				t.Fatalf("rotate: %q, %v", got, err)
			}
		}
		slots := func(want map[string]uint8) {
			t.Helper()
			for with, slot := range want {
				p, err := r.VerifyToken(ctx, imei, body, Token(body, with))
				if slot == 0 != errors.Is(err, ErrWrongToken) || p.Secret != slot {
					t.Errorf("verify = %+v, %v; want secret %d", p, err, slot)
				}
			}
		}
		rotates(newer, false)
		slots(map[string]uint8{newer: 1, secret: 2})
		rotates(newer, false) // asked again: nothing changes
		slots(map[string]uint8{newer: 1, secret: 2})
		rotates(newest, true) // the oldest may be in use
		slots(map[string]uint8{newest: 1, newer: 2, secret: 0})
		put(t, r, Device{ID: imei, Name: "both are kept"})
		slots(map[string]uint8{newest: 1, newer: 2})
		if _, err := r.RevokeSecret(ctx, imei, AnyRevision, OldSecret); err != nil {
			t.Fatalf("end rotation: %v", err)
		}
		slots(map[string]uint8{newest: 1, newer: 0})
		_, generated, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Window: time.Hour})
		if err != nil || CheckSecret(generated) != nil {
			t.Fatalf("rotate to a generated one: %v", err)
		}
		slots(map[string]uint8{generated: 1, newest: 2})
		put(t, r, Device{ID: imei, Secret: secret})
		slots(map[string]uint8{secret: 1, generated: 0, newest: 0})
		put(t, r, Device{ID: imei, Unsigned: true})
		if d, err := r.GetDevice(ctx, imei); err != nil || d.Secrets != 0 {
			t.Errorf("unsigned with %d secrets, %v", d.Secrets, err)
		}
		if _, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); !errors.Is(err, ErrInvalid) {
			t.Errorf("rotate unsigned: %v", err)
		}
		if _, _, err := r.Rotate(ctx, other, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); !errors.Is(err, ErrUnknown) {
			t.Errorf("rotate unknown: %v", err)
		}
		if _, err := r.RevokeSecret(ctx, other, AnyRevision, OldSecret); !errors.Is(err, ErrUnknown) {
			t.Errorf("end rotation of unknown: %v", err)
		}
	})
}

// A registry that was plain gets a key: its records go on, new ones are sealed, and a node without the key says so.
func TestSecretKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		key := func(k string) func(*RegistryConfig) { return func(c *RegistryConfig) { c.SecretKey = k } }
		plain, keyed, foreign := testRegistry(t, s), testRegistry(t, s, key("the key of this test")), testRegistry(t, s, key("a key of another one"))
		put(t, plain, Device{ID: other, Secret: secret})
		put(t, keyed, Device{ID: imei, Secret: secret})
		stored, err := s.Client().HGetAll(t.Context(), "m2m:{0}:device:"+string(imei)).Result()
		if err != nil || strings.Contains(fmt.Sprint(stored), secret) || !strings.Contains(stored["auth"], "e1:") {
			t.Errorf("stored: %v, %v", stored, err)
		}
		if secrets, err := keyed.Secrets(t.Context(), imei); err != nil || !slices.Equal(secrets, []string{secret}) {
			t.Errorf("secrets: %d, %v", len(secrets), err)
		}
		if _, err := keyed.Secrets(t.Context(), uuid); !errors.Is(err, ErrUnknown) {
			t.Errorf("secrets of nobody: %v", err)
		}
		r := follow(t, keyed).Registry
		for range 2 {
			verifies(t, r, secret, nil)
			if _, err := r.VerifyToken(t.Context(), other, body, Token(body, secret)); err != nil {
				t.Errorf("verify the plain one: %v", err)
			}
		}
		if st := r.Stats(); st.Entries != 2 {
			t.Errorf("%d cached", st.Entries)
		}
		for name, r := range map[string]*Registry{"no key": plain, "another key": foreign} {
			_, err := r.VerifyToken(t.Context(), imei, body, Token(body, secret))
			if !errors.Is(err, ErrSecretKey) || !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := r.VerifyToken(t.Context(), other, body, Token(body, secret)); err != nil {
				t.Errorf("%s, the plain one: %v", name, err)
			}
			put(t, r, Device{ID: imei, Name: name}) // does not need the secret, and keeps it
		}
		verifies(t, testRegistry(t, s, key("the key of this test")), secret, nil)
		put(t, keyed, Device{ID: other, Name: "touched"})
		if auth := s.Client().HGet(t.Context(), "m2m:{0}:device:"+string(other), "auth").Val(); !strings.Contains(auth, "e1:") {
			t.Errorf("a plain secret stays plain when its device is written: %s", auth)
		}
	})
	if _, err := NewRegistry(RegistryConfig{Client: redis.NewClient(&redis.Options{}), SecretKey: "short"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short key: %v", err)
	}
}

func TestListDevices(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		now := int64(1800000000000)
		r := testRegistry(t, s, clock(&now), partitions(3))
		var all []DeviceID
		for i := range 107 {
			now += 1000
			id := benchID(i * 7919 % 1000000)
			put(t, r, Device{ID: id, Unsigned: true})
			all = append(all, id)
		}
		slices.Sort(all)
		lists := func(q ListQuery, want []DeviceID) {
			t.Helper()
			var got []DeviceID
			for page := 0; ; page++ {
				devices, next, err := r.ListDevices(t.Context(), q)
				if err != nil || len(devices) > max(q.Limit, 50) || page > 200 {
					t.Fatalf("page %d: %d devices, %v", page, len(devices), err)
				}
				for _, d := range devices {
					got = append(got, d.ID)
				}
				if q.After = next; next == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v: %s", q, diff)
			}
		}
		lists(ListQuery{}, all)
		lists(ListQuery{Limit: 1}, all)
		lists(ListQuery{Limit: 107}, all)
		lists(ListQuery{Limit: 1000}, all)
		lists(ListQuery{After: string(all[49]), Limit: 10}, all[50:])
		back := slices.Clone(all)
		slices.Reverse(back)
		lists(ListQuery{Reverse: true, Limit: 10}, back)
		from, to := at(1800000000000+50000), at(1800000000000+60000)
		var some []DeviceID
		for _, id := range all {
			d, err := r.GetDevice(t.Context(), id)
			if err != nil {
				t.Fatalf("get: %v", err)
			}
			if !d.CreatedAt.Before(from) && d.CreatedAt.Before(to) {
				some = append(some, id)
			}
		}
		if len(some) != 10 {
			t.Fatalf("%d devices in the window", len(some))
		}
		lists(ListQuery{CreatedSince: from, CreatedBefore: to, Limit: 4}, some)
		lists(ListQuery{ModifiedSince: from, ModifiedBefore: to}, some)
		if err := r.DeleteDevice(t.Context(), all[0], AnyRevision); err != nil {
			t.Fatalf("delete: %v", err)
		}
		lists(ListQuery{}, all[1:])
	})
}

// lostReply is a hook that lets the next script act and loses its reply.
type lostReply struct{ next bool }

func (h *lostReply) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lostReply) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *lostReply) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if h.next && strings.HasPrefix(cmd.Name(), "eval") && err == nil {
			h.next = false
			err = net.ErrClosed
			cmd.SetErr(err)
		}
		return err
	}
}

func TestLostRepliesChangeNothingTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		lost := &lostReply{}
		client := s.Client()
		client.AddHook(lost)
		r, ctx := testRegistry(t, s, func(c *RegistryConfig) { c.Client = client }), t.Context()
		for i, change := range []func() error{
			func() error { _, err := r.PutDevice(ctx, Device{ID: imei, Secret: secret}, Create); return err },
			func() error { _, err := r.PutDevice(ctx, Device{ID: imei, Name: "changed"}, Replace); return err },
			func() error {
				_, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour})
				return err
			},
			func() error { return r.DeleteDevice(ctx, imei, AnyRevision) },
			func() error { _, _, err := r.PutApp(ctx, App{Name: "a", Scopes: Scopes()}, Create); return err },
			func() error { return r.DeleteApp(ctx, "a", AnyRevision) },
		} {
			lost.next = true
			if err := change(); err != nil {
				t.Errorf("change %d: %v", i, err)
			}
			if n := client.XLen(ctx, "m2m:{0}:registry").Val(); lost.next || n != int64(i)+1 {
				t.Errorf("after change %d: %d told", i, n)
			}
		}
	})
}

func TestConcurrentChangesAllCount(t *testing.T) {
	r := testRegistry(t, redistest.Start(t))
	put(t, r, Device{ID: imei, Secret: secret})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 10 {
				_, err := r.PutDevice(t.Context(), Device{ID: imei, Secret: newer}, Upsert)
				if err != nil && !errors.Is(err, ErrConflict) {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	var made int
	for range 10 {
		_, err := r.PutDevice(t.Context(), Device{ID: other, Unsigned: true}, Create)
		if err == nil {
			made++
		} else if !errors.Is(err, ErrExists) {
			t.Errorf("create: %v", err)
		}
	}
	writers.Wait()
	if made != 1 {
		t.Errorf("created %d times", made)
	}
	if d, err := r.GetDevice(t.Context(), imei); err != nil || d.Secrets != 1 {
		t.Errorf("after all: %+v, %v", d, err)
	}
}

// A full or damaged Redis says unavailable, never unknown; what can be read is.
func TestRedisThatRefuses(t *testing.T) {
	s := redistest.Start(t)
	r, c, ctx := testRegistry(t, s), s.Client(), t.Context()
	put(t, r, Device{ID: imei, Secret: secret})
	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatalf("config: %v", err)
	}
	if _, err := r.PutDevice(ctx, Device{ID: other, Secret: secret}, Create); !errors.Is(err, ErrUnavailable) {
		t.Errorf("put into a full Redis: %v", err)
	}
	verifies(t, r, secret, nil)
	c.ConfigSet(ctx, "maxmemory", "0")
	if err := c.ReplicaOf(ctx, "127.0.0.1", "1").Err(); err != nil {
		t.Fatalf("replicaof: %v", err)
	}
	if err := r.DeleteDevice(ctx, imei, AnyRevision); !errors.Is(err, ErrUnavailable) {
		t.Errorf("delete on a replica: %v", err)
	}
	c.ReplicaOf(ctx, "NO", "ONE")
	for field, value := range map[string]string{"auth": "9", "about": "{", "created": "x"} {
		put(t, r, Device{ID: other, Unsigned: true})
		if err := c.HSet(ctx, "m2m:{0}:device:"+string(other), field, value).Err(); err != nil {
			t.Fatalf("hset: %v", err)
		}
		if _, err := r.GetDevice(ctx, other); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnavailable) {
			t.Errorf("get with damaged %s: %v", field, err)
		}
		if err := r.DeleteDevice(ctx, other, AnyRevision); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	c.Set(ctx, "m2m:{0}:device:"+string(other), "not a hash", 0)
	if _, err := r.VerifyToken(ctx, other, body, Token(body, secret)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("verify against another type: %v", err)
	}
}
