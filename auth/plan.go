package auth

import (
	"context"
	"errors"
	"time"
)

// ErrRevision: the thing is no longer of the revision that the change was meant for.
var ErrRevision = errors.New("changed since it was read")

// AnyRevision lets a change happen to whatever is there.
const AnyRevision = 0

// Revision tells one state of the device from the next: ModifiedAt in Unix ms.
func (d *Device) Revision() int64 { return d.ModifiedAt.UnixMilli() }

// Revision tells one state of the app from the next: ModifiedAt in Unix ms.
func (a *App) Revision() int64 { return a.ModifiedAt.UnixMilli() }

// Rotation says how a device gets a new secret.
type Rotation struct {
	Secret string        // the new one; "": one is generated
	Window time.Duration // how long the old one stays valid; 0: it ends at once unless After says otherwise
	After  int64         // messages made with the new one, after which the old one ends; 0: no such number
}

// RotationState is a rotation under way: what ends the older of two secrets.
type RotationState struct {
	Since    time.Time `json:"since"`              // when the new secret was set
	EndsAt   time.Time `json:"endsAt,omitzero"`    // zero: not by time
	After    int64     `json:"after,omitempty"`    // messages with the new one that end it; 0: not by number
	Messages int64     `json:"messages,omitempty"` // made with the new one so far; counted only where After is set
}

// Rotate makes a device's new secret its newest and returns it.
func (r *Registry) Rotate(ctx context.Context, id DeviceID, revision int64, how Rotation) (Device, string, error) {
	panic("later")
}

// RevokeSecret ends one of a device's secrets at once: 1 the newest, 2 the older, 0 all.
func (r *Registry) RevokeSecret(ctx context.Context, id DeviceID, revision int64, which int) (Device, error) {
	panic("later")
}

// UpdateDevice changes a device in place: change gets it as it is stored and says what it is to be. It may be called
// several times. ErrUnknown, ErrRevision, ErrConflict; an error of change ends it.
func (r *Registry) UpdateDevice(ctx context.Context, id DeviceID, revision int64, change func(*Device) error) (Device, error) {
	panic("later")
}

// DeviceChange is what PutDevices does with one device.
type DeviceChange struct {
	Before  *Device // as it was; nil: there was none
	After   Device  // as it is, or would be
	Changed bool    // false: it already was so
	Err     error   // why it was not done
}

// PutDevices changes many devices, each for itself, with few round trips: change gets the i-th of ids as it is stored
// (nil: there is none) and gives what it is to be. Ids must differ. dry: nothing is written.
func (r *Registry) PutDevices(ctx context.Context, ids []DeviceID, dry bool, change func(i int, old *Device) (Device, error)) ([]DeviceChange, error) {
	panic("later")
}

// RemoveDevice is DeleteDevice for one revision.
func (r *Registry) RemoveDevice(ctx context.Context, id DeviceID, revision int64) error {
	panic("later")
}

// PastSecrets gives up to two secrets that the device had before, for explaining why a token does not match.
func (r *Registry) PastSecrets(ctx context.Context, id DeviceID) ([]string, error) { panic("later") }

// GetDevices reads several devices; nil for those there are none of.
func (r *Registry) GetDevices(ctx context.Context, ids []DeviceID) ([]*Device, error) {
	panic("later")
}

// Limits bound what one app may ask of a node.
type Limits struct {
	Requests  float64 `json:"requests,omitempty"`  // of the API a second; 0: the node's default
	Publishes float64 `json:"publishes,omitempty"` // over MQTT a second; 0: the node's default
	Sessions  int     `json:"sessions,omitempty"`  // over MQTT; 0: the node's default
}

// UpdateApp changes an app in place.
func (r *Registry) UpdateApp(ctx context.Context, name string, revision int64, change func(*App) error) (App, error) {
	panic("later")
}

// RotateAppKey gives an app a new key, which is returned this once; the old one stays valid for the window.
func (r *Registry) RotateAppKey(ctx context.Context, name string, revision int64, window time.Duration) (App, string, error) {
	panic("later")
}

// RemoveApp is DeleteApp for one revision.
func (r *Registry) RemoveApp(ctx context.Context, name string, revision int64) error { panic("later") }

// Search narrows a list of devices. Every field that is set must match.
type Search struct {
	ID, ICCID, MSISDN string   // how they begin
	Name              string   // words, each the beginning of a word of the name, in any case
	Labels            []string // each a label's name, or name=value
	Disabled          *bool
}

// Sort is the order of a list.
type Sort string

// The orders of lists. Of two alike the id decides.
const (
	ByID       Sort = ""
	ByCreated  Sort = "createdAt"
	ByModified Sort = "modifiedAt"
)
