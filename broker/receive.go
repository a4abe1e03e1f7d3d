package broker

import (
	"fmt"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// receive reads the packet behind a fixed header and acts on it; not nil when
// it ends the session.
func (s *session) receive(fh *packets.FixedHeader) *ending {
	pk, err := s.b.decode(s.cl, fh)
	if err != nil {
		e := s.unread(err)
		return &e
	}
	switch fh.Type {
	case packets.Publish:
		return s.publish(&pk)
	case packets.Puback:
		return s.acknowledged(pk.PacketID)
	case packets.Pubrel:
		return s.released(pk.PacketID)
	case packets.Subscribe:
		return s.subscribe(&pk)
	case packets.Unsubscribe:
		return s.unsubscribed(&pk)
	case packets.Disconnect:
		return s.goodbye(&pk)
	}
	// A second CONNECT [MQTT-3.1.0-2], AUTH without a method (MQTT 5 §4.12), answers to
	// what we never send (PUBREC, PUBCOMP), a server's packets.
	return &ending{code: codeProtocolError, reason: fmt.Sprintf("unexpected %s packet", packets.PacketNames[fh.Type]), will: true}
}

// decode has Mochi decode a packet; where its decoder panics, the packet is malformed.
func (b *Broker) decode(cl *mqtt.Client, fh *packets.FixedHeader) (pk packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.broken(cl, fh, r)
			err = packets.ErrMalformedPacket
		}
	}()
	return cl.ReadPacket(fh)
}

// broken counts a packet that made the decoder panic, and logs one a second with how many there were.
func (b *Broker) broken(cl *mqtt.Client, fh *packets.FixedHeader, r any) {
	n := b.count.panics.Add(1)
	now, last := time.Now().UnixNano(), b.brokenLogged.Load()
	if now-last < int64(time.Second) || !b.brokenLogged.CompareAndSwap(last, now) {
		return
	}
	b.cfg.Log.Debug("packet broke its decoder", "type", packets.PacketNames[fh.Type], "remote", cl.Net.Remote, "panic", r, "panics", n)
}

// goodbye is a client's DISCONNECT: only the plain one drops its will [MQTT-3.14.4-3].
func (s *session) goodbye(pk *packets.Packet) *ending {
	if pk.Properties.SessionExpiryInterval > 0 { // it was told zero in CONNACK (MQTT 5 §3.14.2.2.2)
		return &ending{code: codeProtocolError, reason: "session expiry of a session that cannot persist", will: true}
	}
	e := endGoodbye
	if s.version == version5 && pk.ReasonCode != codeSuccess {
		e = endLost
	}
	return &e
}
