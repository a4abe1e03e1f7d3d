// Package downlink keeps messages to devices: what is to be sent, in which order, and how far each has come.
//
// QUEUED → EXECUTING → SUCCEEDED | FAILED | EXPIRED | CANCELLED. Of a device the first queued one is EXECUTING when none is,
// and only that one is ever sent. Every change of a downlink is one script (lua/rules.lua) and an event in the stream; the
// state never says more than was observed.
//
// It knows neither HTTP nor MQTT: an edge that meets a device asks with [Service.Hand] for what is to be sent, and tells with
// [Service.Done] what became of it. Over HTTP the script that stores the uplink hands over by itself, by the same rules.
package downlink

import (
	"encoding/json"
	"errors"
	"time"

	"m2mbridge/auth"
)

// Channel is the way a downlink may go.
type Channel string

// The channels. Any is whichever contact comes first.
const (
	HTTP Channel = "http"
	MQTT Channel = "mqtt"
	SMS  Channel = "sms"
	Any  Channel = "any"
)

// State is how far a downlink has come.
type State string

// The states. The last four are final.
const (
	Queued    State = "QUEUED"
	Executing State = "EXECUTING"
	Succeeded State = "SUCCEEDED"
	Failed    State = "FAILED"
	Expired   State = "EXPIRED"
	Cancelled State = "CANCELLED"
)

// Final reports whether nothing more comes of it.
func (s State) Final() bool { return s != Queued && s != Executing }

// Downlink is one message to a device.
type Downlink struct {
	ID       string
	Device   auth.DeviceID
	Channel  Channel
	State    State
	Cause    string          // why it is in this state
	Pack     json.RawMessage // or, of channel sms
	Text     string          // characters; or
	Data     []byte          // octets
	App      string          // who created it; "" an integration on Redis
	Key      string          // idempotency key, among those of the app for the device; "" none
	Priority int             // 0 to 9, the highest first
	Wake     bool            // the device is to be woken up by SMS
	Ack      bool            // delivered is what the device acknowledges itself

	CreatedAt time.Time
	NotBefore time.Time // zero: at once
	ExpiresAt time.Time
	Since     time.Time // when it came into this state

	Attempts  int
	Via       Channel   // of the last attempt
	HandedAt  time.Time // when the last attempt began; zero: there was none
	LeaseEnds time.Time // until when the outcome of the attempt under way is awaited; zero: there is none
	SMS       *SMSState // of the attempts by SMS, its own or those that wake the device up; nil: none is begun yet
	Taken     bool      // it was delivered, and only the device's acknowledgement is missing
}

// SMSState is how it stands with the attempts by SMS.
type SMSState struct {
	State    string    // due, submitting, accepted, refused, undelivered, unknown, taken, heard or over: lua/sms.lua says what they mean
	Attempts int       // those of which not a byte left aside
	First    time.Time // when the first attempt was made; zero: none was
	Next     time.Time // when the next one is due; or when the claim of one under way ends; zero: none is due
	Limit    time.Time // when the schedule's time is over; zero: as First
}

// Draft is a downlink to be created. Device, Channel and one of Pack, Text and Data are needed.
type Draft struct {
	Device    auth.DeviceID
	Channel   Channel
	Pack      json.RawMessage
	Text      string // of an SMS
	Data      []byte // of an SMS
	App       string
	By        string        // who creates it, in words; "": its app
	TTL       time.Duration // 0: Config.TTL
	NotBefore time.Time     // zero: at once
	Priority  int           // 0 to 9; see DefaultPriority
	Key       string        // a repeated one of the same app for the device makes no second downlink; "" none
	Once      string        // as Key where there is none, and shown to nobody: of one who may create it again after a crash
	Ack       bool
	Wake      bool // by SMS, while it waits for a contact

	ownTTL bool // TTL was given
}

// DefaultPriority is in the middle.
const DefaultPriority = 5

// What creating and cancelling fail of.
var (
	ErrInvalid     = errors.New("invalid downlink")
	ErrUnknown     = errors.New("no such downlink")
	ErrDevice      = errors.New("no such device")
	ErrNoSMS       = errors.New("the device cannot be reached by SMS")
	ErrFull        = errors.New("as many downlinks wait for the device as may")
	ErrOther       = errors.New("the idempotency key is of another downlink")
	ErrHanded      = errors.New("it is EXECUTING and being handed over: whether it arrives is not known yet")
	ErrFinal       = errors.New("it has ended")
	ErrUnavailable = errors.New("downlinks unavailable")
)
