package api

import (
	"context"
	"encoding/json"
	"time"

	"m2mbridge/auth"
)

// Activities tell what devices have done.
type Activities interface {
	// Look gives the activity of each device, in their order.
	Look(ctx context.Context, ids []auth.DeviceID) ([]Activity, error)
}

// Presences tell whether devices are connected over MQTT.
type Presences interface {
	// Look gives the presence of each device, in their order; nil: it was never connected.
	Look(ctx context.Context, ids []auth.DeviceID) ([]*Presence, error)
}

// Values are the latest of each name that a device sends.
type Values interface {
	Values(ctx context.Context, id auth.DeviceID) ([]Value, error)
}

// Activity is what a device has done.
type Activity struct {
	LastSeen *Seen // nil: it has sent nothing that was accepted
	Counters Counters
}

// Seen is the last accepted message of a device.
type Seen struct {
	At     time.Time `json:"at" doc:"When it was received"`
	Via    string    `json:"via" example:"http"`
	Uplink string    `json:"uplink,omitempty" doc:"Stream id of the last uplink that was stored" example:"1700000000000-0"`
}

// Counters are of all nodes, since the device was created.
type Counters struct {
	Uplinks    int64 `json:"uplinks" doc:"Uplinks stored"`
	Repeats    int64 `json:"repeats" doc:"Messages that were an uplink already stored"`
	Heartbeats int64 `json:"heartbeats" doc:"Packs of base fields only"`
	Refused    int64 `json:"refused" doc:"Messages refused"`
}

// Presence is whether a device is connected over MQTT.
type Presence struct {
	State string    `json:"state" example:"online"`
	Via   string    `json:"via,omitempty" example:"mqtt"`
	Since time.Time `json:"since"`
	Cause string    `json:"cause,omitempty" doc:"Why it is so"`
}

// Value is the latest record of one name.
type Value struct {
	Name   string          `json:"name" doc:"The record's name behind the base name" example:"temperature"`
	Value  json.RawMessage `json:"value" doc:"A number, string, boolean, or base64 of data; numbers keep their text"`
	Unit   string          `json:"unit,omitempty" example:"Cel"`
	Time   time.Time       `json:"time" doc:"When it was measured"`
	Uplink string          `json:"uplink" doc:"Stream id of the uplink it came in" example:"1700000000000-0"`
}

// showDevices are devices as the API shows them to an app. Presence belongs to
// the scope of uplinks, as it does on MQTT.
func (a *API) showDevices(ctx context.Context, app *auth.App, devices []auth.Device) ([]Device, error) {
	shown, ids := make([]Device, len(devices)), make([]auth.DeviceID, len(devices))
	for i := range devices {
		shown[i], ids[i] = showDevice(&devices[i]), devices[i].ID
	}
	if len(ids) == 0 {
		return shown, nil
	}
	if a.activities != nil {
		all, err := a.activities.Look(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i := range all {
			shown[i].LastSeen, shown[i].Counters = all[i].LastSeen, &all[i].Counters
		}
	}
	if a.presences != nil && app.Has(auth.ScopeUplinkRead) {
		all, err := a.presences.Look(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i := range all {
			shown[i].Presence = all[i]
		}
	}
	return shown, nil
}

// showWhole is showDevices for one device, with its values.
func (a *API) showWhole(ctx context.Context, app *auth.App, d auth.Device) (Device, error) {
	shown, err := a.showDevices(ctx, app, []auth.Device{d})
	if err != nil {
		return Device{}, err
	}
	if a.values != nil && app.Has(auth.ScopeUplinkRead) {
		if shown[0].Values, err = a.values.Values(ctx, d.ID); err != nil {
			return Device{}, err
		}
	}
	return shown[0], nil
}
