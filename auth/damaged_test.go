package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"m2mbridge/auth/redistest"
)

// A damaged record takes no other with it, and can be removed or replaced, whatever damaged it.
func TestDamagedRecord(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		ctx, key := t.Context(), "m2m:{0}:device:"+string(imei)
		for name, fields := range map[string][]any{
			"auth": {"auth", "9"}, "about": {"about", "{"}, "created": {"created", "x"}, "uses": {"uses", "x"},
			"all": {"auth", "", "about", "", "created", "", "uses", "-", "rev", "zzz"}, "rev beyond": {"auth", "9", "rev", "9223372036854775807"},
		} {
			t.Run(name, func(t *testing.T) {
				var log bytes.Buffer
				r := testRegistry(t, s, func(c *RegistryConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
				damage := func() {
					put(t, r, Device{ID: imei, Secret: secret, Name: "pump", Labels: map[string]string{"site": "north"}})
					s.Client().HSet(ctx, key, fields...)
				}
				damage()
				put(t, r, Device{ID: other, Secret: secret, Name: "pump two", Labels: map[string]string{"site": "north"}})
				for range 3 {
					if _, err := r.GetDevice(ctx, imei); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnavailable) {
						t.Errorf("get: %v", err)
					}
				}
				if n := strings.Count(log.String(), "damaged"); n == 0 || strings.Count(log.String(), "level=WARN") != 1 || strings.Contains(log.String(), secret) {
					t.Errorf("log: %s", log.String())
				}
				for _, q := range []ListQuery{{}, {Sort: ByModified}, {Search: Search{Name: "pump"}}, {Search: Search{Labels: []string{"site=north"}}}} {
					if page, next, err := r.ListDevices(ctx, q); err != nil || next != "" || len(page) != 1 || page[0].ID != other {
						t.Errorf("list %+v: %v, %q, %v", q, page, next, err)
					}
				}
				if got, err := r.GetDevices(ctx, []DeviceID{imei, other}); err != nil || got[0] != nil || got[1] == nil {
					t.Errorf("get both: %v, %v", got, err)
				}
				if _, err := r.UpdateDevice(ctx, imei, AnyRevision, func(*Device) error { return nil }); !errors.Is(err, ErrDamaged) {
					t.Errorf("update: %v", err)
				}
				wish := func(int, *Device) (Device, error) { return Device{Name: "new", Secret: newer}, nil }
				changes, err := r.PutDevices(ctx, []DeviceID{imei, other}, Bulk{}, wish)
				if err != nil || !errors.Is(changes[0].Err, ErrDamaged) || changes[1].Err != nil {
					t.Errorf("bulk: %+v, %v", changes, err)
				}
				changes, err = r.PutDevices(ctx, []DeviceID{imei}, Bulk{Whole: true}, wish)
				if err != nil || changes[0].Err != nil || !changes[0].Changed {
					t.Errorf("replace: %+v, %v", changes, err)
				}
				if d, err := r.GetDevice(ctx, imei); err != nil || d.Name != "new" || d.Secrets != 1 || d.Labels != nil {
					t.Errorf("after replacing: %+v, %v", d, err)
				}
				verifies(t, r, newer, nil)
				damage()
				put(t, r, Device{ID: imei, Secret: secret})
				verifies(t, r, secret, nil)
				damage()
				if err := r.DeleteDevice(ctx, imei, AnyRevision); err != nil {
					t.Errorf("delete: %v", err)
				}
				if _, err := r.GetDevice(ctx, imei); !errors.Is(err, ErrUnknown) {
					t.Errorf("after deleting: %v", err)
				}
				if err := r.DeleteDevice(ctx, other, AnyRevision); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// What a damaged record hides is not an outage.
func TestDamagedRecordVerifiesNothing(t *testing.T) {
	s := redistest.Start(t)
	r := testRegistry(t, s)
	put(t, r, Device{ID: imei, Secret: secret})
	s.Client().HSet(t.Context(), "m2m:{0}:device:"+string(imei), "auth", "0\tx\t1\t\t")
	_, err := r.VerifyToken(t.Context(), imei, body, Token(body, secret))
	_, err2 := r.VerifyLogin(t.Context(), imei, imei.BaseName(), secret)
	app := App{Devices: []string{"site=north"}}
	if err := app.parseFilter(); err != nil {
		t.Fatal(err)
	}
	_, err3 := r.Sees(t.Context(), &app, imei)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnavailable) {
			t.Errorf("error = %v", err)
		}
	}
}

// Labels are in plain: an app sees by them though the secret cannot be opened.
func TestLabelsNeedNoSecretKey(t *testing.T) {
	s := redistest.Mini(t)
	put(t, testRegistry(t, s, func(c *RegistryConfig) { c.SecretKey = strings.Repeat("k", 16) }), Device{ID: imei, Secret: secret, Labels: map[string]string{"a": "b"}})
	if labels, err := testRegistry(t, s).Labels(t.Context(), imei); err != nil || labels["a"] != "b" {
		t.Errorf("labels = %v, %v", labels, err)
	}
}
