package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func TestWill(t *testing.T) {
	token := auth.Token([]byte("gone"), secret)
	will := func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte("gone")
		pk.Connect.WillRetain, pk.Connect.WillQos = true, 2
		if pk.ProtocolVersion == version5 {
			pk.Connect.WillProperties.User = []packets.UserProperty{{Key: tokenProperty, Val: token}}
			pk.Connect.WillProperties.WillDelayInterval = 3600
		} else {
			pk.Connect.WillTopic += "/" + token
		}
	}
	e := newEdge(t)
	app := e.reader(version5)
	app.subOK(1, "#")
	disconnect := func(code byte) packets.Packet {
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect, Remaining: 2}, ReasonCode: code}
	}
	for _, c := range []struct {
		name string
		end  func(p *peer)
		sent bool
		only byte
	}{
		{"connection lost", func(p *peer) { _ = p.conn.Close() }, true, 0},
		{"DISCONNECT", func(p *peer) { p.send(disconnect(0)); p.closed(0) }, false, 0},
		{"DISCONNECT with will", func(p *peer) { p.send(disconnect(4)); p.closed(0) }, true, version5},
		{"protocol error", func(p *peer) { p.hex("c00100") }, true, 0},
		{"taken over", func(p *peer) { e.device(p.version) }, true, 0},
	} {
		for _, version := range []byte{version311, version5} {
			if c.only != 0 && version != c.only {
				continue
			}
			p := e.device(version, will)
			c.end(p)
			if !c.sent {
				nothing(t, e.uplinks)
				continue
			}
			u := receive(t, e.uplinks)
			equal(t, c.name, u, Uplink{Device: imei, Payload: []byte("gone"), Token: token, HasToken: true, Remote: p.conn.LocalAddr().String(), Will: true})
			nothing(t, e.uplinks)
		}
	}
	app.alive()
}

func TestForeignWillIsRefused(t *testing.T) {
	e := newEdge(t)
	p := e.dial(version5)
	p.send(connect(version5, func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte(pack)
		pk.Connect.WillProperties.User = []packets.UserProperty{{Key: tokenProperty, Val: "a"}, {Key: tokenProperty, Val: "a"}}
	}))
	if got := p.next(packets.Connack); got.ReasonCode != 0x87 {
		t.Errorf("CONNACK %#x", got.ReasonCode)
	}
	p.closed(0)
	if r := receive(t, e.rejects); r.Reason != "will" || r.Device != imei || string(r.Body) != pack {
		t.Errorf("reject %+v", r)
	}
	nothing(t, e.uplinks)
}

func TestWillsAreNotSentAtShutdown(t *testing.T) {
	e := newEdge(t)
	p := e.device(version5, func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte("gone")
	})
	if err := e.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	p.closed(0x8b)
	nothing(t, e.uplinks)
}
