package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// listAll goes through a list page by page.
func listAll(t *testing.T, r *Registry, q ListQuery) (ids []DeviceID) {
	t.Helper()
	for range 1000 {
		page, next, err := r.ListDevices(t.Context(), q)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		for _, d := range page {
			ids = append(ids, d.ID)
		}
		if next == "" {
			return ids
		}
		if len(page) > 0 && len(page) == q.Limit && q.CursorOf(&page[len(page)-1]) != next {
			t.Fatalf("next is %q, the last one's cursor %q", next, q.CursorOf(&page[len(page)-1]))
		}
		q.After = next
	}
	t.Fatal("the list has no end")
	return nil
}

func crowd(t *testing.T, r *Registry) []Device {
	t.Helper()
	words := []string{"Pump", "pump-house", "North Gate", "Meter 7", "Éclair", "", "gate/pump"}
	random := rand.New(rand.NewPCG(1, 2))
	var all []Device
	for i := range 300 {
		d := Device{
			ID: DeviceID(fmt.Sprintf("IMEI:%015d", random.IntN(1000)+i*1000)), Unsigned: true,
			Name: words[i%len(words)], Labels: map[string]string{"site": fmt.Sprintf("s%d", i%10)},
		}
		if i%3 == 0 {
			d.ICCID, d.MSISDN = fmt.Sprintf("8931%016d", i), fmt.Sprintf("316%08d", i)
		}
		if i%50 == 0 {
			d.ID, d.Disabled = DeviceID(fmt.Sprintf("DVNUUID:00000000-0000-0000-0000-%012x", i)), true
			d.Labels["rare"] = "yes"
		}
		all = append(all, d)
	}
	for chunk := range slices.Chunk(all, 100) {
		ids := make([]DeviceID, len(chunk))
		for i := range chunk {
			ids[i] = chunk[i].ID
		}
		changes, err := r.PutDevices(t.Context(), ids, Bulk{}, func(i int, _ *Device) (Device, error) { return chunk[i], nil })
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range changes {
			if c.Err != nil || !c.Changed || c.Before != nil {
				t.Fatalf("%s: %+v", ids[i], c)
			}
			chunk[i] = c.After
		}
	}
	return all
}

func TestSearch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := testRegistry(t, s, func(c *RegistryConfig) { c.Keys.Partitions = 3 })
		all := crowd(t, r)
		yes, few := true, 7
		if s.IsMini() { // whose Lua the race detector slows down: ever so many small pages show no more
			few = 40
		}
		for _, search := range []Search{
			{}, {ID: "IMEI:0000000001"}, {ID: "imei:00000000012"}, {ID: "0000000002"}, {ID: "dvnuuid"}, {ID: "DVNUUID:00000000-0000-0000-0000-0000000000C"},
			{ICCID: "8931000000000000029"}, {ICCID: "89310"}, {MSISDN: "+316000000"}, {MSISDN: "31600000123"},
			{Name: "pump"}, {Name: "PUMP house"}, {Name: "gate north"}, {Name: "éc"}, {Name: "none"},
			{Labels: []string{"site=s3"}}, {Labels: []string{"rare"}}, {Labels: []string{"site=s0", "rare=yes"}}, {Labels: []string{"sit"}}, {Labels: []string{"site="}},
			{Disabled: &yes}, {Disabled: new(bool), Labels: []string{"site=s0"}}, {Name: "pump", Labels: []string{"site=s1"}, ID: "IMEI"},
		} {
			for _, sort := range []Sort{ByID, ByCreated, ByModified} {
				for _, limit := range []int{few, 1000} {
					for _, reverse := range []bool{false, true} {
						want := expected(all, search, sort, reverse)
						if got := listAll(t, r, ListQuery{Search: search, Sort: sort, Limit: limit, Reverse: reverse}); !slices.Equal(got, want) {
							t.Fatalf("%+v by %s, %d at once, reverse %v: %d devices, want %d\n%v\n%v", search, sort, limit, reverse, len(got), len(want), got, want)
						}
					}
				}
			}
		}
		if _, _, err := r.ListDevices(t.Context(), ListQuery{Sort: ByCreated, After: "IMEI:000000000000001"}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a cursor of another list: %v", err)
		}
	})
}

// expected is the search written down plainly.
func expected(all []Device, s Search, sort Sort, reverse bool) (ids []DeviceID) {
	found := slices.Clone(all)
	slices.SortFunc(found, func(a, b Device) int {
		c := 0
		switch sort {
		case ByCreated:
			c = a.CreatedAt.Compare(b.CreatedAt)
		case ByModified:
			c = a.ModifiedAt.Compare(b.ModifiedAt)
		}
		if c == 0 {
			c = strings.Compare(string(a.ID), string(b.ID))
		}
		return c
	})
	for _, d := range found {
		id := strings.ToUpper(string(d.ID))
		_, value, _ := strings.Cut(id, ":")
		want := strings.ToUpper(s.ID)
		ok := (s.ID == "" || strings.HasPrefix(id, want) || strings.HasPrefix(value, want)) &&
			strings.HasPrefix(d.ICCID, s.ICCID) && strings.HasPrefix(d.MSISDN, strings.TrimPrefix(s.MSISDN, "+")) &&
			(s.Disabled == nil || *s.Disabled == d.Disabled)
		for _, w := range strings.Fields(strings.ToLower(s.Name)) {
			parts := strings.FieldsFunc(strings.ToLower(d.Name), func(r rune) bool { return strings.ContainsRune(" -/", r) })
			ok = ok && slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, w) })
		}
		for _, l := range s.Labels {
			name, value, exact := strings.Cut(l, "=")
			have, has := d.Labels[name]
			ok = ok && has && (!exact || have == value)
		}
		if ok {
			ids = append(ids, d.ID)
		}
	}
	if reverse {
		slices.Reverse(ids)
	}
	return ids
}

// What a device was found by before a change finds it no more.
func TestSearchFollowsChanges(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := testRegistry(t, s)
		found := func(s Search) bool {
			t.Helper()
			return len(listAll(t, r, ListQuery{Search: s})) == 1
		}
		put(t, r, Device{ID: imei, Unsigned: true, Name: "pump seven", ICCID: "8931000000000000001", MSISDN: "31612345678", Labels: map[string]string{"a": "1", "b": "2"}})
		before := []Search{{Name: "seven"}, {ICCID: "8931"}, {MSISDN: "31612345678"}, {Labels: []string{"a=1"}}}
		for _, s := range before {
			if !found(s) {
				t.Errorf("%+v finds nothing", s)
			}
		}
		put(t, r, Device{ID: imei, Unsigned: true, Name: "pump eight", Labels: map[string]string{"a": "2", "b": "2"}})
		for _, s := range before {
			if found(s) {
				t.Errorf("%+v still finds it", s)
			}
		}
		if !found(Search{Name: "pump eight", Labels: []string{"a=2", "b=2"}}) {
			t.Error("it is not found by what it is")
		}
		if err := r.DeleteDevice(t.Context(), imei, AnyRevision); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"devices", "devices:terms", "devices:created", "devices:modified"} {
			if n, err := s.Client().ZCard(t.Context(), "m2m:{0}:"+key).Result(); err != nil || n != 0 {
				t.Errorf("%s holds %d, %v", key, n, err)
			}
		}
	})
}

// Devices of before there were indexes are found, once the registry has run.
func TestReindex(t *testing.T) {
	s := redistest.Start(t)
	r := testRegistry(t, s)
	crowd(t, r)
	want := listAll(t, r, ListQuery{Search: Search{Labels: []string{"site=s3"}}, Sort: ByCreated})
	if err := s.Client().Del(t.Context(), "m2m:{0}:devices:terms", "m2m:{0}:devices:created", "m2m:{0}:devices:modified").Err(); err != nil {
		t.Fatal(err)
	}
	follow(t, testRegistry(t, s))
	for limit := time.Now().Add(patience); ; {
		if n, err := s.Client().ZCard(t.Context(), "m2m:{0}:devices:created").Result(); err == nil && n == 300 {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("not indexed")
		}
	}
	if got := listAll(t, r, ListQuery{Search: Search{Labels: []string{"site=s3"}}, Sort: ByCreated}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestUpdateAtARevision(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := testRegistry(t, s), t.Context()
		d := put(t, r, Device{ID: imei, Secret: secret, Labels: map[string]string{"a": "1"}})
		rename := func(d *Device) error { d.Name, d.Labels["b"] = "new", "2"; return nil }
		e, err := r.UpdateDevice(ctx, imei, d.Revision(), rename)
		if err != nil || e.Name != "new" || e.Labels["a"] != "1" || e.Labels["b"] != "2" || e.Secrets != 1 || e.Revision() <= d.Revision() {
			t.Fatalf("update: %+v, %v", e, err)
		}
		if _, err := r.UpdateDevice(ctx, imei, d.Revision(), rename); !errors.Is(err, ErrRevision) {
			t.Errorf("at the old revision: %v", err)
		}
		if _, err := r.UpdateDevice(ctx, other, AnyRevision, rename); !errors.Is(err, ErrUnknown) {
			t.Errorf("unknown: %v", err)
		}
		if err := r.DeleteDevice(ctx, imei, d.Revision()); !errors.Is(err, ErrRevision) {
			t.Errorf("delete at the old revision: %v", err)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, secret)); err != nil {
			t.Errorf("its secret: %v", err)
		}
		if err := r.DeleteDevice(ctx, imei, e.Revision()); err != nil {
			t.Errorf("delete: %v", err)
		}
		a, _, err := r.PutApp(ctx, App{Name: "a", Scopes: []Scope{ScopeUplinkRead}}, Create)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.UpdateApp(ctx, "a", a.Revision(), func(a *App) error { a.Scopes = []Scope{ScopeAdmin}; return nil })
		if err != nil || b.Scopes[0] != ScopeAdmin {
			t.Errorf("update app: %+v, %v", b, err)
		}
		if err := r.DeleteApp(ctx, "a", a.Revision()); !errors.Is(err, ErrRevision) {
			t.Errorf("delete app at the old revision: %v", err)
		}
	})
}

func TestAttachedKeysGoWithTheirDevice(t *testing.T) {
	s := redistest.Start(t)
	r := testRegistry(t, s, func(c *RegistryConfig) {
		c.Attached = func(id DeviceID) []string {
			return []string{"m2m:{0}:seen:" + string(id), "m2m:{0}:latest:" + string(id)}
		}
	})
	put(t, r, Device{ID: imei, Unsigned: true})
	s.Client().Set(t.Context(), "m2m:{0}:seen:"+string(imei), "x", 0)
	s.Client().Set(t.Context(), "m2m:{0}:seen:"+string(other), "x", 0)
	if err := r.DeleteDevice(t.Context(), imei, AnyRevision); err != nil {
		t.Fatal(err)
	}
	if keys := s.Client().Keys(t.Context(), "m2m:{0}:seen:*").Val(); !slices.Equal(keys, []string{"m2m:{0}:seen:" + string(other)}) {
		t.Errorf("left: %v", keys)
	}
}

func TestPutDevices(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx := testRegistry(t, s, func(c *RegistryConfig) { c.SecretKey = "a key of sixteen bytes" }), t.Context()
		put(t, r, Device{ID: imei, Secret: secret, Name: "old"})
		put(t, r, Device{ID: other, Unsigned: true})
		ids := []DeviceID{imei, other, uuid, benchID(1)}
		wish := func(i int, old *Device) (Device, error) {
			if (old == nil) != (i >= 2) {
				t.Errorf("%d: old is %+v", i, old)
			}
			return []Device{{Name: "new", Secret: secret}, {Unsigned: true}, {Secret: newer}, {Secret: "short"}}[i], nil
		}
		dry, err := r.PutDevices(ctx, ids, Bulk{Dry: true}, wish)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := r.GetDevice(ctx, imei); err != nil || d.Name != "old" {
			t.Errorf("a dry run writes: %+v, %v", d, err)
		}
		got, err := r.PutDevices(ctx, ids, Bulk{}, wish)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range got {
			if dry[i].Changed != c.Changed || (dry[i].Err == nil) != (c.Err == nil) || dry[i].NewSecret != c.NewSecret {
				t.Errorf("%d: dry %+v, then %+v", i, dry[i], c)
			}
		}
		if !got[0].Changed || got[0].NewSecret || got[1].Changed || !got[2].Changed || !got[2].NewSecret || !errors.Is(got[3].Err, ErrInvalid) {
			t.Errorf("%+v", got)
		}
		again, err := r.PutDevices(ctx, ids[:1], Bulk{}, func(i int, old *Device) (Device, error) { return Device{Name: "new", Secret: secret}, nil })
		if err != nil || again[0].Changed {
			t.Errorf("again: %+v, %v", again, err)
		}
		rotated := func(to string) DeviceChange {
			t.Helper()
			c, err := r.PutDevices(ctx, ids[:1], Bulk{Window: time.Hour}, func(i int, old *Device) (Device, error) {
				old.Secret = to
				return *old, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return c[0]
		}
		if c := rotated(newer); c.Err != nil || !c.NewSecret || c.After.Secrets != 2 {
			t.Errorf("a new secret: %+v", c)
		}
		if c := rotated(secret); !errors.Is(c.Err, ErrInvalid) || strings.Contains(c.Err.Error(), secret) {
			t.Errorf("the secret of before: %+v", c)
		}
		if _, err := r.VerifyToken(ctx, imei, body, Token(body, newer)); err != nil {
			t.Errorf("the new secret: %v", err)
		}
	})
}

// Two that put the same devices at once both come to an end, and neither is half done.
func TestPutDevicesMeetsOthers(t *testing.T) {
	s := redistest.Start(t)
	here, there := testRegistry(t, s), testRegistry(t, s)
	ids := make([]DeviceID, 100)
	for i := range ids {
		ids[i] = benchID(i)
	}
	ended := make(chan error, 2)
	for n, r := range []*Registry{here, there} {
		go func() {
			for round := range 10 {
				changes, err := r.PutDevices(context.Background(), ids, Bulk{}, func(i int, old *Device) (Device, error) {
					return Device{Unsigned: true, Labels: map[string]string{fmt.Sprintf("by%d", n): fmt.Sprint(round)}}, nil
				})
				for _, c := range changes {
					err = errors.Join(err, c.Err)
				}
				if err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	n := s.Client().ZCard(t.Context(), "m2m:{0}:devices:terms").Val()
	if n != 100 {
		t.Errorf("%d terms for 100 devices with one label each", n)
	}
}
