package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// A login that fails half-way must not make what was acknowledged come again.
func TestHalfOpenedSessionForgetsNothing(t *testing.T) {
	var share flakyShare
	e := newEdge(t, func(c *Config) { share.shelf = c.Keeper.(*shelf); c.Share = &share })
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#", "$share/g/rejects/#")
	e.Deliver(numbered(0, 10))
	for i := range 10 {
		m := p.next(packets.Publish)
		if i > 0 { // 0 stays in flight
			p.send(ack(packets.Puback, m.PacketID))
		}
	}
	p.alive()
	p.leave(e)
	share.fails.Store(1)
	d := e.dial(version5)
	d.send(connect(version5, c.change...))
	if got := d.next(packets.Connack); got.ReasonCode == 0 {
		t.Fatal("login should have been refused")
	}
	p = c.on(e, true)
	if m := p.next(packets.Publish); string(m.Payload) != "0" {
		t.Errorf("first %s", m.Payload)
	}
	p.silent()
}

// At the limit a further member of a group that is there is not one group more.
func TestQuotaCountsNewGroupsOnly(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxSubscriptions = 300 })
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	a := e.device(version5, login("team", key), clientID("a"))
	for i := range maxShares {
		a.subOK(1, fmt.Sprintf("$share/g%d/uplinks/#", i))
	}
	b := e.device(version5, login("team", key), clientID("b"))
	if codes := a.sub(1, "$share/g0/uplinks/#"); codes[0] != 1 {
		t.Errorf("subscribing again: %#x", codes[0])
	}
	if codes := b.sub(1, "$share/g0/uplinks/#"); codes[0] != 1 {
		t.Errorf("a second member: %#x", codes[0])
	}
}
