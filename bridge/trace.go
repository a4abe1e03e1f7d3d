package bridge

import (
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/trace"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

func (b *Bridge) newTrace(keys auth.Keyspace) *trace.Trace {
	if b.cfg.TraceMemory == 0 {
		return nil
	}
	return trace.New(trace.Config{
		Memory: int64(b.cfg.TraceMemory), Node: nodeName(), Client: b.store.Client, Keys: keys, Registry: b.registry, Log: b.log,
	})
}

// tracer is the trace for the uplink path, which wants a nil of its own kind.
func (b *Bridge) tracer() uplink.Tracer {
	if b.trace == nil {
		return nil
	}
	return b.trace
}

// onDelivered is the trace for the broker. A reject goes by what a stranger
// claims, and what is about no device is in no trace.
func (b *Bridge) onDelivered() func(*broker.Message, int) {
	if b.trace == nil {
		return nil
	}
	return func(m *broker.Message, subscribers int) {
		if m.Device == "" || strings.HasPrefix(m.Topic, "rejects/") {
			return
		}
		b.trace.Delivered(&trace.Delivery{Device: m.Device, Topic: m.Topic, MS: m.ID.MS, Seq: m.ID.Seq, Subscribers: subscribers})
	}
}

// noteDownlink is the trace for downlinks.
func (b *Bridge) noteDownlink(id auth.DeviceID, text string) {
	if b.trace != nil {
		b.trace.Note(id, trace.Proven, trace.Downlink, text)
	}
}

// connections has devices' sessions in the trace, beside what is told of them.
type connections struct {
	broker.Presence
	trace *trace.Trace // nil: no steps are kept
}

func (c connections) Online(d auth.DeviceID, session uint64) {
	c.Presence.Online(d, session)
	c.note(d, "connected over MQTT")
}

func (c connections) Offline(d auth.DeviceID, session uint64, cause string) {
	c.Presence.Offline(d, session, cause)
	c.note(d, "session over MQTT ended: "+cause)
}

func (c connections) note(d auth.DeviceID, text string) {
	if c.trace != nil {
		c.trace.Note(d, trace.Proven, trace.Connection, text)
	}
}
