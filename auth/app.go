package auth

import (
	"fmt"
	"strings"
	"time"
)

// Scope is one thing an app may do.
type Scope string

const (
	ScopeUplinkRead    Scope = "uplink.read"    // uplinks, presence
	ScopeDownlinkRead  Scope = "downlink.read"  // downlinks, SMS, events
	ScopeDownlinkWrite Scope = "downlink.write" // enqueue and cancel
	ScopeRejectRead    Scope = "reject.read"    // unverified bytes
	ScopeDeviceRead    Scope = "device.read"
	ScopeDeviceWrite   Scope = "device.write"
	ScopeAdmin         Scope = "admin" // all, and apps
)

// Scopes are all there are.
func Scopes() []Scope {
	return []Scope{
		ScopeUplinkRead, ScopeDownlinkRead, ScopeDownlinkWrite, ScopeRejectRead, ScopeDeviceRead, ScopeDeviceWrite, ScopeAdmin,
	}
}

// AdminName is the app that the configuration's admin key makes.
const AdminName = "admin"

// App is a backend application. Treat it as read-only: sessions share it.
type App struct {
	Name    string   `json:"name"`
	Scopes  []Scope  `json:"scopes"`
	Devices []string `json:"devices,omitempty"` // ids or label=value; none: every device

	Limits Limits `json:"limits,omitzero"`

	CreatedAt    time.Time `json:"createdAt"`
	ModifiedAt   time.Time `json:"modifiedAt"`
	OldKeyEndsAt time.Time `json:"oldKeyEndsAt,omitzero"` // a key from before a rotation is valid until then; zero: there is none

	keyHash [32]byte // SHA-256 of its key
	filter  filter
}

// filter is Devices, parsed.
type filter struct {
	ids    map[DeviceID]struct{}
	labels []label
}

type label struct{ name, value string }

// parseFilter makes the filter of Devices, each an id or label=value, and spells the ids canonically.
func (a *App) parseFilter() error {
	a.filter = filter{ids: make(map[DeviceID]struct{})}
	devices := make([]string, len(a.Devices)) // the caller's slice stays as it is
	for i, text := range a.Devices {
		id, err := ParseDeviceID(text)
		if err == nil {
			devices[i] = string(id)
			a.filter.ids[id] = struct{}{}
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		if !ok || !isLabelName(name) || !isText(value) {
			return fmt.Errorf("%w app device %.64q: want a device id or label=value", ErrInvalid, text)
		}
		devices[i] = text
		a.filter.labels = append(a.filter.labels, label{name, value})
	}
	a.Devices = devices
	return nil
}

// Has reports whether the app has the scope; admin has all.
func (a *App) Has(s Scope) bool {
	for _, have := range a.Scopes {
		if have == s || have == ScopeAdmin {
			return true
		}
	}
	return false
}

// Sees reports whether the app's device filter lets the device through, given its labels.
func (a *App) Sees(id DeviceID, labels map[string]string) bool {
	if len(a.Devices) == 0 {
		return true
	}
	if _, ok := a.filter.ids[id]; ok {
		return true
	}
	for _, l := range a.filter.labels {
		if v, ok := labels[l.name]; ok && v == l.value {
			return true
		}
	}
	return false
}

// NeedsLabels reports whether Sees must know the labels of the device: some of the filter is by label, and the id is not
// in it.
func (a *App) NeedsLabels(id DeviceID) bool {
	_, listed := a.filter.ids[id]
	return len(a.filter.labels) > 0 && !listed
}
