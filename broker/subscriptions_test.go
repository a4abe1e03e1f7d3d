package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func TestDeviceSubscriptions(t *testing.T) {
	e := newEdge(t)
	for _, c := range []struct {
		filter string
		code   byte
	}{
		{downlinks, 1}, {"things/imei/356726104408422/downlink", 1},
		{"things/IMEI/356726104408423/downlink", 0x87}, {uplinks, 0x87}, {"#", 0x87}, {"+", 0x87}, {"things/#", 0x87},
		{"things/IMEI/356726104408422/+", 0x87}, {"things/+/356726104408422/downlink", 0x87}, {downlinks + "/#", 0x87},
		{"$share/g/" + downlinks, 0x87}, {"uplinks/IMEI/356726104408422", 0x87}, {"$SYS/#", 0x87}, {"events/gap", 0x87},
		{"", 0x8f}, {"a#", 0x8f}, {"#/a", 0x8f}, {"a/b+", 0x8f}, {"$share/g", 0x8f}, {"$share//a", 0x8f}, {"$share/g/", 0x8f}, {"$share/+/a", 0x8f},
		{"1/2/3/4/5/6/7/8", 0x87}, {"1/2/3/4/5/6/7/8/#", 0x8f}, {strings.Repeat("/", 8), 0x8f}, {"$share/g/1/2/3/4/5/6/7/8/9", 0x8f}, {strings.Repeat("a/", 2000), 0x8f},
	} {
		for _, version := range []byte{version311, version5} {
			p := e.device(version)
			want := c.code
			if version == version311 && want > 2 {
				want = 0x80
			}
			if got := p.sub(2, c.filter); got[0] != want {
				t.Errorf("v%d %q: code %#x, want %#x", version, c.filter, got[0], want)
			}
		}
	}
}

func TestDownlinkDelivery(t *testing.T) {
	e := newEdge(t)
	for _, version := range []byte{version311, version5} {
		for _, filter := range []string{downlinks, "things/imei/356726104408422/downlink"} {
			other := e.device(version5, login(imei2.BaseName(), secret))
			other.subOK(1, "things/IMEI/356726104408423/downlink")
			p := e.device(version)
			const body = `[{"bn":"urn:dev:IMEI:356726104408422:"}]`
			if _, ok := e.errandFor(body); ok {
				t.Error("taken for a device that is not subscribed")
			}
			p.subOK(1, filter)
			wrong := &Message{Topic: "things/IMEI/356726104408423/downlink", Device: imei}
			if e.DeliverDevice(wrong, func(bool, string) {}) {
				t.Error("taken for a device, on another's topic")
			}
			outcome := e.takes(body)
			got := p.next(packets.Publish)
			if got.TopicName != filter || string(got.Payload) != body || got.FixedHeader.Qos != 1 {
				t.Errorf("got %s %s", got.TopicName, got.Payload)
			}
			p.send(ack(packets.Puback, got.PacketID))
			e.becomes(outcome, true, "PUBACK")
			p.alive()
			other.alive()
			p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 4, Filters: packets.Subscriptions{{Filter: filter}}})
			p.next(packets.Unsuback)
			if _, ok := e.errandFor(body); ok {
				t.Error("taken for a device that is not subscribed any more")
			}
			p.silent()
		}
	}
}

func TestAppScopes(t *testing.T) {
	e := newEdge(t)
	dev := "/IMEI/356726104408422"
	topics := []string{"uplinks" + dev, "presence" + dev, "rejects" + dev, "events" + dev + "/downlink", "events" + dev + "/presence", "events" + dev + "/sms"}
	filters := []string{"uplinks/#", "presence/#", "rejects/#", "events/#", "events" + dev + "/presence", "events" + dev + "/sms", "#", "+/+/+/#", "downlinks/#", "things/#", "x", "$share/g/uplinks/#", "$share/g/rejects/#"}
	for _, c := range []struct {
		scope auth.Scope
		codes []byte
		sees  []int // of topics, by a wildcard
	}{
		{auth.ScopeUplinkRead, []byte{1, 1, 0x87, 1, 1, 0x87, 1, 1, 0x87, 0x87, 0x87, 1, 0x87}, []int{0, 1, 4}},
		{auth.ScopeDownlinkRead, []byte{0x87, 0x87, 0x87, 1, 1, 1, 1, 1, 0x87, 0x87, 0x87, 0x87, 0x87}, []int{3, 4, 5}},
		{auth.ScopeRejectRead, []byte{0x87, 0x87, 1, 0x87, 0x87, 0x87, 1, 1, 0x87, 0x87, 0x87, 0x87, 1}, []int{2}},
		{auth.ScopeDownlinkWrite, slices.Repeat([]byte{0x87}, len(filters)), nil},
		{auth.ScopeDeviceRead, slices.Repeat([]byte{0x87}, len(filters)), nil},
		{auth.ScopeAdmin, []byte{1, 1, 1, 1, 1, 1, 1, 1, 0x87, 0x87, 0x87, 1, 1}, []int{0, 1, 2, 3, 4, 5}},
	} {
		name := string(c.scope[:4]) + fmt.Sprint(len(c.scope))
		key := e.app(auth.App{Name: name, Scopes: []auth.Scope{c.scope}})
		p := e.device(version5, login(name, key))
		for i, f := range filters {
			if got := p.sub(2, f); got[0] != c.codes[i] {
				t.Errorf("%s: %q code %#x, want %#x", c.scope, f, got[0], c.codes[i])
			}
		}
		p = e.device(version5, login(name, key), clientID("wild"))
		p.sub(1, "#", "+/+/+", "+/#")
		var msgs []*Message
		for i, topic := range append(topics, "things/x", "other") {
			msgs = append(msgs, message(topic, fmt.Sprint(i)))
		}
		e.Deliver(msgs)
		for _, i := range c.sees {
			m := p.next(packets.Publish)
			if string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("%s got %s", c.scope, m.TopicName)
			}
			p.send(ack(packets.Puback, m.PacketID))
		}
		p.alive()
	}
}

func TestDeviceFilters(t *testing.T) {
	e := newEdge(t)
	label := func(id auth.DeviceID, labels map[string]string) {
		t.Helper()
		if _, err := e.reg.PutDevice(context.Background(), auth.Device{ID: id, Labels: labels}, auth.Replace); err != nil {
			t.Fatal(err)
		}
	}
	label(imei, map[string]string{"site": "north"})
	label(imei2, map[string]string{"site": "south"})
	byID := e.app(auth.App{Name: "by-id", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{string(imei)}})
	byLabel := e.app(auth.App{Name: "by-label", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{"site=north"}})
	for name, key := range map[string]string{"by-id": byID, "by-label": byLabel} {
		p := e.device(version5, login(name, key))
		codes := p.sub(1, uplinksOf(imei), uplinksOf(imei2), "presence/IMEI/356726104408423", "uplinks/IMEI/111111111111111", "uplinks/+/356726104408423", "#", "$share/g/"+uplinksOf(imei2))
		want := []byte{1, 0x87, 0x87, 0x87, 1, 1, 0x87}
		if !slices.Equal(codes, want) {
			t.Errorf("%s: codes %x, want %x", name, codes, want)
		}
		e.Deliver([]*Message{
			message(uplinksOf(imei2), "2"), message(uplinksOf(imei), "1"),
			message("uplinks/IMEI/111111111111111", "3"), {Topic: "uplinks/nobody", Payload: []byte("4")},
		})
		m := p.next(packets.Publish)
		equal(t, name, string(m.Payload), "1")
		p.send(ack(packets.Puback, m.PacketID))
		p.alive()
		_ = p.conn.Close()
	}
	// A label that changes changes what is seen, on the next message.
	p := e.device(version5, login("by-label", byLabel))
	p.subOK(0, "uplinks/#")
	label(imei, nil)
	label(imei2, map[string]string{"site": "north"})
	e.Deliver([]*Message{message(uplinksOf(imei), "1"), message(uplinksOf(imei2), "2")})
	equal(t, "payload", string(p.next(packets.Publish).Payload), "2")
	p.alive()
}

// An app learns what became of its own sessions, whatever devices it sees, and
// of no other's.
func TestEventsOfAnAppsOwnSessions(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "own", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{string(imei2)}})
	p := e.device(version5, login("own", key))
	p.subOK(1, "events/#")
	p.subOK(1, "events/APP/own/gap")
	e.Deliver([]*Message{
		{Topic: "events/APP/other/gap", App: "other", Payload: []byte("other")}, {Topic: "events/APP/own/gap", App: "own", Payload: []byte("own")},
	})
	m := p.next(packets.Publish)
	equal(t, "payload", string(m.Payload), "own")
	p.send(ack(packets.Puback, m.PacketID))
	p.alive()
}

// Whether an app may see a device cannot be known without the registry: the
// message waits in its stream until it can, and is missed by nobody.
func TestFilterByLabelWithoutRedis(t *testing.T) {
	e := newEdge(t)
	registry := &awayRegistry{Registry: e.reg}
	e.Broker.cfg.Registry = registry
	e.label(imei, "north")
	key := e.app(auth.App{Name: "by-label", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{"site=north"}})
	p := e.device(version5, login("by-label", key))
	p.subOK(1, "uplinks/#")
	registry.away.Store(true)
	e.Deliver(numbered(0, 2))
	p.silent()
	registry.away.Store(false)
	inOrder(t, p.collect(2, 2))
	nothing(t, e.gaps)
}

func TestSubscriptionOptions(t *testing.T) {
	retained := message("presence/IMEI/356726104408422", `{"online":true}`)
	retained.Retain = true
	e := newEdge(t, func(c *Config) {
		c.Retained = func(context.Context, string, string, int) ([]*Message, string, error) {
			return []*Message{retained}, "", nil
		}
	})
	p := e.reader(version5)
	sub := func(want bool, s packets.Subscription) {
		t.Helper()
		pk := subscribe(5, s)
		pk.Properties.SubscriptionIdentifier = []int{s.Identifier}
		p.send(pk)
		if got := p.next(packets.Suback); got.ReasonCodes[0] > 1 {
			t.Fatalf("code %#x", got.ReasonCodes[0])
		}
		if !want {
			p.silent()
			return
		}
		m := p.next(packets.Publish)
		if !m.FixedHeader.Retain || string(m.Payload) != `{"online":true}` {
			t.Errorf("retained message %+v", m.FixedHeader)
		}
		equal(t, "identifiers", m.Properties.SubscriptionIdentifier, []int{s.Identifier})
	}
	sub(true, packets.Subscription{Filter: "presence/#", Identifier: 7, RetainAsPublished: true})
	sub(true, packets.Subscription{Filter: "presence/#", Identifier: 7, RetainAsPublished: true})
	sub(false, packets.Subscription{Filter: "presence/#", Identifier: 7, RetainAsPublished: true, RetainHandling: 1})
	sub(false, packets.Subscription{Filter: "presence/+/+", Identifier: 268435455, RetainHandling: 2})
	sub(true, packets.Subscription{Filter: "+/#", Identifier: 130, RetainHandling: 1})
	sub(false, packets.Subscription{Filter: "$share/g/presence/#", Identifier: 1})
	// Overlapping subscriptions: one copy, with all identifiers; and the shared one's own.
	e.Deliver([]*Message{retained})
	var ids [][]int
	for range 2 {
		m := p.next(packets.Publish)
		ids = append(ids, m.Properties.SubscriptionIdentifier)
		if m.FixedHeader.Retain != (len(m.Properties.SubscriptionIdentifier) == 3) {
			t.Errorf("retain %v for %v", m.FixedHeader.Retain, m.Properties.SubscriptionIdentifier)
		}
	}
	slices.SortFunc(ids, func(a, b []int) int { return len(a) - len(b) })
	equal(t, "identifiers", ids, [][]int{{1}, {7, 130, 268435455}})
	p.alive()

	old := e.device(version311, login("admin", "the admin's own key"))
	old.subOK(1, "#")
	if m := old.next(packets.Publish); !m.FixedHeader.Retain {
		t.Error("not marked as retained")
	}
	e.Deliver([]*Message{retained})
	if m := old.next(packets.Publish); m.FixedHeader.Retain { // [MQTT-3.3.1-9]
		t.Error("a live message is marked as retained")
	}
}

func TestOverlappingSubscriptionsAreOneCopyAtTheBestQoS(t *testing.T) {
	e := newEdge(t)
	for _, version := range []byte{version311, version5} {
		p := e.device(version, login("admin", "the admin's own key"))
		p.subOK(0, "#", "uplinks/#")
		p.subOK(1, "uplinks/+/+")
		e.Deliver([]*Message{message(uplinksOf(imei), "1")})
		m := p.next(packets.Publish)
		equal(t, "QoS", m.FixedHeader.Qos, byte(1))
		p.send(ack(packets.Puback, m.PacketID))
		p.alive()
		// A second SUBSCRIBE replaces the first. [MQTT-3.8.4-3]
		p.subOK(0, "uplinks/+/+")
		e.Deliver([]*Message{message(uplinksOf(imei), "2")})
		equal(t, "QoS", p.next(packets.Publish).FixedHeader.Qos, byte(0))
		p.alive()
	}
}

func TestUnsubscribe(t *testing.T) {
	e := newEdge(t)
	p := e.reader(version5)
	p.subOK(1, "uplinks/#", "#", "$share/g/uplinks/#")
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3,
		Filters: packets.Subscriptions{{Filter: "uplinks/#"}, {Filter: "uplinks/+"}, {Filter: "a#"}, {Filter: "#"}, {Filter: "$share/g/uplinks/#"}}})
	equal(t, "codes", p.next(packets.Unsuback).ReasonCodes, []byte{0, 0x11, 0x8f, 0, 0})
	e.Deliver([]*Message{message(uplinksOf(imei), "1")})
	p.silent()
	if e.Wants("uplinks/") || e.Stats().Subscriptions != 0 {
		t.Error("subscriptions stay")
	}
}

func TestSubscriptionQuota(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxSubscriptions = 2 })
	p := e.reader(version5)
	equal(t, "codes", p.sub(1, "uplinks/a", "uplinks/b", "uplinks/c", "uplinks/a"), []byte{1, 1, 0x97, 1})
}

func TestNoLocalOnShared(t *testing.T) {
	e := newEdge(t)
	p := e.reader(version5)
	p.send(subscribe(1, packets.Subscription{Filter: "uplinks/#", NoLocal: true}))
	p.next(packets.Suback)
	p.send(subscribe(1, packets.Subscription{Filter: "$share/g/uplinks/#", NoLocal: true}))
	p.closed(0x82)
}

func TestWants(t *testing.T) {
	e := newEdge(t)
	prefixes := []string{"uplinks/", "events/", "presence/", "rejects/", "things/"}
	wants := func() (got []bool) {
		for _, p := range prefixes {
			got = append(got, e.Wants(p))
		}
		return got
	}
	equal(t, "at first", wants(), []bool{false, false, false, false, false})
	p := e.device(version5, login("admin", "the admin's own key"))
	p.subOK(0, "uplinks/#", "$share/g/rejects/#")
	equal(t, "two", wants(), []bool{true, false, false, true, false})
	p.subOK(0, "+/x")
	e.device(version5)
	equal(t, "wildcard and device", wants(), []bool{true, true, true, true, true})
	_ = p.conn.Close()
	await(t, "all gone", func() bool { return e.Stats().Apps == 0 })
	equal(t, "device", wants(), []bool{false, false, false, false, true})
}
