package api

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// imei is the n-th device of a test.
func imei(n int) string { return fmt.Sprintf("IMEI:3567261044%05d", n) }

// ids follows a list through its pages.
func (a *testAPI) ids(key, query string, limit int) (ids []string) {
	a.t.Helper()
	for cursor := ""; ; {
		var page Page[Device]
		a.want(200, key, "GET", fmt.Sprintf("/v1/devices?limit=%d&cursor=%s&%s", limit, url.QueryEscape(cursor), query), "", &page)
		for _, d := range page.Items {
			ids = append(ids, d.ID)
		}
		if cursor = page.Cursor; cursor == "" {
			return ids
		}
		if !slices.Contains(ids, cursor[strings.IndexByte(cursor, '.')+1:]) {
			a.t.Fatalf("the cursor %q names no device that was shown", cursor)
		}
		if len(ids) > 10000 {
			a.t.Fatal("the list has no end")
		}
	}
}

func TestDevicesAreSearched(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		for _, body := range []string{
			`{"id":"` + imei1 + `","name":"Water pump 7","iccid":"8931080019073497795","msisdn":"31612345678","labels":{"site":"depot","row":"7"}}`,
			`{"id":"` + imei2 + `","name":"Water tank","msisdn":"31699999999","labels":{"site":"depot"},"disabled":true}`,
			`{"id":"` + uuid1 + `","labels":{"site":"other"},"unsigned":true}`,
		} {
			a.want(201, adminKey, "POST", "/v1/devices", body, nil)
		}
		all := a.app("all", "device.read", imei1, imei2, uuid1)
		byLabel := a.app("label", "device.read", "site=depot", "site=other")
		for query, want := range map[string]string{
			"id=imei:3567": imei1, "id=IMEI:": imei1 + " " + imei2, "id=dvnuuid:0B2A": uuid1, "iccid=8931": imei1, "msisdn=316": imei1 + " " + imei2, "msisdn=%2B3169": imei2,
			"name=WATER": imei1 + " " + imei2, "name=pu+wat": imei1, "name=ump": "", "label=site%3Ddepot": imei1 + " " + imei2, "label=row": imei1,
			"label=site%3Ddepot&label=row%3D7": imei1, "label=site%3Ddepot&label=row%3D8": "", "disabled=true": imei2, "disabled=false": imei1 + " " + uuid1,
			"createdSince=2001-01-01T00:00:00Z&label=site%3Dother": uuid1, "modifiedBefore=2001-01-01T00:00:00Z": "",
		} {
			wanted := strings.Fields(want)
			slices.Sort(wanted)
			for name, key := range map[string]string{"admin": adminKey, "app of ids": all, "app of labels": byLabel} {
				if got := a.ids(key, query, 1); !slices.Equal(got, wanted) {
					t.Errorf("%s as %s: %v, want %v", query, name, got, wanted)
				}
			}
		}
		a.expect(a.call(adminKey, "GET", "/v1/devices?disabled=maybe", ""), 422, "query.disabled")
		a.expect(a.call(adminKey, "GET", "/v1/devices?sort=createdAt&cursor="+imei1, ""), 422, "query.cursor")
		a.expect(a.call(adminKey, "GET", "/v1/devices?cursor=x", ""), 422, "query.cursor")
	})
}

// Whatever the filter and the order, each device that an app sees is listed once.
func TestListsAreWholeInEveryOrder(t *testing.T) {
	a := start(t, redistest.Start(t), partitions(3))
	const n = 47
	var filter []string
	for i := range n {
		labels := `{"site":"` + string(rune('a'+i%3)) + `"}`
		if i%5 == 0 {
			filter = append(filter, imei(i))
		}
		a.device(imei(i), labels)
	}
	for i := range n { // so that the orders differ
		a.expect(a.patch(adminKey, "/v1/devices/"+imei((i*7)%n), `{"name":"x"}`), 200)
	}
	many := []string{"site=a"}
	for i := range maxLabelSources {
		many = append(many, fmt.Sprintf("x=%d", i))
	}
	sees := func(i int, app string) bool {
		switch app {
		case "ids":
			return i%5 == 0
		case "label":
			return i%3 == 0
		case "many":
			return i%3 == 0
		case "mixed":
			return i%5 == 0 || i%3 < 2
		}
		return true
	}
	for app, devices := range map[string][]string{"": nil, "ids": filter, "label": {"site=a"}, "many": many, "mixed": append(filter, "site=a", "site=b")} {
		key := adminKey
		if app != "" {
			key = a.app(app, "device.read", devices...)
		}
		for _, sort := range []string{"id", "createdAt", "modifiedAt"} {
			var places []place // two may be of the same millisecond
			for i := range n {
				if d, err := a.registry.GetDevice(t.Context(), auth.DeviceID(imei(i))); err != nil {
					t.Fatal(err)
				} else if sees(i, app) {
					places = append(places, placeOf(auth.Sort(sort), &d))
				}
			}
			slices.SortFunc(places, place.compare)
			var want []string
			for _, p := range places {
				want = append(want, string(p.id))
			}
			for _, limit := range []int{1, 4, 50} {
				if got := a.ids(key, "sort="+sort, limit); !slices.Equal(got, want) {
					t.Errorf("%s by %s, %d each:\ngot  %v\nwant %v", app, sort, limit, got, want)
				}
			}
			slices.Reverse(want)
			if got := a.ids(key, "sort=-"+sort, 3); !slices.Equal(got, want) {
				t.Errorf("%s by -%s:\ngot  %v\nwant %v", app, sort, got, want)
			}
		}
	}
}

// A page is where it was although devices come, change and go between pages.
func TestPagesAreStable(t *testing.T) {
	a := start(t, redistest.Start(t))
	for i := range 10 {
		a.device(imei(i*10), `{"site":"a"}`)
	}
	key := a.app("site", "device.read", "site=a")
	var first, second Page[Device]
	a.want(200, key, "GET", "/v1/devices?limit=4&sort=createdAt", "", &first)
	a.want(204, adminKey, "DELETE", "/v1/devices/"+imei(30), "", nil) // the cursor's own
	a.device(imei(5), `{"site":"a"}`)
	a.expect(a.patch(adminKey, "/v1/devices/"+imei(60), `{"name":"x"}`), 200)
	a.want(200, key, "GET", "/v1/devices?limit=4&sort=createdAt&cursor="+first.Cursor, "", &second)
	if len(second.Items) != 4 || second.Items[0].ID != imei(40) || second.Items[2].ID != imei(60) {
		t.Errorf("%+v", second.Items)
	}
}

// fleet tells of devices what a test says.
type fleet struct{ seen time.Time }

func (f fleet) Values(_ context.Context, id auth.DeviceID) ([]Value, error) {
	return []Value{{Name: "temperature", Value: []byte("21.50"), Unit: "Cel", Time: f.seen, Uplink: "1-0"}}, nil
}

type fleetActivity struct{ fleet }

func (f fleetActivity) Look(_ context.Context, ids []auth.DeviceID) ([]Activity, error) {
	all := make([]Activity, len(ids))
	for i, id := range ids {
		if id == imei1 {
			all[i] = Activity{LastSeen: &Seen{At: f.seen, Via: "http", Uplink: "1-0"}, Counters: Counters{Uplinks: 3, Refused: 1}}
		}
	}
	return all, nil
}

type fleetPresence struct{ fleet }

func (f fleetPresence) Look(_ context.Context, ids []auth.DeviceID) ([]*Presence, error) {
	all := make([]*Presence, len(ids))
	all[0] = &Presence{State: "online", Via: "mqtt", Since: f.seen}
	return all, nil
}

func TestDevicesAreShownWithWhatTheyDo(t *testing.T) {
	f := fleet{time.Unix(1700000000, 0).UTC()}
	a := start(t, redistest.Start(t), func(c *Config) { c.Activities, c.Presences, c.Values = fleetActivity{f}, fleetPresence{f}, f })
	a.device(imei1, "")
	a.device(imei2, "")
	got := a.call(adminKey, "GET", path1, "")
	a.expect(got, 200, `"lastSeen":{"at":"2023-11-14T22:13:20Z","via":"http","uplink":"1-0"}`, `"counters":{"uplinks":3,"repeats":0,"heartbeats":0,"refused":1}`,
		`"presence":{"state":"online","via":"mqtt","since":"2023-11-14T22:13:20Z"}`, `"values":[{"name":"temperature","value":21.50,"unit":"Cel","time":"2023-11-14T22:13:20Z","uplink":"1-0"}]`)
	got = a.call(adminKey, "GET", "/v1/devices", "")
	a.expect(got, 200, `"lastSeen"`, `"presence"`)
	if contains(got.body, "temperature") || strings.Count(string(got.body), `"lastSeen"`) != 1 {
		t.Errorf("%s", got.body)
	}
	// Presence and values are of the scope of uplinks.
	got = a.call(a.app("clerk", "device.read"), "GET", path1, "")
	a.expect(got, 200, `"counters"`)
	if contains(got.body, "presence") || contains(got.body, "values") {
		t.Errorf("%s", got.body)
	}
}
