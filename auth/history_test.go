package auth

import (
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// A label shows a device from its registration on, however often it is changed or registered anew.
func TestSeesAtIsBoundedByRegistration(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		now := int64(1800000000000)
		r := testRegistry(t, s, clock(&now))
		putTestApp(t, r, App{Name: "dash", Scopes: []Scope{ScopeUplinkRead}, Devices: []string{"site=a"}}, Create)
		app, err := r.GetApp(t.Context(), "dash")
		if err != nil {
			t.Fatal(err)
		}
		const id = DeviceID("IMEI:356726104408422")
		check := func(at int64, want bool) {
			t.Helper()
			if got, err := r.SeesAt(t.Context(), &app, id, time.UnixMilli(at)); err != nil || got != want {
				t.Errorf("at %d: %v, %v", at, got, err)
			}
		}
		check(now, false)
		d := Device{ID: id, Secret: "0123456789012345678901234567890123", Labels: map[string]string{"site": "a"}}
		put(t, r, d)
		first := now
		now += 1000
		d.Secret, d.Name = "", "changed"
		if _, err := r.PutDevice(t.Context(), d, Replace); err != nil {
			t.Fatal(err)
		}
		check(first-1, false)
		check(first, true)
		check(now+5, true)
		if err := r.DeleteDevice(t.Context(), id, AnyRevision); err != nil {
			t.Fatal(err)
		}
		check(first, false)
		now += 1000
		d.Secret = "0123456789012345678901234567890123"
		put(t, r, d)
		check(first, false)
		check(now-1, false)
		check(now, true)
	})
}
