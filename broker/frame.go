package broker

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// shared is a message on its way to its subscribers, with the forms that they
// share: its head is encoded once per protocol version and QoS, and only the
// packet id differs. The payload is never copied but to connections. Only the goroutine that delivers it asks for plain frames.
type shared struct {
	Message
	needs  rights
	plain  [4]*frame
	binary bool // no UTF-8
}

// frame is a message as it goes to a connection.
type frame struct {
	head  []byte // of the packet, up to its payload
	idAt  int    // where the packet id goes; 0: QoS 0, there is none
	msg   *shared
	group *group // of the shared subscription that it was taken from, or nil
}

// size is that of the packet.
func (f *frame) size() int { return len(f.head) + len(f.msg.Payload) }

func newShared(m Message) *shared {
	return &shared{Message: m, needs: neededFor(m.Topic), binary: !utf8.Valid(m.Payload)}
}

// options are what differs between the subscriptions of one message.
type options struct {
	version byte
	qos     byte
	retain  bool
	topic   string // "" the message's own
	ids     []int  // subscription identifiers
	group   *group
}

func (o *options) isPlain() bool {
	return !o.retain && o.topic == "" && len(o.ids) == 0 && o.group == nil
}

// frame gives the message as o wants it.
func (m *shared) frame(o options) *frame {
	if !o.isPlain() {
		return m.encode(o)
	}
	slot := o.qos
	if o.version == version5 {
		slot += 2
	}
	if m.plain[slot] == nil {
		m.plain[slot] = m.encode(o)
	}
	return m.plain[slot]
}

// encode writes the head of a PUBLISH (MQTT 5 §3.3), with packet id 0.
func (m *shared) encode(o options) *frame {
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
	f := &frame{msg: m, group: o.group}
	if o.qos > 0 {
		f.idAt = len(buf)
		buf = append(buf, 0, 0)
	}
	f.head = append(buf, props...)
	return f
}

// properties of MQTT 5: what the payload is, the stream id, and the subscriptions that it is for.
func (m *shared) properties(ids []int) []byte {
	body := make([]byte, 0, 96)
	if !m.binary {
		body = append(body, packets.PropPayloadFormat, 1)
	}
	body = append(body, packets.PropContentType)
	body = appendString(body, m.contentType())
	for _, id := range ids {
		body = append(body, packets.PropSubscriptionIdentifier)
		body = binary.AppendUvarint(body, uint64(id))
	}
	if m.ID != "" {
		body = append(body, packets.PropUser)
		body = appendString(body, "id")
		body = appendString(body, m.ID)
	}
	return append(binary.AppendUvarint(make([]byte, 0, len(body)+2), uint64(len(body))), body...)
}

func (m *shared) contentType() string {
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
