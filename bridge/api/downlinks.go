package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/downlink"
)

// Downlinks are the messages to devices. *downlink.Service has them.
type Downlinks interface {
	Create(ctx context.Context, d downlink.Draft) (made downlink.Downlink, fresh bool, err error)
	Get(ctx context.Context, id string) (downlink.Downlink, error)
	List(ctx context.Context, q downlink.Query) (page []downlink.Downlink, next string, err error)
	Cancel(ctx context.Context, id, cause string) error
	Ahead(ctx context.Context, d *downlink.Downlink) (int64, error)
	Timeline(ctx context.Context, id string) (steps []downlink.Step, err error)
}

// Downlink is a message to a device as the API shows it.
type Downlink struct {
	ID       string           `json:"id" example:"0-mih6f3x9wq7f2m4c6s8t2"`
	Device   string           `json:"device" example:"IMEI:356726104408422"`
	Channel  downlink.Channel `json:"channel" enum:"http,mqtt,sms,any"`
	State    downlink.State   `json:"state" enum:"QUEUED,EXECUTING,SUCCEEDED,FAILED,EXPIRED,CANCELLED"`
	Cause    string           `json:"cause" doc:"Why it is in this state" example:"the device took the whole answer"`
	Reason   string           `json:"reason,omitempty" doc:"Why it is not moving: what it waits for; missing: it has ended" example:"waits for the device's next uplink over HTTP"`
	Pack     DownlinkPack     `json:"pack,omitempty" doc:"As the device gets it, but for its own spelling of its base name; missing: it is an SMS of text or data"`
	Text     string           `json:"text,omitempty" doc:"Characters of an SMS" example:"reboot"`
	Data     []byte           `json:"data,omitempty" doc:"Octets of an SMS"`
	App      string           `json:"app,omitempty" doc:"Who created it; missing: an integration on Redis"`
	Priority int              `json:"priority" minimum:"0" maximum:"9"`
	Ack      bool             `json:"ack,omitempty" doc:"The device is to acknowledge it itself"`
	Wake     bool             `json:"wake,omitempty" doc:"While it waits for the device, that is woken up by SMS"`

	IdempotencyKey string `json:"idempotencyKey,omitempty"`

	Attempts   int              `json:"attempts" doc:"How often it was handed over; of an SMS, how often that was tried"`
	Via        downlink.Channel `json:"via,omitempty" enum:"http,mqtt,sms" doc:"Way of the last attempt"`
	HandedAt   time.Time        `json:"handedAt,omitzero" doc:"When the last attempt began"`
	CreatedAt  time.Time        `json:"createdAt"`
	NotBefore  time.Time        `json:"notBefore,omitzero"`
	ExpiresAt  time.Time        `json:"expiresAt"`
	ModifiedAt time.Time        `json:"modifiedAt" doc:"When its state or cause changed last"`

	SMS      *DownlinkSMS   `json:"sms,omitempty"`
	Timeline []DownlinkStep `json:"timeline,omitempty" nullable:"false" doc:"What happened to it, in order, of very much the last 400 steps. Only where one is got"`
}

// DownlinkInput is a downlink to be created.
type DownlinkInput struct {
	Device         string       `json:"device" maxLength:"100" example:"IMEI:356726104408422"`
	Channel        string       `json:"channel,omitempty" enum:"http,mqtt,sms,any" doc:"The way it may go: in the answer to the device's next uplink over HTTP, over MQTT, by SMS, or with whichever contact over HTTP or MQTT comes first; none: that of the path, any under /v1/downlinks"`
	Pack           DownlinkPack `json:"pack,omitempty" doc:"A SenML pack. Base names may be left out; those there are must be the device's. Only an SMS may go without: it has one of pack, text and data"`
	Text           string       `json:"text,omitempty" doc:"Characters of an SMS, as many as ten parts take: 1530 of the GSM alphabet, 670 of others" example:"reboot"`
	Data           []byte       `json:"data,omitempty" doc:"Octets of an SMS in base64"`
	TTL            string       `json:"ttl,omitempty" maxLength:"40" example:"48h" doc:"How long it may wait, 1s to 8784h; none: 48h"`
	NotBefore      time.Time    `json:"notBefore,omitzero" doc:"It goes at this instant at the earliest, which must be within its ttl"`
	Priority       *int         `json:"priority,omitempty" minimum:"0" maximum:"9" doc:"Of a device's downlinks those of the highest go first, and of them the oldest; none: 5"`
	IdempotencyKey string       `json:"idempotencyKey,omitempty" maxLength:"128" doc:"A second request of the app for the device with this key makes no second downlink, but is answered with the first"`
	Ack            bool         `json:"ack,omitempty" doc:"It has succeeded when the device sends a record named downlinkAck with its id as string value, not when it has left. Of an SMS: with a pack only"`
	Wake           bool         `json:"wake,omitempty" doc:"Wake the device up by SMS while this waits for it. Its next uplink, over whichever way, ends that; the downlink itself goes over its channel"`
}

// DownlinkPack is a pack for a device. Numbers keep their text.
type DownlinkPack Pack

// MarshalJSON gives the pack, or null for bytes that are no JSON.
func (p DownlinkPack) MarshalJSON() ([]byte, error) { return Pack(p).MarshalJSON() }

// UnmarshalJSON keeps the text.
func (p *DownlinkPack) UnmarshalJSON(b []byte) error { return (*Pack)(p).UnmarshalJSON(b) }

// Schema describes the pack in the OpenAPI document.
func (DownlinkPack) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{
		Type:        huma.TypeArray,
		Description: "A SenML pack (RFC 8428), at most 4096 bytes as the device gets it: the base record first, then a record for each value",
		Items:       &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true},
		Examples:    []any{[]any{map[string]any{"n": "led", "vb": true}}},
	}
	s.PrecomputeMessages()
	return s
}

// showDownlink is a downlink as the API shows it, its reason aside.
func showDownlink(d *downlink.Downlink) Downlink {
	shown := Downlink{
		ID: d.ID, Device: string(d.Device), Channel: d.Channel, State: d.State, Cause: d.Cause, Pack: DownlinkPack(d.Pack),
		App: d.App, Priority: d.Priority, Ack: d.Ack, IdempotencyKey: d.Key, Attempts: d.Attempts, Via: d.Via, HandedAt: d.HandedAt,
		CreatedAt: d.CreatedAt, NotBefore: d.NotBefore, ExpiresAt: d.ExpiresAt, ModifiedAt: d.Since,
		Text: d.Text, Data: d.Data, Wake: d.Wake,
	}
	if s := d.SMS; s != nil {
		shown.SMS = &DownlinkSMS{State: s.State, Attempts: s.Attempts, FirstAt: s.First, NextAt: nextAttempt(d), LimitAt: s.Limit}
	}
	return shown
}

// draft is what the input asks for, of a device that is known to be one and a
// channel that is settled.
func (in *DownlinkInput) draft(app string) (downlink.Draft, error) {
	d := downlink.Draft{
		Channel: downlink.Channel(in.Channel), Pack: []byte(in.Pack), App: app, NotBefore: in.NotBefore, Priority: downlink.DefaultPriority,
		Key: in.IdempotencyKey, Ack: in.Ack, Text: in.Text, Data: in.Data, Wake: in.Wake,
	}
	if in.Priority != nil {
		d.Priority = *in.Priority
	}
	if in.TTL == "" {
		return d, nil
	}
	var err error
	if d.TTL, err = time.ParseDuration(in.TTL); err != nil || d.TTL <= 0 {
		return d, invalid("body.ttl", "want a duration such as 90s, 30m or 48h", "")
	}
	return d, nil
}
