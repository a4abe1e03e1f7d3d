package broker

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is Mochi's only one: its authentication and ACL hooks are OR-ed, and a
// second could let in what this one refuses. Packets on their way out pass
// through it. What would come by Mochi's own paths, which we do not use, it
// refuses: a login, a topic, a publish, a will.
type hook struct {
	mqtt.HookBase
	cfg *Config
}

// ID names the hook in Mochi's log.
func (h *hook) ID() string { return "edge" }

// Provides lists what it handles.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnPacketEncode, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnConnect:
		return true
	}
	return false
}

// OnPacketEncode completes CONNACK with what Mochi leaves out, and holds back what 3.1.1 does not know.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch {
	case pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0:
		pk.Properties.MaximumPacketSize = uint32(h.cfg.MaxPacket)
		pk.Properties.TopicAliasMaximum = topicAliases
	case pk.FixedHeader.Type == packets.Disconnect && cl.Properties.ProtocolVersion < version5:
		pk.FixedHeader.Type = packets.Reserved // a 3.1.1 server never sends DISCONNECT; Mochi writes no such type
	case pk.FixedHeader.Type != packets.Publish:
		pk.Properties.User = nil // a peer's own, a token perhaps, are not for the way back
	}
	return pk
}

// OnConnect refuses: logins are login's.
func (h *hook) OnConnect(*mqtt.Client, packets.Packet) error { return packets.ErrNotAuthorized }

// OnConnectAuthenticate refuses.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return false }

// OnACLCheck refuses.
func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return false }

// OnPublish refuses, without an acknowledgement.
func (h *hook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	return pk, packets.ErrRejectPacket
}
