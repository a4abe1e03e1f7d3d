package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestUplinksInFlightTogether(t *testing.T) {
	c := make(chan held, 100)
	e := newEdge(t, hold(c))
	for _, version := range []byte{version311, version5} {
		for qos := byte(1); qos < 3; qos++ {
			p := e.device(version)
			var got []held
			for id := range uint16(64) {
				p.send(publish(uplinks, fmt.Sprint(id), qos, id+1))
			}
			for range 64 {
				got = append(got, receive(t, c)) // all are in flight, before one is answered
			}
			for i := 63; i > 0; i-- {
				got[i].done(Outcome{})
			}
			p.silent() // answers keep the order of the publishes [MQTT-4.6.0-2]
			got[0].done(Outcome{Code: 0x99})
			for id := range uint16(64) {
				a := p.next(packets.Puback + qos - 1)
				if a.PacketID != id+1 {
					t.Fatalf("v%d QoS %d: answer %d to publish %d", version, qos, a.PacketID, id+1)
				}
			}
			p.alive()
		}
	}
}

func TestReceiveMaximumIsHeld(t *testing.T) {
	c := make(chan held, 100)
	e := newEdge(t, hold(c), func(c *Config) { c.ReceiveMaximum = 4 })
	t.Run("v5", func(t *testing.T) {
		p := e.device(version5)
		for id := range uint16(5) {
			p.send(publish(uplinks, pack, 1+byte(id)%2, id+1))
		}
		p.closed(0x93) // [MQTT-3.3.4-7]
		for range 4 {
			receive(t, c)
		}
		nothing(t, c)
	})
	t.Run("v5 QoS 2 until PUBREL", func(t *testing.T) {
		p := e.device(version5)
		for id := range uint16(4) {
			p.send(publish(uplinks, pack, 2, id+1))
			receive(t, c).done(Outcome{})
			p.next(packets.Pubrec)
		}
		p.send(ack(packets.Pubrel, 1))
		p.next(packets.Pubcomp)
		p.send(publish(uplinks, pack, 2, 9))
		receive(t, c).done(Outcome{Code: 0x99})
		p.next(packets.Pubrec)
		p.send(publish(uplinks, pack, 2, 9)) // refused: its place is free again
		receive(t, c).done(Outcome{})
		p.next(packets.Pubrec)
		p.send(publish(uplinks, pack, 2, 10))
		p.closed(0x93)
	})
	t.Run("3.1.1 is read more slowly", func(t *testing.T) {
		p := e.device(version311)
		for id := range uint16(20) {
			p.send(publish(uplinks, fmt.Sprint(id), 1, id+1))
		}
		var got []held
		for range 4 {
			got = append(got, receive(t, c))
		}
		nothing(t, c)
		for i := range 20 {
			got[i].done(Outcome{})
			if a := p.next(packets.Puback); a.PacketID != uint16(i+1) {
				t.Fatalf("PUBACK %d", a.PacketID)
			}
			if len(got) < 20 {
				got = append(got, receive(t, c))
			}
		}
		p.alive()
	})
	t.Run("QoS 0 is read more slowly", func(t *testing.T) {
		p := e.device(version5)
		for range 20 {
			p.send(publish(uplinks, pack, 0, 0))
		}
		for range 4 {
			defer receive(t, c).done(Outcome{})
		}
		nothing(t, c)
		_ = p.conn.Close()
	})
}

func TestRepeatedPublishes(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	dup := func(pk *packets.Packet) { pk.FixedHeader.Dup = true }
	for _, version := range []byte{version311, version5} {
		p := e.device(version)
		p.send(publish(uplinks, pack, 1, 1))
		first := receive(t, c)
		p.send(publish(uplinks, pack, 1, 1, dup))
		nothing(t, c)
		first.done(Outcome{})
		p.completed(1, 1, 0)
		p.send(publish(uplinks, pack, 1, 1, dup)) // the id was free: another message
		receive(t, c).done(Outcome{})
		p.completed(1, 1, 0)

		p.send(publish(uplinks, pack, 2, 2))
		first = receive(t, c)
		p.send(publish(uplinks, pack, 2, 2, dup))
		nothing(t, c)
		first.done(Outcome{})
		p.next(packets.Pubrec)
		p.send(publish(uplinks, pack, 2, 2, dup))
		if a := p.next(packets.Pubrec); a.PacketID != 2 || a.ReasonCode != 0 { // [MQTT-4.3.3-10]
			t.Errorf("PUBREC %d code %#x", a.PacketID, a.ReasonCode)
		}
		nothing(t, c)
		p.send(ack(packets.Pubrel, 2))
		p.next(packets.Pubcomp)
		p.send(ack(packets.Pubrel, 2))
		want := byte(0)
		if version == version5 {
			want = 0x92
		}
		if a := p.next(packets.Pubcomp); a.PacketID != 2 || a.ReasonCode != want {
			t.Errorf("PUBCOMP %d code %#x", a.PacketID, a.ReasonCode)
		}
		p.send(publish(uplinks, pack, 2, 2))
		receive(t, c).done(Outcome{})
		p.next(packets.Pubrec)
		p.alive()
	}
}

func TestAnswerAfterTheEnd(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	h := receive(t, c)
	_ = p.conn.Close()
	await(t, "the session is gone", func() bool { return e.Stats().Devices == 0 })
	h.done(Outcome{})
	await(t, "nothing is in flight", func() bool { return e.Stats().InFlight == 0 })
	e.device(version5).alive()
}
