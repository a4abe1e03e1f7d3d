package presence

import (
	"encoding/json"
	"strconv"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

const (
	kind         = "presence"
	stateOnline  = "online"
	stateOffline = "offline"
	viaMQTT      = "mqtt"
	viaHTTP      = "http"
)

// State is what is known of a device that was seen once.
type State struct {
	State string    `json:"state"` // online or offline
	Via   string    `json:"via"`   // mqtt or http: how it is online, or was last
	Since time.Time `json:"since"`
	Cause string    `json:"cause"`          // why it is so
	Node  string    `json:"node,omitempty"` // where its MQTT session is, or was last
}

// payload is the state of a device on its topic.
type payload struct {
	Device auth.DeviceID `json:"device"`
	State  string        `json:"state"`
	Via    string        `json:"via"`
	Since  time.Time     `json:"since"`
	Cause  string        `json:"cause"`
}

// event is an entry of the events stream that is of presence.
type event struct {
	device     auth.DeviceID
	state, via string
	epoch      int64 // 0: it has never had an MQTT session
}

func parseEvent(e *stream.Entry) (ev event, ok bool) {
	text := e.Fields.Text
	if text("kind") != kind {
		return ev, false
	}
	device, err := auth.ParseDeviceID(text("device"))
	if err != nil {
		return ev, false
	}
	ev = event{device: device, state: text("state"), via: text("via")}
	ev.epoch, _ = strconv.ParseInt(text("id"), 10, 64)
	return ev, ev.state == stateOnline || ev.state == stateOffline
}

// Live makes a message of an entry of the events stream; false if it is not one
// of presence. On the topic it becomes what is retained.
func Live(e *stream.Entry, m *broker.Message) bool {
	ev, ok := parseEvent(e)
	if !ok {
		return false
	}
	return fill(m, payload{ev.device, ev.state, ev.via, e.At(), e.Fields.Text("cause")})
}

func fill(m *broker.Message, p payload) bool {
	text, err := json.Marshal(p)
	m.Topic = "presence/" + p.Device.Type() + "/" + p.Device.Value()
	m.Payload, m.Device, m.Retain = text, p.Device, true
	return err == nil
}
