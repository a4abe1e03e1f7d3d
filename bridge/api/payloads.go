package api

import "time"

// GapNotice tells a session, and it alone, which messages it missed.
type GapNotice struct {
	Kind   string `json:"kind" enum:"gap"`
	Stream string `json:"stream" doc:"Which stream, with its partition where there are several" example:"uplinks"`
	From   string `json:"from" doc:"All up to this stream id was sent" example:"1700000000000-0"`
	To     string `json:"to" doc:"What lies behind from was missed, up to this stream id" example:"1700000000009-0"`
	Count  *int64 `json:"count,omitempty" nullable:"false" doc:"How many entries of the stream; missing: not known"`
}

// PresenceState is what is known of a device on its topic.
type PresenceState struct {
	Device string    `json:"device" doc:"TYPE:value" example:"IMEI:356726104408422"`
	State  string    `json:"state" enum:"online,offline"`
	Via    string    `json:"via" enum:"http,mqtt" doc:"How it is online, or was last"`
	Since  time.Time `json:"since"`
	Cause  string    `json:"cause" doc:"Why it is so" example:"connected"`
}

// What entries of the streams hold: every value is a text.
type (
	uplinkEntry struct {
		Device   string `json:"device" doc:"TYPE:value"`
		Via      string `json:"via" enum:"http,mqtt"`
		At       string `json:"at" pattern:"^[0-9]+$" doc:"When it was received, Unix ms"`
		Token    string `json:"token" pattern:"^([0-9a-f]{64})?$" doc:"Its message token; empty where it had none"`
		Pack     string `json:"pack" contentMediaType:"application/senml+json" doc:"The normalised pack"`
		Raw      string `json:"raw,omitempty" doc:"The bytes the device sent, with --keep-raw"`
		Unsigned string `json:"unsigned,omitempty" enum:"1" doc:"The device has no secret: nothing proves that the uplink is its own"`
	}
	rejectEntry struct {
		Device string `json:"device" doc:"The device it claims to be of; empty: none"`
		Via    string `json:"via" enum:"http,mqtt,"`
		At     string `json:"at" pattern:"^[0-9]+$" doc:"When it was received, Unix ms"`
		Reason string `json:"reason" doc:"Stable short name"`
		Detail string `json:"detail"`
		Remote string `json:"remote" doc:"Address it came from"`
		Body   string `json:"body" doc:"Its first 1024 bytes"`
	}
	eventEntry struct {
		Device string `json:"device" doc:"Empty where the event is about none"`
		App    string `json:"app,omitempty" doc:"The app whose session it is about"`
		At     string `json:"at" pattern:"^[0-9]+$" doc:"Unix ms"`
		Kind   string `json:"kind" doc:"downlink, sms, presence, gap or session"`
		ID     string `json:"id" doc:"Id of the downlink, SMS or session"`
		State  string `json:"state" doc:"As in the payload of events"`
		Cause  string `json:"cause,omitempty"`
		Via    string `json:"via,omitempty" enum:"http,mqtt" doc:"Of presence: how the device is online, or was last"`
	}
	commandEntry struct {
		Device    string `json:"device" doc:"TYPE:value"`
		Channel   string `json:"channel,omitempty" enum:"http,mqtt,sms,any" doc:"Missing: any"`
		Pack      string `json:"pack,omitempty" contentMediaType:"application/senml+json" doc:"Of channel sms: or text, or data"`
		Text      string `json:"text,omitempty" doc:"Characters, of channel sms"`
		Data      string `json:"data,omitempty" contentEncoding:"base64" doc:"Octets in base64, of channel sms"`
		TTL       string `json:"ttl,omitempty" doc:"A duration such as 48h, or milliseconds"`
		NotBefore string `json:"not_before,omitempty" doc:"An instant, RFC 3339 or Unix milliseconds"`
		Key       string `json:"key,omitempty" doc:"Idempotency key"`
		Priority  string `json:"priority,omitempty" doc:"0 to 9, the highest first; missing: 5"`
		Ack       string `json:"ack,omitempty" enum:"true,false" doc:"The device is to acknowledge it itself"`
		Wake      string `json:"wake,omitempty" enum:"true,false" doc:"The device is woken up by SMS while it waits"`
	}
)

// What the user properties of MQTT 5 hold.
type (
	streamProperties struct {
		ID       string `json:"id" doc:"Stream id, for after" example:"1700000000000-0"`
		Unsigned string `json:"unsigned,omitempty" enum:"true" doc:"The device has no secret: nothing proves that the uplink is its own"`
	}
	idProperty struct {
		ID string `json:"id" doc:"Stream id, for after" example:"1700000000000-0"`
	}
	presenceProperty struct {
		ID string `json:"id,omitempty" doc:"Stream id of the event, for after; a message that was retained has none" example:"1700000000000-0"`
	}
	downlinkProperties struct {
		Channel   string `json:"channel,omitempty" enum:"http,mqtt,sms,any" doc:"Missing: any"`
		As        string `json:"as,omitempty" enum:"pack,text,data" doc:"What the payload is: a pack, or of channel sms text or octets; missing: pack"`
		TTL       string `json:"ttl,omitempty" doc:"A duration such as 48h, or milliseconds"`
		NotBefore string `json:"notBefore,omitempty" doc:"An instant, RFC 3339 or Unix milliseconds"`
		Key       string `json:"idempotencyKey,omitempty"`
		Priority  string `json:"priority,omitempty" doc:"0 to 9, the highest first; missing: 5"`
		Ack       string `json:"ack,omitempty" enum:"true,false" doc:"The device is to acknowledge it itself"`
		Wake      string `json:"wake,omitempty" enum:"true,false" doc:"The device is woken up by SMS while it waits"`
	}
	tokenProperty struct {
		Token string `json:"Things-Message-Token,omitempty" pattern:"^[0-9A-Fa-f]{64}$" doc:"sha256(payload, secret) in hex; must match where it is given"`
	}
)
