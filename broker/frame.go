package broker

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// frame is a message as it goes to a connection: its head is encoded once per
// protocol version and QoS and shared by all its subscribers, of which only the
// packet id differs. The payload is never copied but to connections.
type frame struct {
	head []byte // of the packet, up to its payload
	idAt int    // where the packet id goes; 0: QoS 0, there is none
	msg  *Message
}

// size is that of the packet.
func (f *frame) size() int { return len(f.head) + len(f.msg.Payload) }

// position is where one stands that has read the message.
func (m *Message) position() Position { return Position{m.ID, m.N} }

// before is where one stands that has read all before the message.
func (m *Message) before() Position {
	p := Position{m.Prev, Unknown}
	if m.N > 0 {
		p.N = m.N - 1
	}
	if m.Prev == (ID{}) && p.N != 0 {
		p.ID = m.ID.Prev()
	}
	return p
}

// options are what differs between the subscriptions of one message.
type options struct {
	version byte
	qos     byte
	retain  bool
	topic   string // "" the message's own
	ids     []int  // subscription identifiers
}

func (o *options) isPlain() bool {
	return !o.retain && o.topic == "" && len(o.ids) == 0
}

// frame gives the message as o wants it.
func (m *Message) frame(o options) *frame {
	if !o.isPlain() {
		return m.encode(o)
	}
	slot := o.qos
	if o.version == version5 {
		slot += 2
	}
	f := m.forms[slot].Load()
	if f == nil { // made twice, at worst
		f = m.encode(o)
		m.forms[slot].Store(f)
	}
	return f
}

// encode writes the head of a PUBLISH (MQTT 5 §3.3), with packet id 0.
func (m *Message) encode(o options) *frame {
	topic := o.topic
	if topic == "" {
		topic = m.Topic
	}
	var props []byte
	if o.version == version5 {
		props = m.properties(o.ids)
	}
	remaining := 2 + len(topic) + len(props) + len(m.Payload)
	if o.qos > 0 {
		remaining += 2
	}
	buf := make([]byte, 0, 5+remaining-len(m.Payload))
	buf = append(buf, packets.Publish<<4|o.qos<<1|retainBit(o.retain))
	buf = binary.AppendUvarint(buf, uint64(remaining)) // the same as a variable byte integer
	buf = appendString(buf, topic)
	f := &frame{msg: m}
	if o.qos > 0 {
		f.idAt = len(buf)
		buf = append(buf, 0, 0)
	}
	f.head = append(buf, props...)
	return f
}

// properties of MQTT 5: what the payload is, the stream id, and the subscriptions that it is for.
func (m *Message) properties(ids []int) []byte {
	body := make([]byte, 0, 96)
	if utf8.Valid(m.Payload) {
		body = append(body, packets.PropPayloadFormat, 1)
	}
	body = append(body, packets.PropContentType)
	body = appendString(body, m.contentType())
	for _, id := range ids {
		body = append(body, packets.PropSubscriptionIdentifier)
		body = binary.AppendUvarint(body, uint64(id))
	}
	if m.ID != (ID{}) {
		body = append(body, packets.PropUser)
		body = appendString(body, "id")
		body = appendString(body, m.ID.String())
	}
	if m.Unsigned {
		body = append(body, packets.PropUser)
		body = appendString(body, "unsigned")
		body = appendString(body, "true")
	}
	return append(binary.AppendUvarint(make([]byte, 0, len(body)+2), uint64(len(body))), body...)
}

func (m *Message) contentType() string {
	if strings.HasPrefix(m.Topic, topicUplinks) || strings.HasPrefix(m.Topic, topicThings) {
		return "application/senml+json" // RFC 8428 §12.3.1
	}
	return "application/json"
}

func appendString(buf []byte, s string) []byte {
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(s)))
	return append(buf, s...)
}

func retainBit(on bool) byte {
	if on {
		return 1
	}
	return 0
}
