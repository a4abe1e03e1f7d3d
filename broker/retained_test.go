package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// states is what is retained: of so many devices, in pages.
type states struct {
	mu    sync.Mutex
	n     int
	fail  error
	pages int
	asked []string      // filters
	gate  chan struct{} // not nil: a page waits for it
}

func (st *states) read(ctx context.Context, filter, after string, limit int) (page []*Message, next string, err error) {
	if st.gate != nil {
		select {
		case <-st.gate:
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pages++
	st.asked = append(st.asked, filter)
	from, _ := strconv.Atoi(after)
	for i := from; i < st.n && len(page) < limit; i++ {
		page = append(page, stateOf(i))
	}
	if from += len(page); from < st.n {
		next = strconv.Itoa(from)
	}
	return page, next, st.fail
}

func stateOf(i int) *Message {
	m := message(fmt.Sprintf("presence/IMEI/%015d", i), fmt.Sprintf("state %d", i))
	m.Retain = true
	return m
}

// Of ever so many states few wait, whatever the client's window; what changes
// meanwhile comes behind them.
func TestRetainedInPages(t *testing.T) {
	st := &states{n: 1000}
	e := newEdge(t, func(c *Config) { c.Retained = st.read })
	p := e.reader(version5, receiveMaximum(3))
	p.subOK(1, "presence/#")
	await(t, "a page is read", func() bool { st.mu.Lock(); defer st.mu.Unlock(); return st.pages > 0 })
	change := message("presence/IMEI/000000000000007", "changed")
	change.Retain = true
	e.Deliver([]*Message{change})
	waiting := 0
	for i := range st.n {
		m := p.next(packets.Publish)
		if want := fmt.Sprintf("state %d", i); string(m.Payload) != want || !m.FixedHeader.Retain {
			t.Fatalf("%s (retain %v), want %s", m.Payload, m.FixedHeader.Retain, want)
		}
		for _, s := range e.sessions.of("") {
			s.mu.Lock()
			waiting = max(waiting, len(s.outbox.waiting))
			s.mu.Unlock()
		}
		p.send(ack(packets.Puback, m.PacketID))
	}
	if m := p.next(packets.Publish); string(m.Payload) != "changed" || m.FixedHeader.Retain {
		t.Errorf("%s (retain %v) behind what is retained", m.Payload, m.FixedHeader.Retain)
	}
	if waiting > replayPage {
		t.Errorf("%d messages waited", waiting)
	}
}

// An app sees what its filter of devices lets through, of a filter that matches
// more; and what does not match is not sent.
func TestRetainedAreChecked(t *testing.T) {
	st := &states{n: 300}
	e := newEdge(t, func(c *Config) { c.Retained = st.read })
	key := e.app(auth.App{Name: "one", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{"IMEI:000000000000200"}})
	p := e.device(version5, login("one", key))
	p.subOK(0, "presence/#")
	equal(t, "payload", string(p.next(packets.Publish).Payload), "state 200")
	p.subOK(0, "+/+/000000000000200")
	equal(t, "payload", string(p.next(packets.Publish).Payload), "state 200")
	p.subOK(0, "presence/DVNUUID/+")
	p.silent()
	events := e.device(version5, login("events", e.app(auth.App{Name: "events", Scopes: []auth.Scope{auth.ScopeDownlinkRead}})))
	events.subOK(0, "#") // it may not read presence
	events.silent()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.asked = nil
	p.subOK(0, "uplinks/#", "events/#", "$share/g/presence/#")
	if len(st.asked) > 0 {
		t.Errorf("asked for %v", st.asked)
	}
}

// The store cannot say: it is asked again, and nothing else waits for it.
func TestRetainedLater(t *testing.T) {
	st := &states{n: 2, fail: errors.New("away")}
	e := newEdge(t, func(c *Config) { c.Retained = st.read })
	p := e.reader(version5)
	p.subOK(1, "#")
	e.Deliver(numbered(0, 1))
	first := p.next(packets.Publish)
	equal(t, "topic", first.TopicName, numbered(0, 1)[0].Topic)
	st.mu.Lock()
	st.fail = nil
	st.mu.Unlock()
	for i := range 2 {
		equal(t, "payload", string(p.next(packets.Publish).Payload), fmt.Sprintf("state %d", i))
	}
}

// What is given up is read no more.
func TestRetainedGivenUp(t *testing.T) {
	st := &states{n: 1000, gate: make(chan struct{})}
	e := newEdge(t, func(c *Config) { c.Retained = st.read })
	p := e.reader(version5, receiveMaximum(1))
	p.subOK(1, "presence/#")
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: "presence/#"}}})
	p.next(packets.Unsuback)
	close(st.gate)
	p.silent()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pages > 1 {
		t.Errorf("%d pages were read", st.pages)
	}
}

// register is a Presence that notes what it is told.
type register struct {
	mu   sync.Mutex
	told []string
}

func (r *register) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, text)
}

func (r *register) Online(d auth.DeviceID, session uint64) {
	r.note(fmt.Sprintf("%s %d online", d.Value()[14:], session))
}

func (r *register) Offline(d auth.DeviceID, session uint64, cause string) {
	r.note(fmt.Sprintf("%s %d %s", d.Value()[14:], session, cause))
}

func (r *register) await(t *testing.T, want ...string) {
	t.Helper()
	await(t, fmt.Sprint(want), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprint(r.told) == fmt.Sprint(want)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = nil
}

func TestPresenceIsTold(t *testing.T) {
	r := &register{}
	e := newEdge(t, func(c *Config) { c.Presence = r })
	p := e.device(version5)
	r.await(t, "2 1 online")
	next := e.device(version5)
	p.closed(codeTakenOver)
	r.await(t, "2 2 online", "2 1 taken over")
	next.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	r.await(t, "2 2 disconnected by client")
	cut := e.device(version311)
	r.await(t, "2 3 online")
	_ = cut.conn.Close()
	r.await(t, "2 3 connection lost")

	e.reader(version5) // an app is no device
	there := e.device(version5)
	r.await(t, "2 4 online")
	e.TakeOver(imei, 3) // which it is no more
	e.TakeOver(imei2, 4)
	there.alive()
	e.TakeOver(imei, 4)
	there.closed(codeTakenOver)
	r.await(t, "2 4 taken over")

	removed := e.device(version5)
	r.await(t, "2 5 online")
	if err := e.reg.DeleteDevice(context.Background(), imei, auth.AnyRevision); err != nil {
		t.Fatal(err)
	}
	removed.closed(codeAdministrative)
	r.await(t, "2 5 revoked")

	last := e.device(version5, login(imei2.BaseName(), secret))
	r.await(t, "3 6 online")
	ctx, cancel := contextWith(time.Second)
	defer cancel()
	_ = e.Shutdown(ctx)
	last.closed(codeShuttingDown)
	r.await(t, "3 6 shutdown")
}
