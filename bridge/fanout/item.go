package fanout

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"m2mbridge/auth"
	"m2mbridge/bridge/presence"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

// item is one entry of a stream: the message that subscribers get, and what
// else there is to know of it.
type item struct {
	broker.Message
	silent bool // it makes no message: only ID and N of it are set
	size   int  // bytes that it holds, about

	fields stream.Fields // of an entry that was read; nil: an own uplink, which has via, at and raw
	via    uplink.Via
	at     int64 // Unix ms
	raw    []byte
}

// itemSize is what an item takes beside its texts.
const itemSize = int(unsafe.Sizeof(item{}))

func (it *item) id() stream.ID { return stream.ID(it.ID) }

// entry is the item as it is stored, but for an uplink's token.
func (it *item) entry(l *log) stream.Entry {
	e := stream.Entry{Kind: l.kind, Partition: l.partition, ID: it.id(), N: it.N, Fields: it.fields}
	if it.fields != nil {
		return e
	}
	e.Fields = make(stream.Fields, 0, 12)
	e.Fields = append(e.Fields, "device", string(it.Device), "via", string(it.via), "at", strconv.FormatInt(it.at, 10), "pack", view(it.Payload))
	if it.Unsigned {
		e.Fields = append(e.Fields, "unsigned", "1")
	}
	if len(it.raw) > 0 {
		e.Fields = append(e.Fields, "raw", view(it.raw))
	}
	return e
}

// view is b as a string without a copy: nothing writes to what an item holds.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// batch is items in their order, and the messages that they make.
type batch struct {
	items []item
	msgs  []*broker.Message
}

// own is the batch of a commit that follows the entry prev. What the commit
// holds is another's, so that it is copied, into two pieces of memory for all.
func own(l *log, prev stream.ID, entries []uplink.Committed) batch {
	b := batch{items: make([]item, len(entries)), msgs: make([]*broker.Message, len(entries))}
	size, topics := 0, strings.Builder{}
	for i := range entries {
		size += len(entries[i].Pack) + len(entries[i].Raw)
	}
	topics.Grow(len(entries) * (len("uplinks/DVNUUID/") + 36))
	bytes := make([]byte, 0, size)
	keep := func(b []byte) []byte {
		n := len(bytes)
		bytes = append(bytes, b...)
		return bytes[n:len(bytes):len(bytes)]
	}
	for i := range entries {
		e, it := &entries[i], &b.items[i]
		id, _ := stream.ParseID(e.ID)
		from := topics.Len()
		for _, level := range []string{"uplinks/", e.Device.Type(), "/", e.Device.Value()} {
			topics.WriteString(level)
		}
		it.Message = broker.Message{
			Topic: topics.String()[from:], Payload: keep(e.Pack), Stream: l.stream, ID: broker.ID(id), Prev: broker.ID(prev), N: broker.Unknown,
			Device: e.Device, Unsigned: e.Unsigned,
		}
		prev = id
		it.via, it.at, it.raw = e.Via, e.At, keep(e.Raw)
		it.size = itemSize + len(it.Topic) + len(e.Pack) + len(e.Raw)
		b.msgs[i] = &it.Message
	}
	return b
}

// stored is the batch of entries from Redis that follow the position prev.
func stored(l *log, prev stream.ID, entries []stream.Entry) batch {
	b := batch{items: make([]item, len(entries))}
	for i := range entries {
		e, it := &entries[i], &b.items[i]
		ok := message(l.top, e, &it.Message)
		it.silent = !ok
		it.Stream, it.ID, it.Prev, it.N = l.stream, broker.ID(e.ID), broker.ID(prev), e.N
		prev = e.ID
		it.fields, it.size = e.Fields, itemSize+len(it.Topic)+len(it.Payload)
		for _, text := range e.Fields {
			it.size += len(text)
		}
		if ok {
			b.msgs = append(b.msgs, &it.Message)
		}
	}
	return b
}

// message makes what subscribers get of an entry; false for one that is nothing
// of the bridge's.
func message(top string, e *stream.Entry, m *broker.Message) bool {
	switch top {
	case string(stream.Uplinks):
		return storedUplink(e, m)
	case string(stream.Rejects):
		return rejectMessage(e, m)
	case presenceTop:
		return presence.Live(e, m)
	}
	return eventMessage(e, m)
}

// storedUplink is an uplink as apps get it: the normalised pack, nothing around it.
func storedUplink(e *stream.Entry, m *broker.Message) bool {
	device, err := auth.ParseDeviceID(e.Fields.Text("device"))
	if err != nil {
		return false
	}
	m.Topic, m.Payload = "uplinks/"+device.Type()+"/"+device.Value(), []byte(e.Fields.Text("pack"))
	m.Device, m.Unsigned = device, e.Fields.Text("unsigned") != ""
	return true
}

// rejectMessage is an entry of the rejects stream on the topic of the device it
// claimed to be from, or of none: that claim is all that is known of it.
func rejectMessage(e *stream.Entry, m *broker.Message) bool {
	topic, text := "rejects/UNKNOWN/-", e.Fields.Text
	device, err := auth.ParseDeviceID(text("device"))
	if err == nil {
		topic = "rejects/" + device.Type() + "/" + device.Value()
	} else {
		device = ""
	}
	payload, err := json.Marshal(reject{
		ID: e.ID.String(), Device: text("device"), Via: text("via"), At: e.At(), Reason: text("reason"),
		Detail: text("detail"), Remote: text("remote"), Body: []byte(text("body")),
	})
	m.Topic, m.Payload, m.Device = topic, payload, device
	return err == nil
}

// eventMessage is an entry of the events stream, which is about a device, or
// about an app's session.
func eventMessage(e *stream.Entry, m *broker.Message) bool {
	text := e.Fields.Text
	kind := text("kind")
	if app := text("app"); text("device") == "" && isLevel(app) {
		m.App, m.Topic = app, "events/APP/"+app+"/"+kind
	} else {
		device, err := auth.ParseDeviceID(text("device"))
		if err != nil {
			return false
		}
		m.Device, m.Topic = device, "events/"+device.Type()+"/"+device.Value()+"/"+kind
	}
	payload, err := json.Marshal(event{
		ID: e.ID.String(), Device: m.Device, App: m.App, At: e.At(), Kind: kind, Via: text("via"),
		Subject: text("id"), State: text("state"), Cause: text("cause"),
	})
	m.Payload = payload
	return err == nil && isLevel(kind)
}

// isLevel tells whether text can be a level of a topic.
func isLevel(text string) bool { return text != "" && !strings.ContainsAny(text, "/+#\x00") }

// reject and event are in JSON what GET /v1/rejects and /v1/events give.
type reject struct {
	ID     string    `json:"id"`
	Device string    `json:"device,omitempty"`
	Via    string    `json:"via"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
	Remote string    `json:"remote,omitempty"`
	Body   []byte    `json:"body,omitempty"` // unverified, so base64
}

type event struct {
	ID      string        `json:"id"`
	Device  auth.DeviceID `json:"device"`
	App     string        `json:"app,omitempty"`
	At      time.Time     `json:"at"`
	Kind    string        `json:"kind"`
	Via     string        `json:"via,omitempty"` // of presence
	Subject string        `json:"subject,omitempty"`
	State   string        `json:"state"`
	Cause   string        `json:"cause,omitempty"`
}
