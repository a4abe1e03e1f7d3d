package broker

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// label gives a device a label, and returns when the broker was told.
func (e *edge) label(id auth.DeviceID, site string) {
	e.t.Helper()
	before := e.changes.count()
	if _, err := e.reg.PutDevice(context.Background(), auth.Device{ID: id, Labels: map[string]string{"site": site}}, auth.Replace); err != nil {
		e.t.Fatal(err)
	}
	await(e.t, "the change is told", func() bool { return e.changes.count() > before })
}

// north is a session, with a window of one, of an app that sees the devices of
// a site, for which the messages 1 to 3 came; it got the first.
func (e *edge) north() (p *peer, first packets.Packet) {
	e.t.Helper()
	e.label(imei, "north")
	e.label(imei2, "north")
	key := e.app(auth.App{Name: "north", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{"site=north"}})
	p = e.device(version5, login("north", key), receiveMaximum(1))
	p.subOK(1, "uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), "1"), message(uplinksOf(imei), "2"), message(uplinksOf(imei2), "3")})
	first = p.next(packets.Publish)
	equal(e.t, "first", string(first.Payload), "1")
	return p, first
}

func TestWhatWaitsIsAskedOfAgainWhenLabelsChange(t *testing.T) {
	e := newEdge(t)
	p, first := e.north()
	e.label(imei, "south")
	p.send(ack(packets.Puback, first.PacketID))
	equal(t, "then", string(p.next(packets.Publish).Payload), "3")
	nothing(t, e.gaps) // it missed nothing that is its own
}

func TestWhatWaitsIsAskedOfAgainWhenTheAppChanges(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead, auth.ScopeRejectRead}})
	p := e.device(version5, login("app", key), receiveMaximum(1))
	p.subOK(1, "#")
	e.Deliver([]*Message{message(uplinksOf(imei), "1"), message("rejects/IMEI/356726104408422", "2"), message(uplinksOf(imei), "3")})
	first := p.next(packets.Publish)
	if _, _, err := e.reg.PutApp(context.Background(), auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead}}, auth.Replace); err != nil {
		t.Fatal(err)
	}
	await(t, "the session knows", func() bool { return e.sessions.of("app")[0].access.Load().rights == readUplinks })
	p.send(ack(packets.Puback, first.PacketID))
	equal(t, "then", string(p.next(packets.Publish).Payload), "3")
}

func TestWhatWaitsWaitsForTheRegistry(t *testing.T) {
	e := newEdge(t)
	registry := &awayRegistry{Registry: e.reg}
	e.Broker.cfg.Registry = registry
	p, first := e.north()
	registry.away.Store(true)
	p.send(ack(packets.Puback, first.PacketID))
	p.silent()
	registry.away.Store(false)
	second := p.next(packets.Publish)
	equal(t, "then", string(second.Payload), "2")
	p.send(ack(packets.Puback, second.PacketID))
	equal(t, "and", string(p.next(packets.Publish).Payload), "3")
	nothing(t, e.gaps)
}

// awayRegistry cannot be asked for labels while it is away.
type awayRegistry struct {
	*auth.Registry
	away atomic.Bool
}

func (r *awayRegistry) Sees(ctx context.Context, a *auth.App, id auth.DeviceID) (bool, error) {
	if r.away.Load() {
		return false, auth.ErrUnavailable
	}
	return r.Registry.Sees(ctx, a, id)
}
