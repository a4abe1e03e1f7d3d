package broker

import (
	"context"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// TestSecretEndsItsSessions: a session is cut when the secret or key that it logged in by ends, not when it is used next.
func TestSecretEndsItsSessions(t *testing.T) {
	ctx := context.Background()
	const window = 700 * time.Millisecond
	e := newEdge(t)
	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	before := e.device(version5)
	app := e.device(version5, login("app", key))
	rotated := time.Now()
	if _, _, err := e.reg.Rotate(ctx, imei, auth.AnyRevision, auth.Rotation{Secret: secret + "x", Window: window}); err != nil {
		t.Fatal(err)
	}
	_, newKey, err := e.reg.RotateAppKey(ctx, "app", auth.AnyRevision, window)
	if err != nil {
		t.Fatal(err)
	}
	stays := e.device(version5, login("app", newKey), clientID("new"))
	within(t, soon+window, func() {
		before.closed(0x87)
		app.closed(0x98)
	})
	if took := time.Since(rotated); took < window {
		t.Errorf("cut after %s, within the window of %s", took, window)
	}
	stays.alive()
	e.device(version5, login(imei.BaseName(), secret+"x")).alive()
	p := e.dial(version5)
	p.send(connect(version5))
	equal(t, "login with the old secret", p.next(packets.Connack).ReasonCode, byte(0x86))
}

func TestPublishesOfAnAppAreBounded(t *testing.T) {
	got := make(chan Downlink, 100)
	e := newEdge(t, func(c *Config) {
		c.PublishRate = 1
		c.Downlink = func(d Downlink, done func(Outcome)) { got <- d; done(Outcome{}) }
	})
	scopes := []auth.Scope{auth.ScopeDownlinkWrite}
	key := e.app(auth.App{Name: "few", Scopes: scopes})
	p := e.device(version5, login("few", key))
	const topic = "downlinks/IMEI/356726104408422"
	codes := func(p *peer, n uint16) (taken, refused int) {
		for id := range n {
			p.send(publish(topic, "[]", 1, id+1))
			switch c := p.next(packets.Puback).ReasonCode; c {
			case 0:
				taken++
			case 0x97:
				refused++
			default:
				t.Fatalf("code %#x", c)
			}
		}
		return taken, refused
	}
	if taken, refused := codes(p, 10); taken == 0 || taken > 3 || taken+refused != 10 || len(got) != taken {
		t.Errorf("%d taken, %d refused, %d handed on", taken, refused, len(got))
	}
	p.alive()
	// 3.1.1 cannot be told: it is cut, and nothing is acknowledged that was not taken.
	old := e.device(version311, login("few", key), clientID("old"))
	for id := range uint16(3) {
		old.send(publish(topic, "[]", 1, id+1))
	}
	old.closed(0)
	many := e.app(auth.App{Name: "many", Scopes: scopes, Limits: auth.Limits{Publishes: 1000}})
	if taken, refused := codes(e.device(version5, login("many", many)), 50); taken != 50 {
		t.Errorf("with a limit of its own: %d taken, %d refused", taken, refused)
	}
}

func TestSessionsOfAnAppHaveALimitOfTheirOwn(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "one", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Limits: auth.Limits{Sessions: 1}})
	first := e.device(version5, login("one", key), clientID("1"))
	p := e.dial(version5)
	p.send(connect(version5, login("one", key), clientID("2")))
	equal(t, "CONNACK", p.next(packets.Connack).ReasonCode, byte(0x97))
	first.alive()
}
