package broker

import (
	"fmt"
	"log/slog"
	"math"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// topicAliases a client may use for the long names of its topics.
const topicAliases = 8

// newMochi makes the server that decodes, checks and encodes for us. It never
// serves: no listener, event loop, storage, retained message or $SYS topic of
// its own exists, and what nevertheless reaches its own paths is refused by hook.
func newMochi(c *Config) (*mqtt.Server, error) {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = uint32(c.MaxPacket)
	caps.ReceiveMaximum = uint16(c.ReceiveMaximum)
	caps.MaximumInflight = math.MaxUint16 // it would clamp clients' Receive Maximum to this
	caps.MaximumSessionExpiryInterval = 0 // no session outlives its connection
	caps.MaximumClientWritesPending = 1   // a channel per client that we do not use
	caps.TopicAliasMaximum = topicAliases
	caps.MinimumProtocolVersion = version311
	caps.Compatibilities.NoInheritedPropertiesOnAck = true // else tokens come back in PUBACKs
	caps.Compatibilities.PassiveClientDisconnect = true
	caps.Compatibilities.ObscureNotAuthorized = true
	s := mqtt.New(&mqtt.Options{
		Capabilities:             caps,
		ClientNetReadBufferSize:  16, // conn reads ahead
		ClientNetWriteBufferSize: 16, // conn gathers
		Logger:                   slog.New(quietHandler{c.Log.Handler()}),
	})
	if err := s.AddHook(&hook{cfg: c}, nil); err != nil {
		return nil, fmt.Errorf("add hook: %w", err)
	}
	return s, nil
}
