package auth

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth/redistest"
)

func putTestApp(t *testing.T, r *Registry, a App, mode PutMode) string {
	t.Helper()
	_, key, err := r.PutApp(t.Context(), a, mode)
	if err != nil {
		t.Fatalf("put app: %v", err)
	}
	return key
}

func TestApps(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		now := int64(1800000000000)
		r, ctx := testRegistry(t, s, clock(&now)), t.Context()
		app := App{Name: "dash", Scopes: []Scope{ScopeUplinkRead}, Devices: []string{"imei:356726104408422", "floor=2"}}
		stored, key, err := r.PutApp(ctx, app, Create)
		if err != nil || !regexp.MustCompile(`^m2m_[0-9A-Za-z_-]{43}$`).MatchString(key) {
			t.Fatalf("create: %q, %v", key, err)
		}
		want := app
		want.Devices, want.CreatedAt, want.ModifiedAt = []string{string(imei), "floor=2"}, at(now), at(now)
		public := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".keyHash" || p.Last().String() == ".filter" }, cmp.Ignore())
		got, err := r.GetApp(ctx, "dash")
		if err != nil || !cmp.Equal(want, got, public, cmp.AllowUnexported(App{})) || !cmp.Equal(want, stored, public, cmp.AllowUnexported(App{})) {
			t.Errorf("get = %+v, %v, stored = %+v", got, err, stored)
		}
		all := s.Client().HGetAll(ctx, "m2m:{0}:app:dash").Val()
		if text, _ := json.Marshal([]any{got, stored, all}); strings.Contains(string(text), key) {
			t.Errorf("the key shows in %s", text)
		}
		finds := func(a *App, err error) {
			t.Helper()
			if err != nil || a.Name != "dash" || !a.Has(ScopeUplinkRead) || a.Has(ScopeDownlinkWrite) {
				t.Errorf("app = %+v, %v", a, err)
			}
		}
		refuses := func(a *App, err error) {
			t.Helper()
			if a != nil || !errors.Is(err, ErrUnknown) {
				t.Errorf("app = %+v, %v", a, err)
			}
		}
		finds(r.AppByKey(ctx, key))
		finds(r.AppLogin(ctx, "dash", key))
		refuses(r.AppLogin(ctx, "dash", key+"x"))
		refuses(r.AppLogin(ctx, "dash2", key))
		refuses(r.AppLogin(ctx, "", ""))
		refuses(r.AppByKey(ctx, ""))
		refuses(r.AppByKey(ctx, strings.ToLower(key)))
		refuses(r.AppLogin(ctx, AdminName, key))
		if _, _, err := r.PutApp(ctx, app, Create); !errors.Is(err, ErrExists) {
			t.Errorf("create twice: %v", err)
		}
		app.Scopes = []Scope{ScopeUplinkRead, ScopeRejectRead}
		if key := putTestApp(t, r, app, Replace); key != "" {
			t.Errorf("replace shows a key")
		}
		a, err := r.AppByKey(ctx, key)
		if err != nil || !a.Has(ScopeRejectRead) || !a.ModifiedAt.After(a.CreatedAt) {
			t.Errorf("replaced = %+v, %v", a, err)
		}
		if apps, next, err := r.ListApps(ctx, ListQuery{}); err != nil || len(apps) != 1 || apps[0].Name != "dash" || next != "" {
			t.Errorf("list = %+v, %q, %v", apps, next, err)
		}
		if err := r.DeleteApp(ctx, "dash", AnyRevision); err != nil {
			t.Errorf("delete: %v", err)
		}
		refuses(r.AppByKey(ctx, key))
		refuses(r.RecheckApp(ctx, a))
		if err := r.DeleteApp(ctx, "dash", AnyRevision); !errors.Is(err, ErrUnknown) {
			t.Errorf("delete twice: %v", err)
		}
	})
}

func TestPutAppRefuses(t *testing.T) {
	r := testRegistry(t, redistest.Mini(t))
	ok := Scopes()[:1]
	for name, a := range map[string]App{
		"no name":       {Scopes: ok},
		"admin":         {Name: "admin", Scopes: ok},
		"capital":       {Name: "Dash", Scopes: ok},
		"dot first":     {Name: ".dash", Scopes: ok},
		"slash":         {Name: "a/b", Scopes: ok},
		"long":          {Name: strings.Repeat("a", 65), Scopes: ok},
		"no scope":      {Name: "a"},
		"unknown scope": {Name: "a", Scopes: []Scope{"uplink.write"}},
		"device":        {Name: "a", Scopes: ok, Devices: []string{"IMEI:1"}},
		"label":         {Name: "a", Scopes: ok, Devices: []string{"=2"}},
	} {
		if _, _, err := r.PutApp(t.Context(), a, Create); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.PutApp(t.Context(), App{Name: strings.Repeat("a", 64), Scopes: ok}, Replace); !errors.Is(err, ErrUnknown) {
		t.Errorf("replace nothing: %v", err)
	}
}

// The admin is the configuration's: Redis is not asked, and need not be there.
func TestAdmin(t *testing.T) {
	s := redistest.Start(t)
	limits := &limitHook{}
	r, none := testRegistry(t, s), testRegistry(t, s, limits.watch, func(c *RegistryConfig) { c.AdminKey = "" })
	s.Kill()
	a, err := r.AppByKey(t.Context(), "the admin's key")
	if err != nil || a.Name != AdminName || !a.Has(ScopeDeviceWrite) || !a.Sees(imei, nil) {
		t.Fatalf("admin = %+v, %v", a, err)
	}
	if b, err := r.AppLogin(t.Context(), AdminName, "the admin's key"); err != nil || b != a {
		t.Errorf("login: %v", err)
	}
	if b, err := r.RecheckApp(t.Context(), a); err != nil || b != a {
		t.Errorf("recheck: %v", err)
	}
	inTime(t, slowly, "a refusal", func() {
		if _, err := none.AppByKey(t.Context(), ""); !errors.Is(err, ErrUnavailable) {
			t.Errorf("no admin: %v", err)
		}
	})
	limits.within(t, askLimit)
}

func TestAppChangesReachAnotherNode(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		here, there := testRegistry(t, s), follow(t, testRegistry(t, s))
		ctx, changed := t.Context(), Change{Kind: ChangeApp, App: "a"}
		if _, err := there.AppByKey(ctx, "m2m_none"); !errors.Is(err, ErrUnknown) {
			t.Fatalf("nobody: %v", err)
		}
		key := putTestApp(t, here, App{Name: "a", Scopes: []Scope{ScopeUplinkRead}}, Create)
		session, err := there.AppByKey(ctx, key) // at once: no refusal comes from memory
		if err != nil {
			t.Fatalf("a new key: %v", err)
		}
		there.await(changed)
		if _, err := there.AppByKey(ctx, key); err != nil {
			t.Fatalf("the key: %v", err)
		}
		reads := there.apps.reads.Load()
		for range 10 {
			if _, err := there.AppByKey(ctx, key); err != nil {
				t.Fatalf("the key: %v", err)
			}
		}
		if n := there.apps.reads.Load() - reads; n != 0 {
			t.Errorf("%d readings for a known app", n)
		}
		putTestApp(t, here, App{Name: "a", Scopes: []Scope{ScopeDeviceRead}}, Replace)
		inTime(t, slowly, "the change", func() { there.await(changed) })
		now, err := there.RecheckApp(ctx, session)
		if err != nil || now.Has(ScopeUplinkRead) || !now.Has(ScopeDeviceRead) {
			t.Errorf("recheck = %+v, %v", now, err)
		}
		if err := here.DeleteApp(ctx, "a", AnyRevision); err != nil {
			t.Fatalf("delete: %v", err)
		}
		inTime(t, slowly, "the end", func() { there.await(changed) })
		if _, err := there.RecheckApp(ctx, session); !errors.Is(err, ErrUnknown) {
			t.Errorf("recheck after the end: %v", err)
		}
		putTestApp(t, here, App{Name: "a", Scopes: []Scope{ScopeUplinkRead}}, Create)
		if _, err := there.RecheckApp(ctx, session); !errors.Is(err, ErrUnknown) {
			t.Errorf("another app of that name: %v", err)
		}
	})
}

func TestSees(t *testing.T) {
	f := follow(t, testRegistry(t, redistest.Start(t)))
	r := f.Registry
	put(t, r, Device{ID: imei, Secret: secret, Labels: map[string]string{"floor": "2"}})
	put(t, r, Device{ID: other, Secret: secret, Labels: map[string]string{"floor": "22", "site": "x"}})
	f.await(Change{Kind: ChangeDevice, Device: other})
	for _, c := range []struct {
		name    string
		devices []string
		want    map[DeviceID]bool
	}{
		{"all", nil, map[DeviceID]bool{imei: true, other: true, uuid: true}},
		{"by id", []string{string(imei)}, map[DeviceID]bool{imei: true, other: false, uuid: false}},
		{"by label", []string{"floor=2"}, map[DeviceID]bool{imei: true, other: false, uuid: false}},
		{"by another label", []string{"site=x", "floor=3"}, map[DeviceID]bool{imei: false, other: true, uuid: false}},
		{"by either", []string{"dvnuuid" + string(uuid[7:]), "floor=2"}, map[DeviceID]bool{imei: true, other: false, uuid: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := App{Name: "a", Scopes: Scopes(), Devices: c.devices}
			if err := a.check(); err != nil {
				t.Fatalf("check: %v", err)
			}
			for id, want := range c.want {
				for range 2 {
					if got, err := r.Sees(t.Context(), &a, id); err != nil || got != want {
						t.Errorf("sees %s = %v, %v", id, got, err)
					}
				}
				labels, err := r.Labels(t.Context(), id)
				if (err != nil) != (id == uuid) || id == uuid && !errors.Is(err, ErrUnknown) || a.Sees(id, labels) != want {
					t.Errorf("labels of %s = %v, %v", id, labels, err)
				}
			}
		})
	}
	if st := r.Stats(); st.Entries != 2 {
		t.Errorf("%d cached", st.Entries)
	}
}
