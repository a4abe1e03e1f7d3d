package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"slices"
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
	Limits  Limits   `json:"limits,omitzero"`

	CreatedAt    time.Time `json:"createdAt"`
	ModifiedAt   time.Time `json:"modifiedAt"`
	OldKeyEndsAt time.Time `json:"oldKeyEndsAt,omitzero"` // the key before the last rotation is valid until then; zero: there is none

	keyHash [32]byte // SHA-256 of its key
	oldHash [32]byte // of the key before it; good only with OldKeyEndsAt
	byOld   bool     // it was found by the old key
	filter  filter
}

// Limits bound what one app may ask of one node.
type Limits struct {
	Requests  float64 `json:"requests,omitempty"`  // of the API a second; 0: the node's default
	Publishes float64 `json:"publishes,omitempty"` // over MQTT a second; 0: the node's default
	Sessions  int     `json:"sessions,omitempty"`  // over MQTT, on all nodes; 0: the node's default
}

func (l *Limits) check() error {
	if math.IsNaN(l.Requests+l.Publishes) || l.Requests < 0 || l.Publishes < 0 || l.Sessions < 0 || l.Requests > maxRate || l.Publishes > maxRate || l.Sessions > maxRate {
		return fmt.Errorf("%w limits: want 0 to %d", ErrInvalid, int(maxRate))
	}
	for _, rate := range []float64{l.Requests, l.Publishes} {
		if rate != 0 && rate < minRate {
			return fmt.Errorf("%w limits: a rate is at least %v a second; 0: the node's default", ErrInvalid, minRate)
		}
	}
	return nil
}

const (
	maxRate = 1e6  // above all that a node can do
	minRate = 0.01 // one in 100 s: whoever is told to wait can live to see it
)

// Until is when the key ends by which the app was found; zero: it has no end.
func (a *App) Until() time.Time {
	if a.byOld {
		return a.OldKeyEndsAt
	}
	return time.Time{}
}

// hasKey reports whether the key of that hash is valid now, and whether it is the old one.
func (a *App) hasKey(hash [sha256.Size]byte, now time.Time) (ok, old bool) {
	ok = subtle.ConstantTimeCompare(a.keyHash[:], hash[:]) == 1
	old = subtle.ConstantTimeCompare(a.oldHash[:], hash[:]) == 1 && now.Before(a.OldKeyEndsAt)
	return ok || old, old && !ok
}

// by is the app as found by a key of that hash; nil if that is not valid now.
func (a *App) by(hash [sha256.Size]byte, now time.Time) *App {
	ok, old := a.hasKey(hash, now)
	switch {
	case !ok:
		return nil
	case !old:
		return a
	}
	found := *a
	found.byOld = true
	return &found
}

// usedHash is of the key by which the app was found.
func (a *App) usedHash() [sha256.Size]byte {
	if a.byOld {
		return a.oldHash
	}
	return a.keyHash
}

// clone shares nothing with a that a change could touch.
func (a *App) clone() App {
	c := *a
	c.Scopes, c.Devices = slices.Clone(a.Scopes), slices.Clone(a.Devices)
	return c
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
		if !ok || !isLabelName(name) || !isStoredText(value) {
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
