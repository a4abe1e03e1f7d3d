package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// members are sessions of one app that share a subscription.
func (e *edge) members(n int, qos byte, version byte, change ...func(*packets.Packet)) (list []*peer) {
	e.t.Helper()
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	for i := range n {
		p := e.device(version, append([]func(*packets.Packet){login("team", key), clientID(fmt.Sprint(i))}, change...)...)
		p.subOK(qos, "$share/group/uplinks/#")
		list = append(list, p)
	}
	return list
}

func TestSharedSubscriptionGoesRound(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		for _, qos := range []byte{0, 1} {
			e := newEdge(t)
			other := e.device(version5, login("admin", "the admin's own key"))
			other.subOK(0, "$share/group/uplinks/#") // the same name with another app is another group
			list := e.members(3, qos, version)
			e.Deliver(numbered(0, 9))
			var all []int
			for _, p := range list {
				for range 3 {
					m := p.next(packets.Publish)
					if qos > 0 {
						p.send(ack(packets.Puback, m.PacketID))
					}
					n, _ := strconv.Atoi(string(m.Payload))
					all = append(all, n)
				}
				p.alive()
			}
			slices.Sort(all)
			equal(t, "all", all, []int{0, 1, 2, 3, 4, 5, 6, 7, 8})
			for range 9 {
				other.next(packets.Publish)
			}
		}
	}
}

func TestSharedSubscriptionLeavesNothingWithIdleMembers(t *testing.T) {
	e := newEdge(t)
	list := e.members(3, 1, version5, receiveMaximum(2))
	e.Deliver(numbered(0, 100))
	// Two members acknowledge nothing: each holds its window, and the third gets all else.
	for _, p := range list[:2] {
		p.next(packets.Publish)
		p.next(packets.Publish)
		p.silent()
	}
	got := list[2].collect(96, 2)
	list[2].silent()
	// One of them leaves: what it had goes to the third.
	_ = list[0].conn.Close()
	got = append(got, list[2].collect(2, 2)...)
	list[2].silent()
	if slices.Sort(got); len(slices.Compact(got)) != 98 {
		t.Errorf("the third got %d", len(got))
	}
}

func TestSharedSubscriptionOfMembersThatComeAndGo(t *testing.T) {
	e := newEdge(t)
	list := e.members(2, 1, version311)
	_ = list[0].conn.Close()
	await(t, "one is left", func() bool { return e.Stats().Apps == 1 })
	e.Deliver(numbered(0, 50))
	inOrder(t, list[1].collect(50, 64))
	_ = list[1].conn.Close()
	await(t, "none is left", func() bool { return e.Stats().Apps == 0 })
	e.Deliver(numbered(0, 5))
	if e.Wants("uplinks/") {
		t.Error("the group stays")
	}
}

// What the members have no room for waits in the stream; what was trimmed
// there meanwhile, one of them is told.
func TestSharedSubscriptionGap(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Window = 2 })
	e.tape.ring = 10
	list := e.members(2, 1, version5)
	e.Deliver(numbered(0, 4))
	var held [][]uint16
	for _, p := range list {
		held = append(held, []uint16{p.next(packets.Publish).PacketID, p.next(packets.Publish).PacketID})
	}
	e.Deliver(numbered(4, 100))
	e.tape.trim(0, 10)
	p := list[0]
	for _, id := range held[0] {
		p.send(ack(packets.Puback, id))
	}
	m := p.next(packets.Publish)
	if m.TopicName != "events/gap" || !strings.Contains(string(m.Payload), `"from":"4-0","to":"90-0","count":86`) {
		t.Errorf("%s %s", m.TopicName, m.Payload)
	}
	equal(t, "gap", receive(t, e.gaps), Missed{Session: SessionKey{"team", "0"}, Gap: Gap{From: ID{4, 0}, To: ID{90, 0}, Count: 86}})
	p.send(ack(packets.Puback, m.PacketID))
	for i, s := range p.collect(10, 2) {
		equal(t, "then", s, fmt.Sprint(90+i))
	}
}

func TestSharedSubscriptionPassesSmallClientsBy(t *testing.T) {
	e := newEdge(t)
	list := e.members(1, 1, version5, func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 300 })
	large := message(uplinksOf(imei), strings.Repeat("x", 400))
	e.Deliver([]*Message{large, message(uplinksOf(imei), "2")})
	equal(t, "topic", list[0].next(packets.Publish).TopicName, "events/gap")
	equal(t, "payload", string(list[0].next(packets.Publish).Payload), "2")
	equal(t, "gap", receive(t, e.gaps).Count, int64(1))
}

// What waits for a member whose connection is full comes when that drains,
// without another message to set it going.
func TestSharedSubscriptionOfASlowReader(t *testing.T) {
	e := newEdge(t)
	p := e.members(1, 0, version5)[0]
	const n = 400 // 6 MB: more than sockets hold
	for range n {
		e.Deliver([]*Message{large(uplinksOf(imei))})
	}
	for next := 0; next < n; next++ {
		m := p.next(packets.Publish)
		if m.TopicName == "events/gap" {
			from, to := number(m.TopicName, string(m.Payload))
			equal(t, "the gap begins", from, next)
			next = to
			continue
		}
		equal(t, "id", m.Properties.User[0].Val, fmt.Sprintf("%d-0", next+1))
	}
}

// A member that subscribes again keeps the group, what waits in it, and what
// is given back when it leaves.
func TestSharedSubscriptionAgain(t *testing.T) {
	e := newEdge(t)
	admin := login("admin", "the admin's own key")
	first := e.device(version5, admin, clientID("first"), receiveMaximum(2))
	first.subOK(1, "$share/group/uplinks/#")
	e.Deliver(numbered(0, 10))
	first.next(packets.Publish)
	first.next(packets.Publish) // 8 wait
	first.subOK(1, "$share/group/uplinks/#")
	second := e.device(version5, admin, clientID("second"))
	second.subOK(1, "$share/group/uplinks/#")
	got := second.collect(8, 64)
	_ = first.conn.Close()
	inOrder(t, append(second.collect(2, 64), got...))
}
