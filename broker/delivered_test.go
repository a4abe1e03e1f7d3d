package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestDeliveredIsTold: a message that subscribers get is told of, with how many
// they are; one that nobody gets, or that a client cannot take, is not.
func TestDeliveredIsTold(t *testing.T) {
	told := make(chan string, 100)
	e := newEdge(t, func(c *Config) {
		c.OnDelivered = func(m *Message, n int) { told <- fmt.Sprintf("%s to %d", m.Payload, n) }
	})
	next := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			equal(t, "told", got, want)
		case <-t.Context().Done():
			t.Fatalf("not told: %s", want)
		}
	}
	e.Deliver(numbered(0, 1)) // to nobody
	p := e.reader(version5)
	p.subOK(0, "uplinks/#")
	small := e.device(version5, login("admin", "the admin's own key"), func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 30 })
	small.subOK(1, "uplinks/#")
	e.Deliver(numbered(1, 3))
	p.next(packets.Publish)
	p.next(packets.Publish)
	next("1 to 1")
	next("2 to 1")
	e.members(1, 0, version5)[0].alive() // of a shared subscription
	e.Deliver(numbered(3, 4))
	p.next(packets.Publish)
	first, second := <-told, <-told
	if first != "3 to 1" || second != "3 to 1" {
		t.Errorf("told %s, %s", first, second)
	}
	if len(told) != 0 {
		t.Errorf("told %s too", <-told)
	}
}
