package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestUplinkIsHandedOnAndAcknowledged(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		e := newEdge(t)
		p := e.device(version)
		p.send(publish(uplinks, pack, 1, 7))
		if got := p.next(packets.Puback); got.PacketID != 7 || got.ReasonCode != 0 {
			t.Errorf("PUBACK %d code %#x", got.PacketID, got.ReasonCode)
		}
		u := receive(t, e.uplinks)
		equal(t, "uplink", u, Uplink{Device: imei, Payload: []byte(pack), Remote: p.conn.LocalAddr().String()})
	}
}
