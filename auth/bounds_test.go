package auth

import (
	"errors"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// What one does not see makes two texts look alike; what scripts need stays.
func TestUnseenCharacters(t *testing.T) {
	r, ctx := testRegistry(t, redistest.Mini(t)), t.Context()
	for _, c := range "\u00ad\u061c\u200b\u200e\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff" {
		text := "a" + string(c) + "b"
		for _, d := range []Device{{Name: text}, {RatePlan: text}, {Labels: map[string]string{"l": text}}} {
			d.ID, d.Secret = imei, secret
			if _, err := r.PutDevice(ctx, d, Upsert); !errors.Is(err, ErrInvalid) {
				t.Errorf("%U: %v", c, err)
			}
		}
		app := App{Name: "x", Scopes: []Scope{ScopeDeviceRead}, Devices: []string{"l=" + text}}
		if _, _, err := r.PutApp(ctx, app, Upsert); !errors.Is(err, ErrInvalid) {
			t.Errorf("filter with %U: %v", c, err)
		}
	}
	put(t, r, Device{ID: imei, Secret: secret, Name: "می\u200cخواهم", Labels: map[string]string{"who": "👩\u200d🔧"}})
}

// A filter from before such were refused can still be read.
func TestUnseenCharactersOfBefore(t *testing.T) {
	a := App{Devices: []string{"l=a\u200bb"}}
	if err := a.parseFilter(); err != nil || !a.Sees(imei, map[string]string{"l": "a\u200bb"}) {
		t.Errorf("parse: %v", err)
	}
}

func TestLimitsOfApps(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		ok     bool
	}{
		{Limits{}, true},
		{Limits{Requests: 0.01, Publishes: 0.01, Sessions: 1}, true},
		{Limits{Requests: 1e6}, true},
		{Limits{Requests: 1e-9}, false},
		{Limits{Publishes: 0.009}, false},
		{Limits{Requests: -1}, false},
		{Limits{Requests: 1e7}, false},
	} {
		if err := c.limits.check(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
}

func TestPutDevicesBoundsItsWindow(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	put(t, r, Device{ID: imei, Secret: secret})
	for _, window := range []time.Duration{-1, MaxRotation + 1} {
		_, err := r.PutDevices(t.Context(), []DeviceID{imei}, Bulk{Window: window}, func(int, *Device) (Device, error) {
			return Device{Secret: newer}, nil
		})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("window %v: %v", window, err)
		}
	}
	verifies(t, r, newer, ErrWrongToken)
}
