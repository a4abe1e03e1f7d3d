package broker

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// An idle connection, whatever it did before, costs a few kilobytes: Mochi's
// own serving takes 25. The figure includes the test's end of the connection.
func TestMemoryOfIdleConnections(t *testing.T) {
	if underRace {
		t.Skip("the race detector takes memory too")
	}
	const n, limit = 400, 12 << 10
	b, err := New(Config{Registry: anybody{}, Submit: func(_ Uplink, done func(Outcome)) { done(Outcome{}) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Shutdown(context.Background()) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.Serve(context.Background(), ln, KindTCP) }()
	open := func(from, to int) {
		for i := from; i < to; i++ {
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			topic := fmt.Sprintf("things/IMEI/%015d/uplink", i)
			_, _ = nc.Write(encode(t, version311, connect(version311, login(fmt.Sprintf("urn:dev:IMEI:%015d:", i), secret))))
			_, _ = nc.Write(encode(t, version311, publish(topic, pack, 1, 1)))
			if _, err := io.ReadFull(nc, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := func() uint64 {
		for range 5 { // each collection halves the stacks that have become too large
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	open(0, 50)
	before := used()
	open(50, 50+n)
	if each := (used() - before) / n; each > limit {
		t.Errorf("an idle connection takes %d bytes, limit %d", each, limit)
	} else {
		t.Logf("an idle connection takes %d bytes", each)
	}
}

// Subscribers that take nothing hold a bounded number of bytes, however large
// the messages are, and share those.
func TestMemoryOfStalledSubscribers(t *testing.T) {
	const n, size, limit = 300, 60 << 10, 8 << 20
	e := newEdge(t)
	for i := range 10 {
		p := e.device(version5, login("admin", "the admin's own key"), clientID(fmt.Sprint(i)), receiveMaximum(1))
		filter := "uplinks/#"
		if i == 0 {
			filter = "$share/group/uplinks/#"
		}
		p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
			Properties: packets.Properties{SubscriptionIdentifier: []int{i + 1}}, Filters: packets.Subscriptions{{Filter: filter, Qos: 1, Identifier: i + 1}}})
		p.next(packets.Suback)
	}
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	payload := []byte(strings.Repeat("x", size)) // one for all: the tape keeps every message
	for range n {
		e.Deliver([]*Message{{Topic: uplinksOf(imei), Payload: payload, Device: imei}})
	}
	if grown := int64(used()) - int64(before); grown > limit {
		t.Errorf("they hold %d bytes, limit %d", grown, limit)
	} else {
		t.Logf("they hold %d bytes", grown)
	}
	for _, s := range e.sessions.of("") {
		s.mu.Lock()
		if len(s.outbox.waiting) > 0 {
			t.Errorf("%s: %d messages wait", s.who.clientID, len(s.outbox.waiting))
		}
		s.mu.Unlock()
	}
}
