package auth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// faultsOf inspects the registry, and holds what is told to its promise: no telephone number.
func faultsOf(t *testing.T, r *Registry, mend bool) (list []string) {
	t.Helper()
	look := r.Check
	if mend {
		look = r.Mend
	}
	err := look(t.Context(), Inspection{Found: func(f Fault) {
		if strings.Contains(f.String(), "31612345678") || strings.Contains(f.String(), secret) {
			t.Errorf("it tells %s", f)
		}
		list = append(list, f.String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// Each case is what outside hands did to two devices and an app.
func TestDoctor(t *testing.T) {
	const p = "m2m:{0}:"
	cases := []struct {
		name  string
		want  []string // what is found, all of it
		hands func(c redis.Pipeliner)
		stays bool // nobody but the operator can mend it
	}{
		{"device not listed", []string{"it is not in the list of ids"}, func(c redis.Pipeliner) { c.ZRem(t.Context(), p+"devices", string(imei)) }, false},
		{
			"all indexes gone", []string{"a search would not find it", "it is not in the list by change", "it is not in the list by creation", "it is not in the list of ids"},
			func(c redis.Pipeliner) {
				for _, index := range []string{"devices", "devices:terms", "devices:created", "devices:modified"} {
					c.ZRem(t.Context(), p+index, string(imei))
				}
				c.Del(t.Context(), p+"devices:terms")
			}, false,
		},
		{"wrong times", []string{"it is in the wrong place of the list by change", "it is in the wrong place of the list by creation"}, func(c redis.Pipeliner) {
			c.ZAdd(t.Context(), p+"devices:created", redis.Z{Score: 1, Member: string(imei)})
			c.ZAdd(t.Context(), p+"devices:modified", redis.Z{Score: 1, Member: string(imei)})
		}, false},
		{"a term gone", []string{"a search would not find it"}, func(c redis.Pipeliner) {
			c.ZRem(t.Context(), p+"devices:terms", "m31612345678\x00"+string(imei))
		}, false},
		{"a term too many", []string{"a search would find it by what it has not"}, func(c redis.Pipeliner) {
			c.ZAdd(t.Context(), p+"devices:terms", redis.Z{Member: "lsite=moon\x00" + string(imei)})
		}, false},
		{"a term of none", []string{"a search would find it by what it has not"}, func(c redis.Pipeliner) {
			c.ZAdd(t.Context(), p+"devices:terms", redis.Z{Member: "31612345678"})
		}, false},
		{
			"device's hash gone", []string{
				"a search would find it by what it has not", "it is in the list by change, and there is none",
				"it is in the list by creation, and there is none", "it is in the list of ids, and there is none",
			},
			func(c redis.Pipeliner) { c.Del(t.Context(), p+"device:"+string(imei)) }, false,
		},
		{"member of none", []string{"it is in the list by change, and there is none"}, func(c redis.Pipeliner) {
			c.ZAdd(t.Context(), p+"devices:modified", redis.Z{Score: 1, Member: "31612345678"})
		}, false},
		{"other revision", []string{"its revision is not that of its record"}, func(c redis.Pipeliner) { c.HSet(t.Context(), p+"device:"+string(imei), "rev", "17") }, false},
		{"no revision", []string{"its revision is not that of its record"}, func(c redis.Pipeliner) { c.HDel(t.Context(), p+"device:"+string(imei), "rev") }, false},
		{"app not listed", []string{"it is not in the list of ids"}, func(c redis.Pipeliner) { c.Del(t.Context(), p+"apps") }, false},
		{"app's hash gone", []string{"it is in the list of ids, and there is none"}, func(c redis.Pipeliner) { c.Del(t.Context(), p+"app:dashboard") }, false},
		{"device damaged", []string{"it is damaged, and cannot be read"}, func(c redis.Pipeliner) { c.HSet(t.Context(), p+"device:"+string(imei), "auth", "x") }, true},
		{"app damaged", []string{"it is damaged, and cannot be read"}, func(c redis.Pipeliner) { c.HDel(t.Context(), p+"app:dashboard", "about") }, true},
		{"no hash", []string{"it is damaged, and cannot be read"}, func(c redis.Pipeliner) {
			c.Del(t.Context(), p+"device:"+string(imei))
			c.Set(t.Context(), p+"device:"+string(imei), "x", 0)
		}, true},
		{"misplaced", []string{"its key is where nobody looks for it"}, func(c redis.Pipeliner) {
			c.HSet(t.Context(), "m2m:{1}:device:"+string(imei), "auth", "x")
		}, true},
	}
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, c := range cases {
			if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			r := testRegistry(t, s)
			put(t, r, Device{ID: imei, Name: "Pump 7", MSISDN: "31612345678", Labels: map[string]string{"site": "depot"}, Secret: secret})
			put(t, r, Device{ID: other, Secret: newer})
			if _, _, err := r.PutApp(t.Context(), App{Name: "dashboard", Scopes: []Scope{ScopeUplinkRead}}, Create); err != nil {
				t.Fatal(err)
			}
			if found := faultsOf(t, r, false); len(found) > 0 {
				t.Fatalf("%s: before: %q", c.name, found)
			}
			if _, err := s.Client().Pipelined(t.Context(), func(p redis.Pipeliner) error { c.hands(p); return nil }); err != nil {
				t.Fatal(err)
			}
			for _, mend := range []bool{false, true} { // a check changes nothing: the mending finds as much
				found := faultsOf(t, r, mend)
				if len(found) != len(c.want) {
					t.Errorf("%s: mend %v: found %q", c.name, mend, found)
					continue
				}
				for i, want := range c.want {
					if !strings.HasSuffix(found[i], want) {
						t.Errorf("%s: mend %v: found %q, want %q", c.name, mend, found[i], want)
					}
				}
			}
			if found := faultsOf(t, r, false); len(found) > 0 != c.stays {
				t.Errorf("%s: after: %q", c.name, found)
			}
		}
	})
}

// What is mended is what was: the device is found, verified and changed, the app's key is known to those that follow.
func TestDoctorMendsWhatWas(t *testing.T) {
	s := redistest.Start(t)
	r := testRegistry(t, s)
	node := follow(t, testRegistry(t, s))
	put(t, r, Device{ID: imei, Name: "Pump 7", Secret: secret})
	_, key, err := r.PutApp(t.Context(), App{Name: "dashboard", Scopes: []Scope{ScopeUplinkRead}}, Create)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Client().Del(t.Context(), "m2m:{0}:apps", "m2m:{0}:devices", "m2m:{0}:devices:terms").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client().HSet(t.Context(), "m2m:{0}:device:"+string(imei), "rev", 1).Err(); err != nil {
		t.Fatal(err)
	}
	faultsOf(t, r, true)
	node.await(Change{Kind: ChangeApp, App: "dashboard"})
	if a, err := node.AppByKey(t.Context(), key); err != nil || a.Name != "dashboard" {
		t.Errorf("app: %v, %v", a, err)
	}
	page, _, err := r.ListDevices(t.Context(), ListQuery{Search: Search{Name: "pump"}, Limit: 10})
	if err != nil || len(page) != 1 {
		t.Errorf("found %v, %v", page, err)
	}
	put(t, r, Device{ID: imei, Name: "Pump 8"})
}

// More devices than a page, in several partitions.
func TestDoctorPages(t *testing.T) {
	s := redistest.Start(t)
	r := testRegistry(t, s, func(c *RegistryConfig) { c.Keys = Keyspace{Partitions: 3} })
	list := make([]DeviceID, 3*doctorPage)
	for i := range list {
		id := DeviceID(fmt.Sprintf("IMEI:%015d", i))
		list[i] = id
		put(t, r, Device{ID: id, Name: "Pump", Unsigned: true})
	}
	seen := 0
	check := func() (n int) {
		err := r.Check(t.Context(), Inspection{Found: func(Fault) { n++ }, Seen: func(n int) { seen += n }})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := check(); n > 0 || seen < 2*len(list) { // each hash and each term
		t.Errorf("%d faults, %d seen", n, seen)
	}
	for p := range 3 {
		if err := s.Client().Del(t.Context(), r.keys.devices(p), r.keys.terms(p)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := check(); n != 2*len(list) {
		t.Errorf("%d faults, want two a device", n)
	}
	faultsOf(t, r, true)
	if n := check(); n > 0 {
		t.Errorf("%d faults remain", n)
	}
}
