package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// soon is the time within which a change must have ended what it forbids.
const soon = time.Second

func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("took %v", took)
	}
}

func TestChangesOfDevices(t *testing.T) {
	ctx := context.Background()
	will := func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte("gone")
	}
	for _, c := range []struct {
		name   string
		change func(r *auth.Registry) error
		code   byte // 0: the session stays
	}{
		{"removed", func(r *auth.Registry) error { return r.DeleteDevice(ctx, imei, auth.AnyRevision) }, 0x98},
		{"disabled", func(r *auth.Registry) error {
			_, err := r.PutDevice(ctx, auth.Device{ID: imei, Disabled: true}, auth.Replace)
			return err
		}, 0x98},
		{"another secret", func(r *auth.Registry) error {
			_, err := r.PutDevice(ctx, auth.Device{ID: imei, Secret: secret + "x"}, auth.Replace)
			return err
		}, 0x87},
		{"rotation begun", func(r *auth.Registry) error {
			_, _, err := r.Rotate(ctx, imei, auth.AnyRevision, auth.Rotation{Secret: secret + "x", Window: time.Hour})
			return err
		}, 0},
		{"labels", func(r *auth.Registry) error {
			_, err := r.PutDevice(ctx, auth.Device{ID: imei, Labels: map[string]string{"a": "b"}}, auth.Replace)
			return err
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			other := e.device(version311, login(imei2.BaseName(), secret))
			p := e.device(version5, will)
			within(t, soon, func() {
				if err := c.change(e.reg); err != nil {
					t.Fatal(err)
				}
				if c.code != 0 {
					p.closed(c.code)
				}
			})
			if c.code == 0 {
				p.silent()
				p.alive()
			}
			nothing(t, e.uplinks) // the will of a device that may send nothing more
			other.alive()
		})
	}
}

func TestChangesOfApps(t *testing.T) {
	ctx := context.Background()
	e := newEdge(t)
	put := func(a auth.App) {
		t.Helper()
		if _, _, err := e.reg.PutApp(ctx, a, auth.Replace); err != nil {
			t.Fatal(err)
		}
	}
	both := []auth.Scope{auth.ScopeUplinkRead, auth.ScopeRejectRead}
	key := e.app(auth.App{Name: "app", Scopes: both})
	up := e.device(version5, login("app", key), clientID("up"))
	up.subOK(0, "uplinks/#")
	wild := e.device(version5, login("app", key), clientID("wild"))
	wild.subOK(0, "#")
	rej := e.device(version5, login("app", key), clientID("rej"))
	rej.subOK(0, "rejects/#")
	named := e.device(version5, login("app", key), clientID("named"))
	named.subOK(0, uplinksOf(imei2))

	within(t, soon, func() {
		put(auth.App{Name: "app", Scopes: both[:1]})
		rej.closed(0x87)
		await(t, "all know", func() bool {
			for _, s := range e.sessions.of("app") {
				if s.access.Load().rights != readUplinks {
					return false
				}
			}
			return true
		})
	})
	e.Deliver([]*Message{message("rejects/IMEI/356726104408422", "1"), message(uplinksOf(imei), "2")})
	equal(t, "wildcard", string(wild.next(packets.Publish).Payload), "2")
	equal(t, "uplinks", string(up.next(packets.Publish).Payload), "2")

	within(t, soon, func() {
		put(auth.App{Name: "app", Scopes: both[:1], Devices: []string{string(imei)}})
		named.closed(0x87)
		await(t, "all know", func() bool {
			for _, s := range e.sessions.of("app") {
				if len(s.access.Load().app.Devices) == 0 {
					return false
				}
			}
			return true
		})
	})
	e.Deliver([]*Message{message(uplinksOf(imei2), "3"), message(uplinksOf(imei), "4")})
	equal(t, "wildcard", string(wild.next(packets.Publish).Payload), "4")
	equal(t, "uplinks", string(up.next(packets.Publish).Payload), "4")

	within(t, soon, func() {
		if err := e.reg.DeleteApp(ctx, "app", auth.AnyRevision); err != nil {
			t.Fatal(err)
		}
		up.closed(0x98)
		wild.closed(0x98)
	})
	if s := e.Stats(); s.Apps != 0 || s.Subscriptions != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestChangesWhileRedisIsAway(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.LoginTimeout = 200 * time.Millisecond })
	p := e.device(version5)
	app := e.reader(version5)
	app.subOK(0, "uplinks/#")
	e.redis.Stop() // it answers nothing
	e.changed(auth.Change{Kind: auth.ChangeAll})
	p.silent() // nobody is cut on suspicion: no uplink is stored meanwhile
	app.alive()
	e.redis.Cont()
	if err := e.reg.DeleteDevice(context.Background(), imei, auth.AnyRevision); err != nil {
		t.Fatal(err)
	}
	p.closed(0x98)
	app.alive()
}

// A device that is disabled between the check of its login and its session is cut too.
func TestChangeDuringLogin(t *testing.T) {
	e := newEdge(t)
	e.Broker.cfg.Registry = lateRegistry{e.reg, func() {
		before := e.changes.count()
		if err := e.reg.DeleteDevice(context.Background(), imei, auth.AnyRevision); err != nil {
			t.Error(err)
		}
		await(t, "the change is told", func() bool { return e.changes.count() > before })
	}}
	p := e.dial(version5)
	p.send(connect(version5))
	p.next(packets.Connack)
	p.closed(0x98)
}

// lateRegistry does something after a login was verified and before it is known.
type lateRegistry struct {
	*auth.Registry
	then func()
}

func (r lateRegistry) VerifyLogin(ctx context.Context, id auth.DeviceID, username, password string) (auth.Proof, error) {
	p, err := r.Registry.VerifyLogin(ctx, id, username, password)
	r.then()
	return p, err
}

// One session of whom the registry cannot say holds up nobody else's end.
func TestChangeBesideOneThatCannotBeChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code byte // 0: the session stays
	}{
		{"unavailable", auth.ErrUnavailable, 0},
		{"secret key", fmt.Errorf("%w: %w", auth.ErrUnavailable, auth.ErrSecretKey), 0x98},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			asked := make(chan struct{}, 1000)
			e.Broker.cfg.Registry = damagedRegistry{e.reg, imei, c.err, asked}
			p, other := e.device(version5), e.device(version5, login(imei2.BaseName(), secret))
			e.changed(auth.Change{Kind: auth.ChangeDevice, Device: imei})
			receive(t, asked)
			within(t, soon, func() {
				if err := e.reg.DeleteDevice(context.Background(), imei2, auth.AnyRevision); err != nil {
					t.Fatal(err)
				}
				other.closed(0x98)
			})
			if c.code != 0 {
				p.closed(c.code)
			} else {
				receive(t, asked) // again
				p.alive()
				_ = p.conn.Close()
			}
			await(t, "nobody is asked for any more", func() bool {
				e.changes.mu.Lock()
				defer e.changes.mu.Unlock()
				return e.changes.idle == nil
			})
		})
	}
}

// damagedRegistry cannot say anything of one device that is logged in.
type damagedRegistry struct {
	*auth.Registry
	of    auth.DeviceID
	err   error
	asked chan struct{}
}

func (r damagedRegistry) Recheck(ctx context.Context, p auth.Proof) (auth.Proof, error) {
	if p.Device != r.of {
		return r.Registry.Recheck(ctx, p)
	}
	r.asked <- struct{}{}
	return auth.Proof{}, r.err
}
