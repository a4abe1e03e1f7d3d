package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// keeps asks for a session that outlives its connection.
func keeps(seconds uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.Clean = false
		if pk.ProtocolVersion == version5 {
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = seconds, true
		}
	}
}

// startsAnew forgets what was kept.
func startsAnew(pk *packets.Packet) { pk.Connect.Clean = true }

// client is an app's client that keeps its session.
type client struct {
	version byte
	change  []func(*packets.Packet)
}

func (e *edge) client(version byte, change ...func(*packets.Packet)) *client {
	e.t.Helper()
	key := e.app(auth.App{Name: "reader", Scopes: []auth.Scope{auth.ScopeUplinkRead, auth.ScopeDownlinkRead, auth.ScopeRejectRead}})
	return &client{version, append([]func(*packets.Packet){login("reader", key), clientID("c"), keeps(600)}, change...)}
}

// on connects to a node and checks whether it tells that a session is present.
func (c *client) on(e *edge, present bool, change ...func(*packets.Packet)) *peer {
	e.t.Helper()
	p := e.dial(c.version)
	p.send(connect(c.version, append(slices.Clone(c.change), change...)...))
	got := p.next(packets.Connack)
	if got.ReasonCode != 0 || got.SessionPresent != present {
		e.t.Fatalf("CONNACK code %#x %q, session present %v", got.ReasonCode, got.Properties.ReasonString, got.SessionPresent)
	}
	return p
}

// leave disconnects, and waits until that is kept.
func (p *peer) leave(e *edge) {
	p.t.Helper()
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	await(p.t, "the session is away", func() bool { s, ok := e.shelf.kept("reader", "c"); return !ok || s.Detached })
}

func from(n int, got []string) []string {
	for i, s := range got {
		if s != fmt.Sprint(n+i) {
			return append([]string{fmt.Sprintf("message %d is %s, in", n+i, s)}, got...)
		}
	}
	return nil
}

func want(t *testing.T, first int, got []string) {
	t.Helper()
	if wrong := from(first, got); wrong != nil {
		t.Fatal(wrong)
	}
}

// A session that is kept goes on where it was, without subscribing again, on
// the same node and on another, whether what it missed is in memory or not.
func TestSessionGoesOn(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, ring := range []int{0, 5} {
			e := newEdge(t)
			e.tape.ring = ring
			other := e.second()
			c := e.client(version)
			p := c.on(e, false)
			p.subOK(1, "uplinks/#")
			e.Deliver(numbered(0, 3))
			want(t, 0, p.collect(3, 3))
			p.leave(e)
			e.Deliver(numbered(3, 103))
			p = c.on(e, true)
			want(t, 3, p.collect(100, 64))
			p.leave(e)
			e.Deliver(numbered(103, 203))
			p = c.on(other, true)
			want(t, 103, p.collect(100, 64))
			e.Deliver(numbered(203, 210))
			want(t, 203, p.collect(7, 7))
			p.silent()
			if s, o := e.Stats(), other.Stats(); s.Gaps+o.Gaps != 0 {
				t.Errorf("gaps %d", s.Gaps+o.Gaps)
			}
		}
	}
}

// What was sent and not acknowledged comes again: with its packet id and DUP,
// and nothing that was acknowledged, after an orderly end [MQTT-4.4.0-1].
func TestUnacknowledgedComesAgain(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		e := newEdge(t)
		c := e.client(version)
		p := c.on(e, false)
		p.subOK(1, "uplinks/#")
		e.Deliver(numbered(0, 6))
		ids := map[string]uint16{}
		for range 6 {
			m := p.next(packets.Publish)
			ids[string(m.Payload)] = m.PacketID
		}
		for _, n := range []string{"0", "2", "5"} { // out of order
			p.send(ack(packets.Puback, ids[n]))
		}
		p.alive()
		_ = p.conn.Close()
		await(t, "the session is away", func() bool { s, _ := e.shelf.kept("reader", "c"); return s.Detached })
		e.Deliver(numbered(6, 8))
		p = c.on(e, true)
		for _, n := range []string{"1", "3", "4"} {
			m := p.next(packets.Publish)
			if string(m.Payload) != n || !m.FixedHeader.Dup || m.PacketID != ids[n] {
				t.Errorf("message %s came as %q with id %d for %d, DUP %v", n, m.Payload, m.PacketID, ids[n], m.FixedHeader.Dup)
			}
			p.send(ack(packets.Puback, m.PacketID))
		}
		for _, n := range []string{"6", "7"} {
			m := p.next(packets.Publish)
			if string(m.Payload) != n || m.FixedHeader.Dup {
				t.Errorf("message %s came as %q, DUP %v", n, m.Payload, m.FixedHeader.Dup)
			}
			p.send(ack(packets.Puback, m.PacketID))
		}
		p.silent()
	}
}

// A node that dies says nothing any more: the session goes on from what was
// saved last, on another node, and nothing is missing.
func TestNodeThatDies(t *testing.T) {
	e := newEdge(t)
	other := e.second()
	c := e.client(version5)
	old := c.on(e, false)
	old.subOK(1, "uplinks/#")
	e.Deliver(numbered(0, 20))
	for range 10 {
		old.send(ack(packets.Puback, old.next(packets.Publish).PacketID))
	}
	await(t, "the acknowledged are saved", func() bool {
		s, _ := e.shelf.kept("reader", "c")
		return len(s.Cursors) == 1 && s.Cursors[0].At.N == 10
	})
	p := c.on(other, true)
	for i := 10; i < 20; i++ {
		m := p.next(packets.Publish)
		if string(m.Payload) != fmt.Sprint(i) || !m.FixedHeader.Dup {
			t.Errorf("message %d came as %q, DUP %v", i, m.Payload, m.FixedHeader.Dup)
		}
		p.send(ack(packets.Puback, m.PacketID))
	}
	// The node that had it finds out.
	for {
		if m, err := old.read(); err != nil || m.FixedHeader.Type == packets.Disconnect {
			equal(t, "code", m.ReasonCode, byte(0x8e))
			break
		}
	}
	p.alive()
}

func TestSessionEnds(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		e := newEdge(t, func(c *Config) { c.SessionExpiry = time.Minute })
		c := &client{version, []func(*packets.Packet){login("admin", "the admin's own key"), clientID("c"), keeps(600)}}
		p := c.on(e, false)
		p.subOK(1, "uplinks/#")
		s, _ := e.shelf.kept("admin", "c")
		equal(t, "expiry", s.Expiry, time.Minute)
		// Clean start forgets it.
		p2 := c.on(e, false, startsAnew)
		if version == version5 {
			p.closed(0x8e)
		}
		e.Deliver(numbered(0, 1))
		p2.silent()
		_ = p2.conn.Close()
		await(t, "it is away", func() bool { s, ok := e.shelf.kept("admin", "c"); return !ok || s.Detached })
		if _, ok := e.shelf.kept("admin", "c"); ok != (version == version5) { // 3.1.1's clean session is not kept; 5 has an expiry still
			t.Errorf("v%d: kept %v", version, ok)
		}
		c.on(e, version == version5, keeps(0)).leave(e)
	}
}

func TestSessionExpiryIsTold(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.SessionExpiry = time.Minute })
	for asked, told := range map[uint32]struct {
		seconds uint32
		is      bool
	}{0: {0, false}, 30: {0, false}, 60: {0, false}, 61: {60, true}, 0xFFFFFFFF: {60, true}} {
		p := e.dial(version5)
		p.send(connect(version5, login("admin", "the admin's own key"), clientID(fmt.Sprint(asked)), keeps(asked)))
		got := p.next(packets.Connack).Properties
		if got.SessionExpiryIntervalFlag != told.is || got.SessionExpiryInterval != told.seconds {
			t.Errorf("asked for %d: told %v %d", asked, got.SessionExpiryIntervalFlag, got.SessionExpiryInterval)
		}
	}
	// DISCONNECT may change it, but not from zero (MQTT 5 §3.14.2.2.2).
	bye := func(seconds uint32) packets.Packet {
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect},
			Properties: packets.Properties{SessionExpiryInterval: seconds, SessionExpiryIntervalFlag: true}}
	}
	p := e.device(version5, login("admin", "the admin's own key"), clientID("x"), keeps(50))
	p.send(bye(20))
	await(t, "it is kept", func() bool {
		s, ok := e.shelf.kept("admin", "x")
		return ok && s.Detached && s.Expiry == 20*time.Second
	})
	p = e.device(version5, login("admin", "the admin's own key"), clientID("y"), keeps(50))
	p.send(bye(0))
	await(t, "it is gone", func() bool { _, ok := e.shelf.kept("admin", "y"); return !ok })
	p = e.device(version5, login("admin", "the admin's own key"), clientID("z"), keeps(0))
	p.send(bye(5))
	p.closed(0x82)
}

func TestSessionRemovedByAnOperator(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5)
	p := c.on(e, false)
	e.shelf.mu.Lock()
	delete(e.shelf.sessions, SessionKey{"reader", "c"})
	e.shelf.mu.Unlock()
	p.subOKorClosed()
	await(t, "it ended", func() bool { return e.Stats().Apps == 0 })
	c.on(e, false)
}

// subOKorClosed makes the node save the session.
func (p *peer) subOKorClosed() {
	p.send(subscribe(9, packets.Subscription{Filter: "uplinks/#", Qos: 1}))
}

// Nothing is promised that cannot be kept.
func TestWithoutTheStore(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5)
	p := c.on(e, false)
	e.shelf.ruin(errors.New("away"))
	p.send(subscribe(1, packets.Subscription{Filter: "uplinks/#", Qos: 1}))
	p.closed(0x89)
	p = e.dial(version5)
	p.send(connect(version5, c.change...))
	equal(t, "code", p.next(packets.Connack).ReasonCode, byte(0x88))
	e.shelf.ruin(nil)
	await(t, "what ended is saved when it can be", func() bool { s, _ := e.shelf.kept("reader", "c"); return s.Detached })
	p = c.on(e, true)
	p.subOK(1, "uplinks/#")
	e.Deliver(numbered(0, 1))
	want(t, 0, p.collect(1, 1))
}

// A page that cannot be read is read later.
func TestCatchUpWithoutTheStore(t *testing.T) {
	e := newEdge(t)
	e.tape.ring = 2
	c := e.client(version311)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	p.leave(e)
	e.Deliver(numbered(0, 50))
	e.tape.mu.Lock()
	e.tape.fail = errors.New("away")
	e.tape.mu.Unlock()
	p = c.on(e, true)
	p.silent()
	e.tape.mu.Lock()
	e.tape.fail = nil
	e.tape.mu.Unlock()
	want(t, 0, p.collect(50, 10))
}

// after starts a subscription in the past; the session's others do not get
// anything twice by it, nor is anything of them missed.
func TestSubscribeAfter(t *testing.T) {
	for _, ring := range []int{0, 3} {
		e := newEdge(t)
		e.tape.ring = ring
		after := func(id uint16, filter, start string) packets.Packet {
			pk := subscribe(id, packets.Subscription{Filter: filter, Qos: 1})
			pk.Properties.User = []packets.UserProperty{{Key: "after", Val: start}}
			return pk
		}
		p := e.reader(version5)
		p.subOK(1, uplinksOf(imei2))
		two := func(n int) *Message { return message(uplinksOf(imei2), fmt.Sprint("two ", n)) }
		for i := range 10 {
			e.Deliver(append(numbered(i, i+1), two(i)))
			m := p.next(packets.Publish)
			equal(t, "live", string(m.Payload), fmt.Sprint("two ", i))
			p.send(ack(packets.Puback, m.PacketID))
		}
		p.alive()
		p.send(after(2, uplinksOf(imei), "8-0")) // 0 is entry 1, 4 is entry 9
		equal(t, "codes", p.next(packets.Suback).ReasonCodes, []byte{1})
		want(t, 4, p.collect(6, 6))
		e.Deliver(append(numbered(10, 11), two(10)))
		for _, s := range []string{"10", "two 10"} {
			m := p.next(packets.Publish)
			equal(t, "live again", string(m.Payload), s)
			p.send(ack(packets.Puback, m.PacketID))
		}
		p.silent()
		// The same filter once more, from the beginning.
		p.send(after(3, uplinksOf(imei), "0-0"))
		p.next(packets.Suback)
		want(t, 0, p.collect(11, 5))
		p.silent()
		p.send(after(4, "uplinks/#", "yesterday"))
		got := p.next(packets.Suback)
		if !slices.Equal(got.ReasonCodes, []byte{0x83}) || got.Properties.ReasonString == "" {
			t.Errorf("SUBACK %x %q", got.ReasonCodes, got.Properties.ReasonString)
		}
	}
}

// What was trimmed before it was read, the session is told of, in its place.
func TestTrimmedPastACursor(t *testing.T) {
	e := newEdge(t)
	e.tape.ring = 5
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	e.Deliver(numbered(0, 2))
	want(t, 0, p.collect(2, 2))
	p.leave(e)
	e.Deliver(numbered(2, 50))
	e.tape.trim(0, 20)
	p = c.on(e, true)
	m := p.next(packets.Publish)
	equal(t, "topic", m.TopicName, "events/gap")
	equal(t, "payload", string(m.Payload), `{"kind":"gap","stream":"uplinks","from":"2-0","to":"30-0","count":28}`)
	equal(t, "told", receive(t, e.gaps), Missed{SessionKey{"reader", "c"}, 0, Gap{ID{2, 0}, ID{30, 0}, 28}})
	// Not acknowledged, it is told again.
	_ = p.conn.Close()
	await(t, "it is away", func() bool { s, _ := e.shelf.kept("reader", "c"); return s.Detached })
	p = c.on(e, true)
	m = p.next(packets.Publish)
	equal(t, "topic", m.TopicName, "events/gap")
	p.send(ack(packets.Puback, m.PacketID))
	want(t, 30, p.collect(20, 20))
	p.leave(e)
	c.on(e, true).silent()
}

// Sessions that stall, come back and go cost the store batches, not a command
// for each acknowledgement.
func TestAcknowledgementsAreSavedTogether(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.SaveEvery = 100 * time.Millisecond })
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	start := time.Now()
	const n = 3000
	go e.Deliver(numbered(0, n))
	want(t, 0, p.collect(n, 64))
	limit := int(time.Since(start)/(100*time.Millisecond)) + 5
	e.shelf.mu.Lock()
	defer e.shelf.mu.Unlock()
	if e.shelf.saves > limit {
		t.Errorf("%d saves for %d acknowledgements, limit %d", e.shelf.saves, n, limit)
	}
}

// Members of a shared subscription on two nodes get each message once; what one
// had that leaves comes to another, on another node too.
func TestSharedSubscriptionOfTwoNodes(t *testing.T) {
	for _, ring := range []int{0, 10} {
		e := newEdge(t)
		e.tape.ring = ring
		other := e.second()
		key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
		first := e.device(version5, login("team", key), clientID("1"), receiveMaximum(4))
		first.subOK(1, "$share/g/uplinks/#")
		second := other.device(version5, login("team", key), clientID("2"), receiveMaximum(4))
		second.subOK(1, "$share/g/uplinks/#")
		e.Deliver(numbered(0, 100))
		var held []string
		for range 4 {
			held = append(held, string(first.next(packets.Publish).Payload))
		}
		got := second.collect(96, 4)
		second.silent()
		_ = first.conn.Close()
		got = append(got, second.collect(4, 4)...)
		slices.Sort(got)
		if got = slices.Compact(got); len(got) != 100 {
			t.Errorf("%d of 100, the first held %v", len(got), held)
		}
		second.silent()
	}
}

// A shared subscription waits for its members while their sessions are kept.
func TestSharedSubscriptionWaits(t *testing.T) {
	e := newEdge(t)
	e.tape.ring = 4
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "$share/g/uplinks/#")
	e.Deliver(numbered(0, 5))
	for range 5 {
		p.next(packets.Publish) // none is acknowledged
	}
	p.leave(e)
	e.Deliver(numbered(5, 30))
	p = c.on(e, true)
	got := p.collect(30, 10)
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 30 {
		t.Errorf("%d of 30: %v", len(got), got)
	}
	p.silent()
}
