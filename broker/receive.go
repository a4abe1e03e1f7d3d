package broker

import (
	"context"
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
		return s.acknowledged(pk.PacketID, pk.ReasonCode)
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

// expireIn changes how long the session is kept (MQTT 5 §3.14.2.2.2).
func (s *session) expireIn(d time.Duration) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.expiry == 0 && d > 0 {
		return &ending{code: codeProtocolError, reason: "session expiry of a session that ends with its connection", will: true}
	}
	s.kept.expiry = min(d, s.b.cfg.SessionExpiry.Truncate(time.Second))
	return nil
}

// quit ends the memberships of a session that is not to be kept after all.
func (s *session) quit() {
	if s.who.app == nil || s.expiry() > 0 {
		return
	}
	s.mu.Lock()
	groups := s.groups()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.LoginTimeout)
	defer cancel()
	for _, g := range groups {
		g.leave(ctx, s.kept.member)
	}
}

// goodbye is a client's DISCONNECT: only the plain one drops its will [MQTT-3.14.4-3].
func (s *session) goodbye(pk *packets.Packet) *ending {
	if pk.Properties.SessionExpiryIntervalFlag {
		if e := s.expireIn(seconds(pk.Properties.SessionExpiryInterval)); e != nil {
			return e
		}
		s.quit()
	}
	e := endGoodbye
	if s.version == version5 && pk.ReasonCode != codeSuccess {
		e = endLost
	}
	return &e
}
