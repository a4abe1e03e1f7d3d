package auth

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// movedClock is a time that tests move.
type movedClock struct{ ahead atomic.Int64 }

func (c *movedClock) now() time.Time         { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *movedClock) pass(d time.Duration)   { c.ahead.Add(int64(d)) }
func (c *movedClock) set(rc *RegistryConfig) { rc.Now = c.now }

func TestRotationEndsByTime(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := &movedClock{}
		r, ctx := follow(t, testRegistry(t, s, c.set)), t.Context()
		r.putCached(Device{ID: imei, Secret: secret})
		d, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour})
		if err != nil || d.Secrets != 2 || d.Rotation == nil || d.Rotation.EndsAt.Sub(c.now()) > time.Hour || d.Rotation.EndsAt.Sub(c.now()) < 59*time.Minute {
			t.Fatalf("rotate: %+v %+v, %v", d, d.Rotation, err)
		}
		proof, err := r.VerifyLogin(ctx, imei, imei.BaseName(), secret)
		if err != nil || proof.Secret != 2 || !proof.Until().Equal(d.Rotation.EndsAt) {
			t.Fatalf("login with the old one: %+v until %s, %v", proof, proof.Until(), err)
		}
		if p, err := r.VerifyLogin(ctx, imei, imei.BaseName(), newer); err != nil || !p.Until().IsZero() {
			t.Errorf("login with the new one: until %s, %v", p.Until(), err)
		}
		c.pass(59 * time.Minute)
		if _, err := r.Recheck(ctx, proof); err != nil {
			t.Errorf("within the window: %v", err)
		}
		c.pass(2 * time.Minute)
		if _, err := r.Recheck(ctx, proof); !errors.Is(err, ErrWrongToken) {
			t.Errorf("session after the window: %v", err)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); !errors.Is(err, ErrWrongToken) {
			t.Errorf("message after the window: %v", err)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, newer)); err != nil {
			t.Errorf("message with the new one: %v", err)
		}
		if d, err := r.GetDevice(ctx, imei); err != nil || d.Secrets != 1 || d.Rotation != nil {
			t.Errorf("after the window: %+v, %v", d, err)
		}
		past := func(want ...string) {
			t.Helper()
			if got, err := r.PastSecrets(ctx, imei); err != nil || !slices.Equal(got, want) {
				t.Errorf("past secrets: %d of them, %v", len(got), err)
			}
		}
		past(secret)
		if now, err := r.Secrets(ctx, imei); err != nil || !slices.Equal(now, []string{newer}) {
			t.Errorf("secrets: %d of them, %v", len(now), err)
		}
		put(t, r.Registry, Device{ID: imei, Name: "changed"}) // which is when the old one leaves its place
		past(secret)
		if _, err := r.RevokeSecret(ctx, imei, AnyRevision, OldSecret); !errors.Is(err, ErrUnknown) {
			t.Errorf("revoke what is over: %v", err)
		}
	})
}

func TestRotationWithoutAWindowEndsAtOnce(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	put(t, r, Device{ID: imei, Secret: secret})
	d, generated, err := r.Rotate(t.Context(), imei, AnyRevision, Rotation{})
	if err != nil || d.Secrets != 1 || d.Rotation != nil || CheckSecret(generated) != nil {
		t.Fatalf("rotate: %+v, %v", d, err)
	}
	if _, err := r.VerifyToken(t.Context(), imei, body, Token(body, secret)); !errors.Is(err, ErrWrongToken) {
		t.Errorf("old one: %v", err)
	}
	for _, how := range []Rotation{{Window: -1}, {Window: MaxRotation + 1}, {After: -1}, {After: MaxAfter + 1}, {After: 4738381338321616896}, {Secret: "short"}} {
		if _, _, err := r.Rotate(t.Context(), imei, AnyRevision, how); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", how, err)
		}
	}
}

func TestRotationEndsByNumber(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		here, there, ctx := follow(t, testRegistry(t, s)), follow(t, testRegistry(t, s)), t.Context()
		put(t, here.Registry, Device{ID: imei, Secret: secret})
		d, _, err := here.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour, After: 10})
		if err != nil || d.Rotation.After != 10 {
			t.Fatalf("rotate: %+v, %v", d.Rotation, err)
		}
		send := func(r *follower, with string, want error) {
			t.Helper()
			if _, err := r.VerifyToken(ctx, imei, body, Token(body, with)); !errors.Is(err, want) {
				t.Fatalf("message: %v, want %v", err, want)
			}
		}
		counted := func(n int64) {
			t.Helper()
			for limit := time.Now().Add(patience); ; {
				d, err := here.GetDevice(ctx, imei)
				if err == nil && (d.Rotation == nil && n == 10 || d.Rotation != nil && d.Rotation.Messages == n) {
					return
				}
				if time.Now().After(limit) {
					t.Fatalf("%+v, %v; want %d messages", d.Rotation, err, n)
				}
			}
		}
		for range 20 {
			send(here, secret, nil) // the old one does not count
		}
		for i := range int64(9) {
			send([]*follower{here, there}[i%2], newer, nil)
		}
		counted(9)
		send(there, secret, nil)
		send(here, newer, nil)
		counted(10)
		for _, r := range []*follower{here, there} { // whichever ended it tells the other
			for limit := time.Now().Add(patience); ; {
				if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); errors.Is(err, ErrWrongToken) {
					break
				}
				if time.Now().After(limit) {
					t.Fatal("a node goes on with the old secret")
				}
			}
		}
		send(there, newer, nil)
	})
}

func TestRevokeSecret(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := testRegistry(t, s), t.Context()
		for _, c := range []struct {
			which    Which
			old, new error
			left     int
		}{{NewSecret, nil, ErrWrongToken, 1}, {OldSecret, ErrWrongToken, nil, 1}, {AllSecrets, ErrWrongToken, ErrWrongToken, 0}} {
			put(t, r, Device{ID: imei, Secret: "00000000000000000000000000000000"})
			put(t, r, Device{ID: imei, Secret: secret})
			if _, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Hour}); err != nil {
				t.Fatal(err)
			}
			d, err := r.RevokeSecret(ctx, imei, AnyRevision, c.which)
			if err != nil || d.Secrets != c.left || d.Rotation != nil {
				t.Fatalf("revoke %d: %+v, %v", c.which, d, err)
			}
			for with, want := range map[string]error{secret: c.old, newer: c.new} {
				if p, err := r.VerifyToken(ctx, imei, body, Token(body, with)); !errors.Is(err, want) || err == nil && !p.Until().IsZero() {
					t.Errorf("revoke %d, then: %+v, %v", c.which, p, err)
				}
			}
		}
		if _, err := r.UpdateDevice(ctx, imei, AnyRevision, func(d *Device) error { d.Name = "no secret left"; return nil }); err != nil {
			t.Errorf("change a device without secrets: %v", err)
		}
		if _, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: "99999999999999999999999999999999", Window: time.Hour}); err != nil {
			t.Errorf("a new one for it: %v", err)
		}
	})
}

func TestAppKeyRotation(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := &movedClock{}
		r, ctx := follow(t, testRegistry(t, s, c.set)), t.Context()
		a, old, err := r.PutApp(ctx, App{Name: "dashboard", Scopes: []Scope{ScopeUplinkRead}, Limits: Limits{Requests: 5}}, Create)
		if err != nil {
			t.Fatal(err)
		}
		session, err := r.AppLogin(ctx, "dashboard", old)
		if err != nil || !session.Until().IsZero() || session.Limits.Requests != 5 {
			t.Fatalf("login: %+v, %v", session, err)
		}
		if _, _, err := r.RotateAppKey(ctx, "dashboard", a.Revision()+1, time.Hour); !errors.Is(err, ErrRevision) {
			t.Errorf("of another revision: %v", err)
		}
		b, key, err := r.RotateAppKey(ctx, "dashboard", a.Revision(), time.Hour)
		if err != nil || b.OldKeyEndsAt.IsZero() || key == old {
			t.Fatalf("rotate: %+v, %v", b, err)
		}
		r.await(Change{Kind: ChangeApp, App: "dashboard"})
		session, err = r.RecheckApp(ctx, session)
		if err != nil || !session.Until().Equal(b.OldKeyEndsAt) {
			t.Fatalf("session of the old key: until %s, %v", session.Until(), err)
		}
		for _, k := range []string{old, key} {
			if _, err := r.AppByKey(ctx, k); err != nil {
				t.Errorf("both keys are valid: %v", err)
			}
		}
		if _, err := r.UpdateApp(ctx, "dashboard", AnyRevision, func(a *App) error { a.Devices = []string{"site=depot"}; return nil }); err != nil {
			t.Fatal(err)
		}
		c.pass(61 * time.Minute)
		if _, err := r.RecheckApp(ctx, session); !errors.Is(err, ErrUnknown) {
			t.Errorf("session of the old key, later: %v", err)
		}
		if _, err := r.AppLogin(ctx, "dashboard", old); !errors.Is(err, ErrUnknown) {
			t.Errorf("the old key, later: %v", err)
		}
		if got, err := r.AppByKey(ctx, key); err != nil || len(got.Devices) != 1 || got.Limits.Requests != 5 {
			t.Errorf("the new key: %+v, %v", got, err)
		}
		if _, _, err := r.RotateAppKey(ctx, AdminName, AnyRevision, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("the admin's key: %v", err)
		}
		if _, key2, err := r.RotateAppKey(ctx, "dashboard", AnyRevision, 0); err != nil {
			t.Error(err)
		} else if _, err := r.AppLogin(ctx, "dashboard", key2); err != nil {
			t.Error(err)
		}
		if _, err := r.AppLogin(ctx, "dashboard", key); !errors.Is(err, ErrUnknown) {
			t.Errorf("without a window: %v", err)
		}
	})
}

// The secret that a device still uses is not ended by the way.
func TestRotationOfASecretInUse(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := follow(t, testRegistry(t, s)), t.Context()
		put(t, r.Registry, Device{ID: imei, Secret: secret})
		rotate := func(to string, force bool) error {
			_, _, err := r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: to, Window: time.Hour, Force: force})
			return err
		}
		const third = "0123456789012345678901234567890123456789"
		if err := rotate(newer, false); err != nil {
			t.Fatal(err)
		}
		if err := rotate(third, false); !errors.Is(err, ErrInUse) {
			t.Errorf("a third secret, when the device has slept since the second came: %v", err)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(patience); ; {
			if d, err := r.GetDevice(ctx, imei); err == nil && d.LastSecret == 2 {
				break
			}
			if time.Now().After(limit) {
				t.Fatal("that it uses the old one is not noted")
			}
		}
		if err := rotate(third, false); !errors.Is(err, ErrInUse) {
			t.Errorf("a third secret: %v", err)
		}
		if err := rotate(newer, false); err != nil {
			t.Errorf("the same again: %v", err)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); err != nil {
			t.Errorf("the one in use: %v", err)
		}
		if err := rotate(third, true); err != nil {
			t.Errorf("by force: %v", err)
		}
	})
}
