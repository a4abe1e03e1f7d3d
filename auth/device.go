package auth

import (
	"log/slog"
	"maps"
	"time"
)

// Device is one device of the registry.
type Device struct {
	ID     DeviceID `json:"id"`
	Name   string   `json:"name,omitempty"`
	ICCID  string   `json:"iccid,omitempty"`  // 19 or 20 digits
	MSISDN string   `json:"msisdn,omitempty"` // E.164 digits; a leading + is dropped

	RatePlan string `json:"ratePlan,omitempty"`

	SMS          *bool             `json:"sms,omitempty"`          // false: its SIM cannot be reached by SMS; nil: it can
	RequireToken bool              `json:"requireToken,omitempty"` // over MQTT too, each message must carry its token
	Unsigned     bool              `json:"unsigned,omitempty"`     // it has no secret and sends no tokens
	Disabled     bool              `json:"disabled,omitempty"`     // nothing of it is accepted
	Labels       map[string]string `json:"labels,omitempty"`

	// Secret is only written: a new secret for the device, or "" for the one it has. It is never read back.
	Secret string `json:"-"`

	// What follows is only read.

	Secrets    int            `json:"secrets"`              // active ones: 0 (unsigned), 1, or 2 during a rotation
	LastSecret int            `json:"lastSecret,omitempty"` // which of two matched last: 1 the newest, 2 the one before it; 0: none yet
	Rotation   *RotationState `json:"rotation,omitempty"`   // nil: it has not two secrets
	CreatedAt  time.Time      `json:"createdAt"`            // to the millisecond
	ModifiedAt time.Time      `json:"modifiedAt"`           // later than before at each change
}

// CanSMS reports whether the device's SIM can be reached by SMS.
func (d *Device) CanSMS() bool { return d.SMS == nil || *d.SMS }

// LogValue keeps all but the id out of logs.
func (d Device) LogValue() slog.Value { return slog.StringValue(string(d.ID)) }

// PutMode says what PutDevice and PutApp expect to find.
type PutMode uint8

const (
	Create  PutMode = iota // nothing, else ErrExists
	Replace                // something, else ErrUnknown
	Upsert                 // either
)

// clone shares nothing with d.
func (d *Device) clone() Device {
	c := *d
	c.Labels = maps.Clone(d.Labels)
	if d.SMS != nil {
		sms := *d.SMS
		c.SMS = &sms
	}
	return c
}
