package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func receiveMaximum(n uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = n }
}

// numbered are messages of one device, with their number as payload and in their id.
func numbered(from, to int) (msgs []*Message) {
	for i := from; i < to; i++ {
		msgs = append(msgs, message(uplinksOf(imei), fmt.Sprint(i)))
	}
	return msgs
}

func TestDelivery(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, qos := range []byte{0, 1} {
			t.Run(fmt.Sprintf("v%d qos %d", version, qos), func(t *testing.T) {
				e := newEdge(t)
				p := e.reader(version)
				p.subOK(qos, "uplinks/#")
				e.Deliver(numbered(0, 3))
				for i := range 3 {
					m := p.next(packets.Publish)
					if string(m.Payload) != fmt.Sprint(i) || m.FixedHeader.Qos != qos || m.TopicName != uplinksOf(imei) || m.FixedHeader.Dup || m.FixedHeader.Retain {
						t.Errorf("message %d: %s %q %+v", i, m.TopicName, m.Payload, m.FixedHeader)
					}
					if version == version5 {
						equal(t, "properties", m.Properties, packets.Properties{
							User:        []packets.UserProperty{{Key: "id", Val: fmt.Sprintf("%d-0", i+1)}},
							ContentType: "application/senml+json", PayloadFormat: 1, PayloadFormatFlag: true,
						})
					}
					if qos > 0 {
						p.send(ack(packets.Puback, m.PacketID))
					}
				}
				p.alive()
				if s := e.Stats(); s.Delivered != 3 {
					t.Errorf("delivered %d", s.Delivered)
				}
			})
		}
	}
}

func TestPayloadsOfManyForms(t *testing.T) {
	e := newEdge(t)
	p := e.device(version5, login("admin", "the admin's own key"))
	p.subOK(0, "#")
	for _, payload := range []string{"", "\xff", strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("x", 20_000), strings.Repeat("é", 100_000), strings.Repeat("x", 3_000_000)} {
		e.Deliver([]*Message{{Topic: "rejects/x", Payload: []byte(payload)}})
		m := p.next(packets.Publish)
		if string(m.Payload) != payload {
			t.Errorf("%d bytes came as %d", len(payload), len(m.Payload))
		}
		equal(t, "UTF-8", m.Properties.PayloadFormatFlag, payload != "\xff")
		equal(t, "content type", m.Properties.ContentType, "application/json")
	}
}

// collect acknowledges QoS 1 messages until n have come; never more than window
// of them are unacknowledged.
func (p *peer) collect(n, window int) (got []string) {
	p.t.Helper()
	var open []uint16
	ids := map[uint16]bool{}
	for len(got) < n {
		m := p.next(packets.Publish)
		if ids[m.PacketID] || m.PacketID == 0 {
			p.t.Fatalf("packet id %d is in use", m.PacketID)
		}
		ids[m.PacketID] = true
		got = append(got, string(m.Payload))
		if open = append(open, m.PacketID); len(open) > window {
			p.t.Fatalf("%d messages in a window of %d", len(open), window)
		}
		if len(open) == window || len(got) == n {
			for i := range open { // out of order, which acknowledgements of this side may be
				id := open[len(open)-1-i]
				delete(ids, id)
				p.send(ack(packets.Puback, id))
			}
			open = open[:0]
		}
	}
	return got
}

func inOrder(t *testing.T, got []string) {
	t.Helper()
	for i, s := range got {
		if s != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, s)
		}
	}
}

func TestReceiveMaximum(t *testing.T) {
	const n = 5000
	for _, maximum := range []uint16{1, 2, 3, 10, 64, 1000, 65535, 0} {
		t.Run(fmt.Sprint(maximum), func(t *testing.T) {
			e := newEdge(t)
			p := e.reader(version5, receiveMaximum(maximum))
			p.subOK(1, "uplinks/#")
			go func() {
				for i := 0; i < n; i += 50 {
					e.Deliver(numbered(i, i+50))
				}
			}()
			window := 64
			if maximum > 0 {
				window = min(window, int(maximum))
			}
			inOrder(t, p.collect(n, window))
			p.alive()
		})
	}
}

func TestWindowOf311(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Window = 1024 })
	p := e.reader(version311)
	p.subOK(1, "uplinks/#")
	e.Deliver(numbered(0, 1100))
	var got []packets.Packet
	for range 1024 {
		got = append(got, p.next(packets.Publish))
	}
	p.silent()
	p.send(ack(packets.Puback, got[500].PacketID))
	equal(t, "payload", string(p.next(packets.Publish).Payload), "1024")
	p.silent()
}

func TestPacketIDsGoRound(t *testing.T) {
	w := window{limit: 64}
	stuck := w.take(flight{})
	seen := map[uint16]int{}
	for range 200_000 {
		id := w.take(flight{})
		if id == 0 || id == stuck {
			t.Fatalf("packet id %d", id)
		}
		seen[id]++
		if _, ok := w.give(id); !ok {
			t.Fatalf("packet id %d is in use", id)
		}
		if _, ok := w.give(id); ok {
			t.Fatalf("packet id %d is given back once", id)
		}
	}
	if len(seen) < 50_000 { // but those that share the slot of the one in use
		t.Errorf("%d packet ids are used", len(seen))
	}
	_, zero := w.give(0)
	_, other := w.give(stuck + 1)
	if _, own := w.give(stuck); zero || other || !own || w.open != 0 {
		t.Error("what is not in use was given back")
	}
}

func TestPacketIDsOfBothDirectionsAreApart(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	p := e.device(version5, receiveMaximum(2))
	p.subOK(1, downlinks)
	first := e.takes("1")
	down := p.next(packets.Publish)
	// An uplink with the id of an unacknowledged downlink, and its answer, are apart from it.
	for qos := byte(1); qos < 3; qos++ {
		p.send(publish(uplinks, pack, qos, down.PacketID))
		receive(t, c).done(Outcome{})
		p.completed(qos, down.PacketID, 0)
	}
	// A SUBSCRIBE with such an id is nothing special.
	p.send(subscribe(down.PacketID, packets.Subscription{Filter: downlinks, Qos: 1}))
	equal(t, "codes", p.next(packets.Suback).ReasonCodes, []byte{1})
	p.send(ack(packets.Puback, 4711)) // acknowledges nothing
	p.silent()
	nothing(t, first)
	p.send(ack(packets.Puback, down.PacketID))
	e.becomes(first, true, "PUBACK")
	e.takes("2")
	equal(t, "payload", string(p.next(packets.Publish).Payload), "2")
	p.alive()
}

func TestMaximumPacketSizeOfAClient(t *testing.T) {
	e := newEdge(t)
	p := e.reader(version5, func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 500 })
	p.subOK(1, "uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), strings.Repeat("x", 600)), message(uplinksOf(imei), "2")})
	m := p.next(packets.Publish) // [MQTT-3.1.2-25], and told
	equal(t, "topic", m.TopicName, "events/gap")
	p.send(ack(packets.Puback, m.PacketID))
	m = p.next(packets.Publish)
	equal(t, "payload", string(m.Payload), "2")
}

type gapEvent struct {
	Kind, Stream, From, To string
	Count                  int
}

// A subscriber of QoS 1 whose window is full reads on from the stream, and
// disturbs nobody; one of QoS 0 goes on in the present, and is told.
func TestFullWindowReadsOn(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		e := newEdge(t, func(c *Config) { c.Window = 5 })
		e.tape.ring = 10
		other := e.device(version5, login("admin", "the admin's own key"))
		other.subOK(0, "uplinks/#")
		p := e.reader(version)
		p.subOK(1, "uplinks/#")
		for i := range 100 { // one by one, or the other falls behind too
			e.Deliver(numbered(i, i+1))
			other.next(packets.Publish)
		}
		inOrder(t, p.collect(100, 5))
		e.Deliver(numbered(100, 101))
		equal(t, "after it", string(p.next(packets.Publish).Payload), "100")
		if s := e.Stats(); s.Gaps != 0 || s.Missed != 0 || s.Pages == 0 {
			t.Errorf("stats %+v", s)
		}
		nothing(t, e.gaps)
	}
}

// large is a message that soon fills the sockets of who does not read.
func large(topic string) *Message {
	return message(topic, strings.Repeat("x", 16<<10))
}

// fill brings the session so many large messages that its peer, which reads
// none of them, has no room for some. It returns how many.
func (e *edge) fill(s *session, topic string) int {
	e.t.Helper()
	const n = 200 // 3 MB: more than sockets hold
	for range n {
		start := time.Now()
		e.Deliver([]*Message{large(topic)})
		if d := time.Since(start); d > time.Second {
			e.t.Fatalf("Deliver took %v", d)
		}
		for range 3 {
			if !s.conn.hasRoom() {
				<-time.After(time.Millisecond) // for the sockets to take what they can
			}
		}
	}
	if s.conn.hasRoom() {
		e.t.Fatal("all had room")
	}
	return n
}

func TestSlowSubscriberHoldsNobodyUp(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		e := newEdge(t, func(c *Config) { c.Window = 1024 })
		e.tape.ring = 20
		slow := e.reader(version5)
		slow.subOK(qos, "uplinks/#")
		quick := e.device(version311, login("admin", "the admin's own key"))
		quick.subOK(0, "#")
		dev := e.device(version5, login(imei2.BaseName(), secret))
		read := make(chan struct{})
		go func() {
			defer close(read)
			for {
				if m, err := quick.read(); err != nil || string(m.Payload) == "last" {
					return
				}
			}
		}()
		n := e.fill(e.sessions.of("reader")[0], uplinksOf(imei))
		// A device is answered, and others are served, while it is stuck.
		dev.send(publish("things/IMEI/356726104408423/uplink", pack, 1, 1))
		dev.completed(1, 1, 0)
		e.Deliver([]*Message{message(uplinksOf(imei), "last")})
		receive(t, read)
		// When it reads again, it gets all; of QoS 0 what the sockets held, then the gap, then the present.
		missed := 0
		for next := 1; next <= n+1; {
			m := slow.next(packets.Publish)
			if m.FixedHeader.Qos > 0 {
				slow.send(ack(packets.Puback, m.PacketID))
			}
			if m.TopicName != "events/gap" {
				equal(t, "id", m.Properties.User[0].Val, fmt.Sprintf("%d-0", next))
				next++
				continue
			}
			var g gapEvent
			if err := json.Unmarshal(m.Payload, &g); err != nil {
				t.Fatal(err)
			}
			equal(t, "gap", g, gapEvent{"gap", "uplinks", fmt.Sprintf("%d-0", next-1), fmt.Sprintf("%d-0", next-1+g.Count), g.Count})
			next += g.Count
			missed += g.Count
		}
		if (missed > 100) != (qos == 0) || int64(missed) != e.Stats().Missed {
			t.Errorf("QoS %d: told of %d missed messages, of %d", qos, missed, e.Stats().Missed)
		}
		e.Deliver([]*Message{message(uplinksOf(imei), "now")})
		equal(t, "then", string(slow.next(packets.Publish).Payload), "now")
	}
}

func TestDeadSubscriberIsCut(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	e.reader(version5).subOK(0, "uplinks/#")
	e.cut(1)
	await(t, "all is closed", func() bool { s := e.Stats(); return s.Apps == 0 && s.Connections == 0 })
}

// cut delivers large messages until the peer that reads none is cut.
func (e *edge) cut(n int64) {
	e.t.Helper()
	await(e.t, "it is cut", func() bool {
		e.Deliver([]*Message{large(uplinksOf(imei))})
		return e.Stats().Cut == n
	})
}

func TestSlowButReadingSubscriberIsNotCut(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.WriteTimeout = time.Second })
	e.tape.ring = 20
	p := e.reader(version5)
	p.subOK(0, "uplinks/#")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 4<<10)
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		<-tick.C
		e.Deliver([]*Message{large(uplinksOf(imei))})
		if _, err := p.conn.Read(buf); err != nil {
			t.Fatalf("cut: %v", err)
		}
	}
	if s := e.Stats(); s.Cut != 0 || s.Apps != 1 || s.Missed == 0 {
		t.Errorf("stats %+v", s)
	}
}

// A client that asks for answers and does not read them is read no further.
func TestClientThatNeverReads(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	p := e.device(version5)
	ping := slicesRepeat([]byte{packets.Pingreq << 4, 0}, 10_000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
			if _, err := p.conn.Write(ping); err != nil {
				return
			}
		}
	}()
	receive(t, ended)
	await(t, "it is cut", func() bool { return e.Stats().Cut == 1 })
}

func slicesRepeat(b []byte, n int) (out []byte) {
	for range n {
		out = append(out, b...)
	}
	return out
}

func TestIdleConnectionHoldsNoBuffer(t *testing.T) {
	e := newEdge(t)
	p := e.reader(version5)
	p.subOK(1, "uplinks/#")
	d := e.device(version5)
	d.send(publish(uplinks, pack, 1, 1))
	d.completed(1, 1, 0)
	e.Deliver(numbered(0, 200))
	p.collect(200, 64)
	p.alive()
	idle := func(s *session) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conn.mu.Lock()
		defer s.conn.mu.Unlock()
		c := s.conn
		return c.out == nil && c.rest == nil && !c.writing && s.outbox.waiting == nil && len(s.outbox.window.slots) <= firstSlots && len(s.inbox.waiting) == 0
	}
	await(t, "no buffer is held", func() bool {
		return idle(e.sessions.device(imei)) && idle(e.sessions.of("reader")[0])
	})
}
