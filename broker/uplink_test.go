package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// held has Submit keep the answers, for the test to give.
type held struct {
	Uplink
	done func(Outcome)
}

func hold(c chan held) func(*Config) {
	return func(cfg *Config) { cfg.Submit = func(u Uplink, done func(Outcome)) { c <- held{u, done} } }
}

func answer(o Outcome) func(*Config) {
	return func(cfg *Config) { cfg.Submit = func(_ Uplink, done func(Outcome)) { done(o) } }
}

func TestUplinkIsHandedOn(t *testing.T) {
	e := newEdge(t)
	token := auth.Token([]byte(pack), secret)
	for _, version := range []byte{version311, version5} {
		for qos := range byte(3) {
			for _, c := range []struct {
				topic string
				token string
			}{
				{uplinks, ""},
				{"things/imei/356726104408422/uplink", ""},
				{uplinks + "/" + token, token},
				{uplinks + "/", ""},
				{uplinks + "/not a token", "not a token"},
			} {
				p := e.device(version)
				p.send(publish(c.topic, pack, qos, uint16(qos)*9))
				u := receive(t, e.uplinks)
				equal(t, "uplink", u, Uplink{Device: imei, Payload: []byte(pack), Remote: p.conn.LocalAddr().String(),
					Token: c.token, HasToken: strings.Count(c.topic, "/") == 4})
				p.completed(qos, 9*uint16(qos), 0)
				_ = p.conn.Close()
			}
		}
	}
}

// completed takes what answers a publish, with the reason code that MQTT 5 gets.
func (p *peer) completed(qos byte, id uint16, code byte) {
	p.t.Helper()
	if p.version < version5 {
		code = 0
	}
	switch qos {
	case 1:
		if got := p.next(packets.Puback); got.PacketID != id || got.ReasonCode != code {
			p.t.Fatalf("PUBACK %d code %#x, want %d code %#x", got.PacketID, got.ReasonCode, id, code)
		}
	case 2:
		if got := p.next(packets.Pubrec); got.PacketID != id || got.ReasonCode != code {
			p.t.Fatalf("PUBREC %d code %#x, want %d code %#x", got.PacketID, got.ReasonCode, id, code)
		}
		if code == 0 {
			p.send(ack(packets.Pubrel, id))
			if got := p.next(packets.Pubcomp); got.PacketID != id || got.ReasonCode != 0 {
				p.t.Fatalf("PUBCOMP %d code %#x", got.PacketID, got.ReasonCode)
			}
		}
	}
	p.alive()
}

func TestOutcomes(t *testing.T) {
	for _, o := range []Outcome{{}, {Code: 0x99, Reason: "record 1: field \"v\" is no number"}, {Code: 0x87, Reason: "token wrong"}, {Code: 0x97, Reason: "over its rate"}} {
		e := newEdge(t, answer(o))
		app := e.reader(version5)
		app.subOK(1, "#")
		for _, version := range []byte{version311, version5} {
			for qos := range byte(3) {
				p := e.device(version)
				for id := range uint16(3) {
					p.send(publish(uplinks, pack, qos, id+1))
					p.completed(qos, id+1, o.Code)
				}
				p.send(publish(uplinks, pack, qos, 1, func(pk *packets.Packet) { pk.FixedHeader.Retain = true }))
				p.completed(qos, 1, o.Code)
				_ = p.conn.Close()
			}
		}
		app.silent()
		late := e.device(version5, login("admin", "the admin's own key"))
		late.subOK(1, "#", "+/+/+", uplinksOf(imei))
		late.silent() // nothing was retained
		if o.Code != 0 && e.Stats().Refused[o.Code] != 2*3*4 {
			t.Errorf("refused %v", e.Stats().Refused)
		}
	}
}

func uplinksOf(id auth.DeviceID) string { return "uplinks/" + id.Type() + "/" + id.Value() }

func TestReasonStringOfARefusal(t *testing.T) {
	e := newEdge(t, answer(Outcome{Code: 0x99, Reason: "record 2: no value"}))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	equal(t, "reason", p.next(packets.Puback).Properties.ReasonString, "record 2: no value")
	p = e.device(version5, func(pk *packets.Packet) { // [MQTT-3.1.2-29]
		pk.Properties.RequestProblemInfo, pk.Properties.RequestProblemInfoFlag = 0, true
	})
	p.send(publish(uplinks, pack, 1, 1))
	ack := p.next(packets.Puback)
	equal(t, "reason", ack.Properties.ReasonString, "")
	equal(t, "code", ack.ReasonCode, byte(0x99))
}

func TestNotStoredClosesUnacknowledged(t *testing.T) {
	e := newEdge(t, answer(Outcome{Unavailable: true}))
	for qos := range byte(3) {
		for version, code := range map[byte]byte{version5: 0x89, version311: 0} {
			p := e.device(version)
			p.send(publish(uplinks, pack, qos, uint16(qos)))
			if qos == 0 {
				p.alive()
				continue
			}
			p.closed(code)
		}
	}
}

func TestNotStoredBehindOthers(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	p := e.device(version5)
	for id := range uint16(3) {
		p.send(publish(uplinks, fmt.Sprint(id), 1, id+1))
	}
	first, second, third := receive(t, c), receive(t, c), receive(t, c)
	third.done(Outcome{})
	second.done(Outcome{Unavailable: true})
	p.silent()
	first.done(Outcome{})
	if got := p.next(packets.Puback); got.PacketID != 1 {
		t.Errorf("PUBACK %d", got.PacketID)
	}
	p.closed(0x89) // the third is stored and will be sent again, which costs nothing
}

func TestNothingPublishedIsRouted(t *testing.T) {
	e := newEdge(t)
	filters := []string{"#", "+/+/+", "$share/g/#", "uplinks/#", "uplinks/IMEI/356726104408422", "rejects/#", "events/#", "presence/#"}
	var apps []*peer
	for _, version := range []byte{version311, version5} {
		app := e.device(version, login("admin", "the admin's own key"), clientID(string('0'+version)))
		app.subOK(1, filters...)
		apps = append(apps, app)
	}
	other := e.device(version5, login(imei2.BaseName(), secret))
	other.subOK(1, "things/IMEI/356726104408423/downlink")
	retained := func(pk *packets.Packet) { pk.FixedHeader.Retain = true }
	for _, version := range []byte{version311, version5} {
		p := e.device(version)
		for _, topic := range []string{uplinks, "uplinks/IMEI/356726104408422", "things/IMEI/356726104408423/downlink", "rejects/IMEI/356726104408422", "#/"[1:]} {
			for qos := range byte(3) {
				p.send(publish(topic, pack, qos, uint16(qos)+1, retained))
				p.send(publish(topic, pack, qos, uint16(qos)+4))
			}
		}
		await(t, "all are answered", func() bool { s := e.Stats(); return s.Published == int64(version-3)*30 && s.InFlight == 0 })
	}
	for _, p := range append(apps, other) {
		p.alive()
	}
	late := e.device(version5, login("admin", "the admin's own key"), clientID("late"))
	late.subOK(1, filters...)
	late.silent()
}

func TestForeignTopics(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "all", Scopes: []auth.Scope{auth.ScopeAdmin}})
	all := e.device(version5, login("all", key))
	all.subOK(1, "#")
	foreign := []string{
		"things/IMEI/356726104408423/uplink", downlinks, "uplinks/IMEI/356726104408422", "events/IMEI/356726104408422/sms",
		"presence/IMEI/356726104408422", "rejects/IMEI/356726104408422", "downlinks/IMEI/356726104408422", "$SYS/broker/version",
		"things/IMEI/356726104408422", "things/IMEI/356726104408422/uplink/a/b", "Things/IMEI/356726104408422/uplink",
		"things/IMEI/356726104408422/Uplink", "/things/IMEI/356726104408422/uplink", "things//356726104408422/uplink",
		"$share/g/" + uplinks, "a", "/", " ", "things/DVNUUID/356726104408422/uplink", "things/IMEI/356726104408422/uplink\u00a0",
	}
	for _, version := range []byte{version311, version5} {
		p := e.device(version)
		for _, topic := range foreign {
			for qos := range byte(3) {
				p.send(publish(topic, pack, qos, uint16(qos), func(pk *packets.Packet) { pk.FixedHeader.Retain = true }))
				p.completed(qos, uint16(qos), 0x87)
				r := receive(t, e.rejects)
				if r.Device != imei || r.Reason != "topic" || string(r.Body) != pack || r.Remote == "" {
					t.Errorf("%s: reject %+v", topic, r)
				}
			}
		}
	}
	nothing(t, e.uplinks)
	all.alive()
	late := e.device(version5, login("all", key), clientID("late"))
	late.subOK(1, "#")
	late.silent()
}

func TestAppsPublishNothingYet(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "writer", Scopes: []auth.Scope{auth.ScopeDownlinkWrite}})
	for _, c := range []struct {
		topic string
		code  byte
	}{
		{"downlinks/IMEI/356726104408422", 0x83}, {"downlinks/IMEI/356726104408422/x", 0x87}, {"downlinks/IMEI/1", 0x87},
		{uplinks, 0x87}, {downlinks, 0x87}, {"uplinks/IMEI/356726104408422", 0x87}, {"x", 0x87},
	} {
		p := e.device(version5, login("writer", key))
		p.send(publish(c.topic, pack, 1, 1))
		p.completed(1, 1, c.code)
		p = e.device(version311, login("writer", key))
		p.send(publish(c.topic, pack, 1, 1))
		if c.code == 0x83 { // an acknowledgement would be a promise
			for {
				if _, err := p.read(); err != nil {
					break
				}
				t.Error("a downlink was acknowledged")
			}
			continue
		}
		p.completed(1, 1, c.code)
	}
	nothing(t, e.uplinks)
}

func TestDownlinksOfApps(t *testing.T) {
	got := make(chan Downlink, 10)
	e := newEdge(t, func(c *Config) {
		c.Downlink = func(d Downlink, done func(Outcome)) { got <- d; done(Outcome{Code: 0x99, Reason: "no pack"}) }
	})
	key := e.app(auth.App{Name: "writer", Scopes: []auth.Scope{auth.ScopeDownlinkWrite}, Devices: []string{string(imei)}})
	reader := e.reader(version5)
	reader.send(publish("downlinks/IMEI/356726104408422", pack, 1, 1))
	reader.completed(1, 1, 0x87)
	p := e.device(version5, login("writer", key))
	p.send(publish("downlinks/IMEI/356726104408423", pack, 1, 1))
	p.completed(1, 1, 0x87)
	p.send(publish("downlinks/imei/356726104408422", pack, 1, 1))
	p.completed(1, 1, 0x99)
	if d := receive(t, got); d.Device != imei || d.App.Name != "writer" || string(d.Payload) != pack {
		t.Errorf("downlink %+v", d)
	}
	nothing(t, got)
}

func TestMessageTokens(t *testing.T) {
	e := newEdge(t)
	token := auth.Token([]byte(pack), secret)
	p := e.device(version5)
	for _, c := range []struct {
		name   string
		topic  string
		tokens []string
		want   string
		code   byte
	}{
		{"property", uplinks, []string{token}, token, 0},
		{"both alike", uplinks + "/" + token, []string{strings.ToUpper(token)}, strings.ToUpper(token), 0},
		{"two properties", uplinks, []string{token, token}, "", 0x87},
		{"both, different", uplinks + "/" + strings.Repeat("0", 64), []string{token}, "", 0x87},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.send(publish(c.topic, pack, 1, 1, tokenProp(c.tokens...)))
			p.completed(1, 1, c.code)
			if c.code == 0 {
				if u := receive(t, e.uplinks); u.Token != c.want || !u.HasToken {
					t.Errorf("token %q %v", u.Token, u.HasToken)
				}
				return
			}
			if r := receive(t, e.rejects); r.Reason != "token" || strings.Contains(r.Detail, token) {
				t.Errorf("reject %+v", r)
			}
			nothing(t, e.uplinks)
		})
	}
}

func TestTokenIsNotEchoed(t *testing.T) {
	token := auth.Token([]byte(pack), secret)
	for _, o := range []Outcome{{}, {Code: 0x87, Reason: "token wrong"}} {
		e := newEdge(t, answer(o))
		p := e.device(version5)
		for qos := byte(1); qos < 3; qos++ {
			for _, topic := range []string{uplinks, "elsewhere"} {
				p.send(publish(topic, pack, qos, 5, tokenProp(token)))
				got, err := p.read()
				if err != nil || got.FixedHeader.Type != packets.Puback+qos-1 || len(got.Properties.User) > 0 || got.ReasonCode == 1 ||
					strings.Contains(got.Properties.ReasonString, token) {
					t.Errorf("QoS %d: %+v %v", qos, got, err)
				}
				if qos == 2 {
					p.send(ack(packets.Pubrel, 5))
					p.next(packets.Pubcomp)
				}
			}
		}
		pk := subscribe(3, packets.Subscription{Filter: downlinks})
		tokenProp(token)(&pk)
		p.send(pk)
		if got := p.next(packets.Suback); len(got.Properties.User) > 0 {
			t.Errorf("SUBACK echoes %v", got.Properties.User)
		}
	}
}

func TestTopicAlias(t *testing.T) {
	e := newEdge(t)
	p := e.device(version5)
	alias := func(a uint16) func(*packets.Packet) {
		return func(pk *packets.Packet) { pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = a, true }
	}
	p.send(publish(uplinks, "1", 1, 1, alias(1)))
	p.completed(1, 1, 0)
	p.send(publish("", "2", 1, 1, alias(1)))
	p.completed(1, 1, 0)
	if u, v := receive(t, e.uplinks), receive(t, e.uplinks); string(u.Payload)+string(v.Payload) != "12" {
		t.Errorf("got %s %s", u.Payload, v.Payload)
	}
	// An alias of a foreign topic is as foreign as its name.
	p.send(publish("uplinks/IMEI/356726104408422", "3", 1, 1, alias(2)))
	p.completed(1, 1, 0x87)
	p.send(publish("", "4", 1, 1, alias(2)))
	p.completed(1, 1, 0x87)
	nothing(t, e.uplinks)
	p.send(publish("", "5", 1, 1, alias(3)))
	p.closed(0x82)
	p = e.device(version5)
	p.send(publish("", "6", 1, 1, alias(1))) // aliases end with their connection
	p.closed(0x82)
	p = e.device(version5)
	p.send(publish(uplinks, "7", 1, 1, alias(topicAliases+1)))
	p.closed(0x94)
	nothing(t, e.uplinks)
}

func TestInvalidTopic(t *testing.T) {
	e := newEdge(t)
	for _, topic := range []string{"things/+/356726104408422/uplink", "#", uplinks + "/#", ""} {
		for version, code := range map[byte]byte{version5: 0x82, version311: 0} {
			p := e.device(version)
			p.send(publish(topic, pack, 1, 1))
			p.closed(code)
		}
	}
	nothing(t, e.uplinks)
}

func TestPacketSize(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxPacket = 2000 })
	for version, code := range map[byte]byte{version5: 0x95, version311: 0} {
		p := e.device(version)
		p.send(publish(uplinks, strings.Repeat("x", 1900), 1, 1))
		p.completed(1, 1, 0)
		receive(t, e.uplinks)
		p.raw([]byte{0x32, 0xff, 0xff, 0xff, 0x7f}) // 256 MiB to come: they are not waited for
		p.closed(code)
	}
}

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

func TestWill(t *testing.T) {
	token := auth.Token([]byte("gone"), secret)
	will := func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte("gone")
		pk.Connect.WillRetain, pk.Connect.WillQos = true, 2
		if pk.ProtocolVersion == version5 {
			pk.Connect.WillProperties.User = []packets.UserProperty{{Key: tokenProperty, Val: token}}
			pk.Connect.WillProperties.WillDelayInterval = 3600
		} else {
			pk.Connect.WillTopic += "/" + token
		}
	}
	e := newEdge(t)
	app := e.reader(version5)
	app.subOK(1, "#")
	disconnect := func(code byte) packets.Packet {
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect, Remaining: 2}, ReasonCode: code}
	}
	for _, c := range []struct {
		name string
		end  func(p *peer)
		sent bool
		only byte
	}{
		{"connection lost", func(p *peer) { _ = p.conn.Close() }, true, 0},
		{"DISCONNECT", func(p *peer) { p.send(disconnect(0)); p.closed(0) }, false, 0},
		{"DISCONNECT with will", func(p *peer) { p.send(disconnect(4)); p.closed(0) }, true, version5},
		{"protocol error", func(p *peer) { p.hex("c00100") }, true, 0},
		{"taken over", func(p *peer) { e.device(p.version) }, true, 0},
	} {
		for _, version := range []byte{version311, version5} {
			if c.only != 0 && version != c.only {
				continue
			}
			p := e.device(version, will)
			c.end(p)
			if !c.sent {
				nothing(t, e.uplinks)
				continue
			}
			u := receive(t, e.uplinks)
			equal(t, c.name, u, Uplink{Device: imei, Payload: []byte("gone"), Token: token, HasToken: true, Remote: p.conn.LocalAddr().String(), Will: true})
			nothing(t, e.uplinks)
		}
	}
	app.alive()
}

func TestForeignWillIsRefused(t *testing.T) {
	e := newEdge(t)
	p := e.dial(version5)
	p.send(connect(version5, func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte(pack)
		pk.Connect.WillProperties.User = []packets.UserProperty{{Key: tokenProperty, Val: "a"}, {Key: tokenProperty, Val: "a"}}
	}))
	if got := p.next(packets.Connack); got.ReasonCode != 0x87 {
		t.Errorf("CONNACK %#x", got.ReasonCode)
	}
	p.closed(0)
	if r := receive(t, e.rejects); r.Reason != "will" || r.Device != imei || string(r.Body) != pack {
		t.Errorf("reject %+v", r)
	}
	nothing(t, e.uplinks)
}

func TestWillsAreNotSentAtShutdown(t *testing.T) {
	e := newEdge(t)
	p := e.device(version5, func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, []byte("gone")
	})
	if err := e.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	p.closed(0x8b)
	nothing(t, e.uplinks)
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	idle := e.device(version311, login(imei2.BaseName(), secret))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	h := receive(t, c)
	ended := make(chan error, 1)
	go func() { ended <- e.Shutdown(t.Context()) }()
	idle.closed(0)
	p.silent()
	nothing(t, ended)
	h.done(Outcome{})
	if a := p.next(packets.Puback); a.PacketID != 1 {
		t.Errorf("PUBACK %d", a.PacketID)
	}
	p.closed(0x8b)
	if err := receive(t, ended); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if s := e.Stats(); s.Connections != 0 || s.Devices != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	h := receive(t, c)
	start := time.Now()
	_ = e.dial(version5) // before login
	ctx, cancel := contextWith(200 * time.Millisecond)
	defer cancel()
	if err := e.Shutdown(ctx); err == nil {
		t.Error("shutdown tells nothing of its time-out")
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("shutdown took %v", d)
	}
	h.done(Outcome{})
}
