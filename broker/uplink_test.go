package broker

import (
	"fmt"
	"strings"
	"testing"

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
	for _, o := range []Outcome{{}, {Code: 0x99, Reason: "record 1: field \"v\" is no number"}, {Code: 0x87, Reason: "token wrong"}} {
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

func TestBeyondTheQuota(t *testing.T) {
	e := newEdge(t, answer(Outcome{Code: 0x97, Reason: "over its rate"}))
	for qos := range byte(3) {
		p := e.device(version5)
		p.send(publish(uplinks, pack, qos, 1))
		p.completed(qos, 1, 0x97)
		p = e.device(version311) // cannot be told: an acknowledgement would lose the message
		p.send(publish(uplinks, pack, qos, 1))
		if qos == 0 {
			p.alive()
		} else {
			p.closed(0)
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
		r := receive(t, e.rejects)
		if r.Device != imei || r.Reason != "too-large" || !strings.Contains(r.Detail, "2000 bytes") || r.Remote == "" {
			t.Errorf("reject %+v", r)
		}
	}
}
