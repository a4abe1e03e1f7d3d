package auth

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

func TestWhatChangesNothingIsNotWritten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		now := int64(1800000000000)
		r, ctx := testRegistry(t, s, clock(&now)), t.Context()
		device := put(t, r, Device{ID: imei, Secret: secret, Name: "pump", Labels: map[string]string{"a": "b"}})
		app, _, err := r.PutApp(ctx, App{Name: "a", Scopes: Scopes(), Devices: []string{"l=x"}}, Create)
		if err != nil {
			t.Fatal(err)
		}
		if device, _, err = r.Rotate(ctx, imei, AnyRevision, Rotation{Secret: newer, Window: time.Minute}); err != nil {
			t.Fatal(err)
		}
		update := func(name string) (int64, int64) {
			t.Helper()
			d, err := r.UpdateDevice(ctx, imei, AnyRevision, func(d *Device) error { d.Name = name; return nil })
			if err != nil {
				t.Fatal(err)
			}
			a, err := r.UpdateApp(ctx, "a", AnyRevision, func(a *App) error { a.Devices = []string{"l=" + name}; return nil })
			if err != nil {
				t.Fatal(err)
			}
			return d.Revision(), a.Revision()
		}
		_, appRevision := update("pump")
		now += time.Hour.Milliseconds() // the older secret has ended meanwhile, which is no change of this one's
		told := s.Client().XLen(ctx, "m2m:{0}:registry").Val()
		if d, a := update("pump"); d != device.Revision() || a != appRevision || a == app.Revision() {
			t.Errorf("revisions %d, %d; want %d, %d", d, a, device.Revision(), appRevision)
		}
		if n := s.Client().XLen(ctx, "m2m:{0}:registry").Val(); n != told {
			t.Errorf("%d changes told of none", n-told)
		}
		if d, a := update("valve"); d <= device.Revision() || a <= appRevision {
			t.Errorf("revisions %d, %d of a change", d, a)
		}
	})
}

// Many who change one device at once all get their turn.
func TestChangesOfManyAtOnce(t *testing.T) {
	const clients, each = 6, 20
	r := testRegistry(t, redistest.Start(t))
	put(t, r, Device{ID: imei, Secret: secret})
	var writers sync.WaitGroup
	for i := range clients {
		writers.Go(func() {
			for n := range each {
				_, err := r.UpdateDevice(t.Context(), imei, AnyRevision, func(d *Device) error {
					if d.Labels == nil {
						d.Labels = map[string]string{}
					}
					d.Labels[fmt.Sprint("l", i)] = fmt.Sprint(n)
					return nil
				})
				if err != nil {
					t.Errorf("client %d, change %d: %v", i, n, err)
				}
			}
		})
	}
	writers.Wait()
	d, err := r.GetDevice(t.Context(), imei)
	if err != nil || len(d.Labels) != clients {
		t.Fatalf("%+v, %v", d, err)
	}
	for name, n := range d.Labels {
		if n != fmt.Sprint(each-1) {
			t.Errorf("%s = %s", name, n)
		}
	}
}

func TestTriesEnd(t *testing.T) {
	start, n := time.Now(), 0
	for range tries(t.Context()) {
		n++
	}
	if took := time.Since(start); n < 10 || took < changeLimit || took > patience {
		t.Errorf("%d tries in %v", n, took)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	n = 0
	for range tries(ended) {
		n++
	}
	if n != 1 {
		t.Errorf("%d tries for nobody", n)
	}
}
