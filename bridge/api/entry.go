package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"
)

// kind is one sort of stream.
type kind string

const (
	uplinks kind = "uplinks"
	rejects kind = "rejects"
	events  kind = "events"
)

// kinds in the order of a cursor's sections.
var kinds = [...]kind{uplinks, rejects, events}

func (k kind) letter() byte { return k[0] }

// one is the kind's name for a single entry: the type of a live event.
func (k kind) one() string { return string(k[:len(k)-1]) }

// entry is one entry of a stream.
type entry struct {
	kind      kind
	partition int
	id        streamID
	fields    map[string]any
}

func newEntry(k kind, partition int, m redis.XMessage) (entry, error) {
	id, err := parseStreamID(m.ID)
	return entry{k, partition, id, m.Values}, err
}

func (e *entry) text(field string) string {
	s, _ := e.fields[field].(string)
	return s
}

// at is the receipt of an entry; where the field is missing or spoilt, the time
// in the entry's id.
func (e *entry) at() time.Time {
	ms, err := strconv.ParseInt(e.text("at"), 10, 64)
	if err != nil {
		ms = int64(e.id.ms)
	}
	return time.UnixMilli(ms).UTC()
}

// Pack is a SenML pack, handed on as it stands in the stream: numbers keep
// their text.
type Pack json.RawMessage

// MarshalJSON gives the pack, or null for bytes that are no JSON: only
// something else than the bridge can have put them there.
func (p Pack) MarshalJSON() ([]byte, error) {
	if !json.Valid(p) {
		return []byte("null"), nil
	}
	return p, nil
}

// UnmarshalJSON keeps the text.
func (p *Pack) UnmarshalJSON(b []byte) error {
	*p = append((*p)[:0], b...)
	return nil
}

// Schema describes the pack in the OpenAPI document.
func (Pack) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        huma.TypeArray,
		Description: "A SenML pack (RFC 8428), normalised: base fields in the first record, bt always present",
		Items:       &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true},
	}
}

// Uplink is an accepted message of a device.
type Uplink struct {
	ID       string    `json:"id" doc:"Stream id" example:"1700000000000-0"`
	Device   string    `json:"device" example:"IMEI:356726104408422"`
	Via      string    `json:"via" doc:"How it arrived" example:"http"`
	At       time.Time `json:"at" doc:"When it was received"`
	Unsigned bool      `json:"unsigned,omitempty" doc:"The device has no secret: nothing proves that the uplink is its own"`
	Pack     Pack      `json:"pack"`
	Raw      []byte    `json:"raw,omitempty" doc:"The bytes the device sent, where the bridge keeps them"`
}

// Reject is a refused message. Nothing in it is verified.
type Reject struct {
	ID     string    `json:"id" doc:"Stream id" example:"1700000000000-0"`
	Device string    `json:"device,omitempty" doc:"The device it claims to be of, if any"`
	Via    string    `json:"via" example:"http"`
	At     time.Time `json:"at" doc:"When it was received"`
	Reason string    `json:"reason" doc:"Stable short name" example:"wrong-token"`
	Detail string    `json:"detail,omitempty"`
	Remote string    `json:"remote,omitempty" doc:"Address it came from"`
	Body   []byte    `json:"body,omitempty" doc:"Its first 1024 bytes"`
}

// Event is a change of a downlink, of an SMS or of a device's presence.
type Event struct {
	ID      string    `json:"id" doc:"Stream id" example:"1700000000000-0"`
	Device  string    `json:"device" example:"IMEI:356726104408422"`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind" doc:"downlink, sms or presence" example:"downlink"`
	Subject string    `json:"subject,omitempty" doc:"Id of the downlink or SMS"`
	State   string    `json:"state" example:"SUCCEEDED"`
	Cause   string    `json:"cause,omitempty"`
}

// Gap tells that entries were trimmed before they could be read.
type Gap struct {
	Kind  string `json:"kind" enum:"uplinks,rejects,events" doc:"Which stream"`
	After string `json:"after" doc:"Stream id of the last entry before the gap"`
	Next  string `json:"next" doc:"Stream id of the first entry after it"`
}

func (e *entry) uplink() Uplink {
	return Uplink{
		ID: e.id.String(), Device: e.text("device"), Via: e.text("via"), At: e.at(),
		Unsigned: e.text("unsigned") != "", Pack: Pack(e.text("pack")), Raw: []byte(e.text("raw")),
	}
}

func (e *entry) reject() Reject {
	return Reject{
		ID: e.id.String(), Device: e.text("device"), Via: e.text("via"), At: e.at(),
		Reason: e.text("reason"), Detail: e.text("detail"), Remote: e.text("remote"), Body: []byte(e.text("body")),
	}
}

func (e *entry) event() Event {
	return Event{
		ID: e.id.String(), Device: e.text("device"), At: e.at(), Kind: e.text("kind"),
		Subject: e.text("id"), State: e.text("state"), Cause: e.text("cause"),
	}
}

// item is the entry as the API shows it.
func (e *entry) item() any {
	switch e.kind {
	case uplinks:
		return e.uplink()
	case rejects:
		return e.reject()
	default:
		return e.event()
	}
}
