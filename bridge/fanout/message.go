package fanout

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

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
		ID: e.ID, Device: field(e, "device"), Via: field(e, "via"), At: number(e, "at"), Reason: field(e, "reason"),
		Detail: field(e, "detail"), Remote: field(e, "remote"), Body: text(field(e, "body")), BodyBase64: binary(field(e, "body")),
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
	payload, err := json.Marshal(event{ID: field(e, "id"), Device: string(device), At: number(e, "at"), Kind: kind, State: field(e, "state"), Cause: field(e, "cause")})
	return broker.Message{Topic: "events/" + device.Type() + "/" + device.Value() + "/" + kind, Payload: payload, ID: e.ID, Device: device}, err == nil
}

// reject as JSON. The body is unverified: text when it is UTF-8, else base64.
type reject struct {
	ID         string `json:"id"`
	Device     string `json:"device,omitempty"`
	Via        string `json:"via"`
	At         int64  `json:"at"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Remote     string `json:"remote,omitempty"`
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"bodyBase64,omitempty"`
}

// event as JSON.
type event struct {
	ID     string `json:"id,omitempty"`
	Device string `json:"device"`
	At     int64  `json:"at"`
	Kind   string `json:"kind"`
	State  string `json:"state,omitempty"`
	Cause  string `json:"cause,omitempty"`
}

func field(e redis.XMessage, name string) string {
	s, _ := e.Values[name].(string)
	return s
}

func number(e redis.XMessage, name string) int64 {
	n, _ := strconv.ParseInt(field(e, name), 10, 64)
	return n
}

func text(body string) string {
	if utf8.ValidString(body) {
		return body
	}
	return ""
}

func binary(body string) []byte {
	if utf8.ValidString(body) {
		return nil
	}
	return []byte(body)
}
