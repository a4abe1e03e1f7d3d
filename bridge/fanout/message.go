package fanout

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// uplinkMessage is an uplink as apps get it: the normalised pack, nothing around it.
func uplinkMessage(id string, device auth.DeviceID, pack []byte) broker.Message {
	return broker.Message{Topic: "uplinks/" + device.Type() + "/" + device.Value(), Payload: pack, ID: id, Device: device}
}

// storedUplink is the message of an entry of the uplinks stream.
func storedUplink(e redis.XMessage) (broker.Message, bool) {
	device, err := auth.ParseDeviceID(field(e, "device"))
	if err != nil {
		return broker.Message{}, false
	}
	return uplinkMessage(e.ID, device, []byte(field(e, "pack"))), true
}

// rejectMessage is an entry of the rejects stream on the topic of the device it
// claimed to be from, or of none: that claim is all that is known of it.
func rejectMessage(e redis.XMessage) (broker.Message, bool) {
	topic := "rejects/UNKNOWN/-"
	device, err := auth.ParseDeviceID(field(e, "device"))
	if err == nil {
		topic = "rejects/" + device.Type() + "/" + device.Value()
	} else {
		device = ""
	}
	payload, err := json.Marshal(reject{
		ID: e.ID, Device: field(e, "device"), Via: field(e, "via"), At: instant(e), Reason: field(e, "reason"),
		Detail: field(e, "detail"), Remote: field(e, "remote"), Body: []byte(field(e, "body")),
	})
	return broker.Message{Topic: topic, Payload: payload, ID: e.ID, Device: device}, err == nil
}

// eventMessage is an entry of the events stream.
func eventMessage(e redis.XMessage) (broker.Message, bool) {
	device, err := auth.ParseDeviceID(field(e, "device"))
	kind := field(e, "kind")
	if err != nil || kind == "" {
		return broker.Message{}, false
	}
	payload, err := json.Marshal(event{
		ID: e.ID, Device: device, At: instant(e), Kind: kind,
		Subject: field(e, "id"), State: field(e, "state"), Cause: field(e, "cause"),
	})
	return broker.Message{Topic: "events/" + device.Type() + "/" + device.Value() + "/" + kind, Payload: payload, ID: e.ID, Device: device}, err == nil
}

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
	At      time.Time     `json:"at"`
	Kind    string        `json:"kind"`
	Subject string        `json:"subject,omitempty"`
	State   string        `json:"state"`
	Cause   string        `json:"cause,omitempty"`
}

func field(e redis.XMessage, name string) string {
	s, _ := e.Values[name].(string)
	return s
}

// instant is the entry's receipt, at.
func instant(e redis.XMessage) time.Time {
	ms, _ := strconv.ParseInt(field(e, "at"), 10, 64)
	return time.UnixMilli(ms).UTC()
}
