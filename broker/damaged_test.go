package broker

import (
	"context"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// damage makes a device's record one that nobody can read.
func (e *edge) damage(id auth.DeviceID) {
	e.t.Helper()
	if err := e.redis.Client().HSet(context.Background(), auth.Keyspace{}.Key(0, "device:"+string(id)), "auth", "9").Err(); err != nil {
		e.t.Fatal(err)
	}
}

// A damaged record hides its own device, and no other.
func TestDamagedRecordHidesNoOtherDevice(t *testing.T) {
	e := newEdge(t)
	e.label(imei, "north")
	e.label(imei2, "north")
	e.damage(imei)
	key := e.app(auth.App{Name: "north", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{"site=north"}})
	p := e.device(version5, login("north", key))
	p.subOK(1, "presence/#")
	p.subOK(1, "#")
	p.subOK(1, uplinksOf(imei)) // which must not end the session either, when it is held against the registry again
	for range 3 {
		e.Deliver([]*Message{message(uplinksOf(imei), "hidden"), message(uplinksOf(imei2), "seen")})
		m := p.next(packets.Publish)
		equal(t, "payload", string(m.Payload), "seen")
		p.send(ack(packets.Puback, m.PacketID))
	}
	if e.blind.Load() != 0 {
		t.Error("the registry is not asked any more")
	}
	if !e.sessions.of("north")[0].recheck(context.Background()) {
		t.Error("nobody can say whether the session may go on")
	}
	p.alive()
	nothing(t, e.gaps)
}

func TestDamagedRecordCannotLogIn(t *testing.T) {
	e := newEdge(t)
	e.label(imei, "north")
	e.damage(imei)
	p := e.dial(version5)
	p.send(connect(version5, login(imei.BaseName(), secret)))
	equal(t, "code", p.next(packets.Connack).ReasonCode, byte(0x88))
}
