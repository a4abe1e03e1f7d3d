package broker

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func TestTakeOver(t *testing.T) {
	e := newEdge(t)
	for _, version := range []byte{version311, version5} {
		old := e.device(version, clientID("one"))
		old.subOK(1, downlinks)
		now := e.device(version5, clientID("two")) // a device has one session, whatever client id it gives
		code := byte(0x8e)
		if version == version311 {
			code = 0
		}
		old.closed(code)
		now.alive()
		// The subscription ended with the session; so did nothing of the new one's.
		now.subOK(1, downlinks)
		e.takes("1")
		now.next(packets.Publish)
		if s := e.Stats(); s.Devices != 1 {
			t.Errorf("%d sessions", s.Devices)
		}
	}
	app := e.reader(version5, clientID("a"))
	app.subOK(0, "uplinks/#")
	key := "the admin's own key"
	first := e.device(version5, login("admin", key), clientID("a"))
	first.subOK(0, "uplinks/#")
	second := e.device(version5, login("admin", key), clientID("a"))
	first.closed(0x8e)
	e.Deliver(numbered(0, 1))
	app.next(packets.Publish)
	second.silent()
}

func TestTakeOverOfADeadSocket(t *testing.T) {
	e := newEdge(t)
	old := e.device(version5)
	old.subOK(0, downlinks)
	dead := e.sessions.device(imei).conn
	lost := e.takes(strings.Repeat("x", 16<<20)) // more than sockets hold, and it reads nothing
	await(t, "its socket is full", func() bool {
		dead.mu.Lock()
		defer dead.mu.Unlock()
		return dead.slow && len(dead.rest) > 0
	})
	start := time.Now()
	now := e.device(version5)
	now.alive()
	if d := time.Since(start); d > time.Second {
		t.Errorf("the new connection waited %v", d)
	}
	e.becomes(lost, false, "taken over")
	now.subOK(1, downlinks)
	e.takes("1")
	equal(t, "payload", string(now.next(packets.Publish).Payload), "1")
	await(t, "the old one is closed", func() bool { return e.Stats().Connections == 1 })
}

func TestConcurrentTakeOvers(t *testing.T) {
	e := newEdge(t)
	key := "the admin's own key"
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			p := e.dial(version5 - byte(i)%2)
			who := login(imei.BaseName(), secret)
			if i%3 == 0 {
				who = login("admin", key)
			}
			p.send(connect(p.version, who))
			if a, err := p.read(); err != nil || a.FixedHeader.Type != packets.Connack || a.ReasonCode != 0 {
				t.Errorf("CONNACK %+v %v", a.FixedHeader, err)
			}
			p.send(subscribe(1, packets.Subscription{Filter: "uplinks/#"}, packets.Subscription{Filter: "$share/g/#"}))
			_, _ = p.read()
		})
	}
	wg.Wait()
	await(t, "two are left", func() bool {
		s := e.Stats()
		return s.Devices == 1 && s.Apps == 1 && s.Connections == 2 && s.Subscriptions == 2
	})
}

func TestEndedSessionsLeaveNothing(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeAdmin}})
	for i := range 20 {
		p := e.device(version5, login("app", key), clientID(fmt.Sprint(i)))
		p.subOK(1, "#", "uplinks/#", "uplinks/+/"+fmt.Sprint(i), "$share/g/#", fmt.Sprintf("$share/%d/uplinks/#", i))
		e.Deliver(numbered(0, 1))
		_ = p.conn.Close()
	}
	await(t, "all are gone", func() bool { s := e.Stats(); return s.Connections == 0 && s.Subscriptions == 0 && s.Apps == 0 })
	if len(e.index.root.children)+len(e.index.groups)+len(e.index.roots)+len(e.index.merged) > 0 {
		t.Errorf("the index keeps %d levels, %d groups, %d roots, %d matches", len(e.index.root.children), len(e.index.groups), len(e.index.roots), len(e.index.merged))
	}
	for f := range e.fronts {
		await(t, "the listener keeps nothing", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.conns) == 0 })
	}
}
