package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestDelivery(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, qos := range []byte{0, 1} {
			t.Run(fmt.Sprintf("v%d qos %d", version, qos), func(t *testing.T) {
				e := newEdge(t)
				p := e.reader(version)
				p.subOK(qos, "uplinks/#")
				for i := range 3 {
					e.Deliver([]Message{message(fmt.Sprintf("%d-0", i), "uplinks/IMEI/356726104408422", fmt.Sprint(i))})
				}
				for i := range 3 {
					m := p.next(packets.Publish)
					if string(m.Payload) != fmt.Sprint(i) || m.FixedHeader.Qos != qos || m.TopicName != "uplinks/IMEI/356726104408422" {
						t.Errorf("message %d: %s %q QoS %d", i, m.TopicName, m.Payload, m.FixedHeader.Qos)
					}
					if version == version5 {
						equal(t, "user properties", m.Properties.User, []packets.UserProperty{{Key: "id", Val: fmt.Sprintf("%d-0", i)}})
						equal(t, "content type", m.Properties.ContentType, "application/senml+json")
					}
					if qos > 0 {
						p.send(ack(packets.Puback, m.PacketID))
					}
				}
				p.alive()
			})
		}
	}
}
