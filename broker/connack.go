package broker

import (
	"crypto/rand"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// welcome answers a login. No session of a device outlives its connection.
func (b *Broker) welcome(s *session, pk *packets.Packet, present bool) {
	var p packets.Properties
	granted := time.Duration(0)
	if s.who.app != nil {
		granted = s.kept.expiry
	}
	if asked := pk.Properties.SessionExpiryInterval; s.version == version5 && seconds(asked) != granted { // MQTT 5 §3.2.2.3.2
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = uint32(granted/time.Second), true
	}
	if s.who.assigned && s.version == version5 { // [MQTT-3.1.3-7]
		p.AssignedClientID = s.who.clientID
	}
	s.cl.Properties.Props.AssignedClientID = p.AssignedClientID
	s.cl.Properties.Props.SessionExpiryInterval = 0 // else Mochi compares it with its own limit
	keepAlive, told := b.keepAliveOf(pk)
	if told { // [MQTT-3.1.2-21]
		s.cl.State.ServerKeepalive, s.cl.State.Keepalive = true, uint16(keepAlive/time.Second)
	}
	s.keepAlive = keepAlive
	_ = b.mochi.SendConnack(s.cl, packets.CodeSuccess, present, &p) // fails only where reading will
}

// refuse answers a login that fails, has it told, and hangs up.
func (b *Broker) refuse(c *conn, cl *mqtt.Client, pk *packets.Packet, no *refused) {
	b.count.refused[no.code].Add(1)
	b.tellRefused(cl, pk, no)
	answer := code(no.code, no.reason)
	if pk.ProtocolVersion != version5 && !(pk.ProtocolVersion > version5 && no.code == codeVersion) {
		answer = code(connack311(no.code), "")
	}
	if pk.ProtocolVersion > version5 {
		cl.Properties.ProtocolVersion = version5 // the newest we know is the likeliest to be understood
	}
	if answer.Code != 0 {
		_ = b.mochi.SendConnack(cl, answer, false, nil)
	}
	c.hangUp()
}

func (b *Broker) tellRefused(cl *mqtt.Client, pk *packets.Packet, no *refused) {
	who, _ := b.identify(pk)
	r := Refusal{Device: who.device, Remote: cl.Net.Remote, Reason: no.kind, Detail: no.reason}
	if who.device == "" {
		r.App = clip(pk.Connect.Username)
	}
	b.cfg.Log.Debug("login refused", "remote", cl.Net.Remote, "code", no.code, "reason", no.reason)
	if no.kind == "" {
		return
	}
	if no.kind == "will" {
		r.Body = pk.Connect.WillPayload
	}
	b.cfg.Reject(r)
}

// clip makes a user name, whatever was sent as one, fit for a message.
func clip(name []byte) string {
	out := make([]rune, 0, 64)
	for _, r := range string(name) {
		if len(out) == cap(out) {
			break
		}
		if r < ' ' {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}

// randomID is a client identifier for a client that gave none.
func randomID() string { return "auto-" + rand.Text() }
