package api

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/stream"
)

// Short names of the kinds.
const (
	uplinks = stream.Uplinks
	rejects = stream.Rejects
	events  = stream.Events
)

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

// Event is a change of a downlink, of an SMS or of a device's presence, or about
// an app's session.
type Event struct {
	ID      string    `json:"id" doc:"Stream id" example:"1700000000000-0"`
	Device  string    `json:"device" doc:"Empty where the event is about none" example:"IMEI:356726104408422"`
	App     string    `json:"app,omitempty" doc:"The app whose session it is about"`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind" doc:"downlink, sms, presence, gap or session" example:"downlink"`
	Via     string    `json:"via,omitempty" doc:"Of presence: how the device is online, or was last" example:"mqtt"`
	Subject string    `json:"subject,omitempty" doc:"Id of the downlink, SMS or session"`
	State   string    `json:"state" example:"SUCCEEDED" doc:"Of kind downlink: its state. Of kind sms: what became of an attempt by the gateway's answer (ACCEPTED, TEMPORARY or PERMANENT, refused so, UNKNOWN, and THROTTLED or UNSENT, which were none), what a receipt says of one (DELIVERED, UNDELIVERED, EXPIRED, REJECTED, DELETED, UNKNOWN, ENROUTE, ACCEPTED), or WOKE: the device came. Of presence: online or offline"`
	Cause   string    `json:"cause,omitempty"`
}

// Gap tells that entries were trimmed before they could be read.
type Gap struct {
	Kind  string `json:"kind" enum:"uplinks,rejects,events" doc:"Which stream"`
	After string `json:"after" doc:"Stream id of the last entry before the gap, or where the client started"`
	Next  string `json:"next" doc:"Stream id of the first entry after it; the same as to where there is none yet"`
	From  string `json:"from" doc:"All up to this stream id was read"`
	To    string `json:"to" doc:"What lies behind from is gone, up to this stream id"`
	Count int64  `json:"count" doc:"How many entries were missed; -1 where that is not known"`
}

func newUplink(e *stream.Entry) Uplink {
	text := e.Fields.Text
	return Uplink{
		ID: e.ID.String(), Device: text("device"), Via: text("via"), At: e.At(),
		Unsigned: text("unsigned") != "", Pack: Pack(text("pack")), Raw: []byte(text("raw")),
	}
}

func newReject(e *stream.Entry) Reject {
	text := e.Fields.Text
	return Reject{
		ID: e.ID.String(), Device: text("device"), Via: text("via"), At: e.At(),
		Reason: text("reason"), Detail: text("detail"), Remote: text("remote"), Body: []byte(text("body")),
	}
}

func newEvent(e *stream.Entry) Event {
	text := e.Fields.Text
	return Event{
		ID: e.ID.String(), Device: text("device"), App: text("app"), At: e.At(), Kind: text("kind"), Via: text("via"),
		Subject: text("id"), State: text("state"), Cause: text("cause"),
	}
}

// newItem is the entry as the API shows it.
func newItem(e *stream.Entry) any {
	switch e.Kind {
	case uplinks:
		return newUplink(e)
	case rejects:
		return newReject(e)
	default:
		return newEvent(e)
	}
}

// newGap is the gap before a page.
func newGap(k stream.Kind, p *stream.Page) Gap {
	g := Gap{Kind: string(k), After: p.Gap.From.String(), Next: p.Gap.To.String(), From: p.Gap.From.String(), To: p.Gap.To.String(), Count: p.Gap.Count}
	if len(p.Entries) > 0 {
		g.Next = p.Entries[0].ID.String()
	}
	return g
}
