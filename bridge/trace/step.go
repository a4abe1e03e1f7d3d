package trace

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
)

// Kind is what a step is about.
type Kind string

// The kinds. A message over HTTP or MQTT makes the first four, each topic that
// it goes out on one more.
const (
	Received   Kind = "received"   // bytes came in
	Verdict    Kind = "verdict"    // accepted or refused, and why
	Pack       Kind = "pack"       // what was in it
	Stored     Kind = "stored"     // its id in the uplinks stream
	Delivered  Kind = "delivered"  // given to subscribers of a topic
	Downlink   Kind = "downlink"   // a message to the device
	SMS        Kind = "sms"        // an SMS to the device
	Connection Kind = "connection" // its MQTT connection
)

// Step is one thing that happened on the way of a device's messages. It holds
// no token and nothing of a body.
type Step struct {
	Node    string        `json:"node" doc:"The process it happened in" example:"gateway-1:4711"`
	N       uint64        `json:"n" doc:"Number of the step: grows with each step of the device on a node"`
	At      time.Time     `json:"at"`
	Device  auth.DeviceID `json:"device" example:"IMEI:356726104408422"`
	Kind    Kind          `json:"step" enum:"received,verdict,pack,stored,delivered,downlink,sms,connection"`
	Message uint64        `json:"message,omitempty" doc:"Steps of one message on a node share it; steps on other nodes share the stream id"`

	Via    string `json:"via,omitempty" doc:"received: http or mqtt"`
	Remote string `json:"remote,omitempty" doc:"received: address it came from"`
	Bytes  int    `json:"bytes,omitempty" doc:"received: length of the body"`
	Token  bool   `json:"token,omitempty" doc:"received: a message token came with it"`

	Outcome  string `json:"outcome,omitempty" doc:"verdict: stored, repeated, heartbeat, or what kind of refusal" example:"stored"`
	Reason   string `json:"reason,omitempty" doc:"verdict: why it was refused, as in the rejects stream" example:"token-wrong"`
	Detail   string `json:"detail,omitempty" doc:"verdict: the refusal in a line"`
	Secret   int    `json:"secret,omitempty" doc:"verdict: which of the device's secrets its token is of: 1 the newest, 2 the one before it"`
	Unsigned bool   `json:"unsigned,omitempty" doc:"verdict: the device has no secret: nothing proves that the message is its own"`
	Took     string `json:"took,omitempty" doc:"verdict: since it was received" example:"1.25ms"`

	Records      int `json:"records,omitempty" doc:"pack: how many records"`
	Measurements int `json:"measurements,omitempty" doc:"pack: how many of them hold a value; none: a heartbeat"`

	ID          string `json:"id,omitempty" doc:"stored, delivered: stream id" example:"1700000000000-0"`
	Topic       string `json:"topic,omitempty" doc:"delivered: on which topic"`
	Subscribers int    `json:"subscribers,omitempty" doc:"delivered: to how many subscribers of this node"`

	Text string `json:"text,omitempty" doc:"downlink, sms, connection: what happened"`
}

// String is the step in a line, without its time, kind and device.
func (s *Step) String() string {
	switch s.Kind {
	case Received:
		return strings.TrimSpace(s.Via+" "+s.Remote) + "  " + count(s.Bytes, "byte") + pick(s.Token, ", with a token", ", no token")
	case Verdict:
		return s.verdict()
	case Pack:
		return count(s.Records, "record") + ", " + count(s.Measurements, "measurement")
	case Stored:
		return s.ID
	case Delivered:
		return strings.TrimSpace(s.Topic+" "+s.ID) + "  to " + count(s.Subscribers, "subscriber")
	}
	return s.Text
}

func (s *Step) verdict() string {
	words := s.Outcome
	switch {
	case s.Reason != "":
		words += "  " + s.Reason
		if s.Detail != "" {
			words += ": " + s.Detail
		}
	case s.Unsigned:
		words += ", unsigned"
	case s.Secret != 0:
		words += fmt.Sprintf(", by secret %d", s.Secret)
	}
	return words + "  in " + s.Took
}

func count(n int, what string) string {
	return strconv.Itoa(n) + " " + what + pick(n == 1, "", "s")
}

func pick(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
