package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

func TestScopesArePerOperation(t *testing.T) {
	a := start(t, redistest.Start(t))
	scopes := []auth.Scope{
		auth.ScopeUplinkRead, auth.ScopeDownlinkRead, auth.ScopeDownlinkWrite, auth.ScopeRejectRead,
		auth.ScopeDeviceRead, auth.ScopeDeviceWrite, auth.ScopeAdmin,
	}
	keys := map[auth.Scope]string{}
	for _, s := range scopes {
		keys[s] = a.app("app-"+strings.ReplaceAll(string(s), ".", "-"), string(s))
	}
	for _, op := range []struct {
		method, path string
		scopes       string // beside admin
	}{
		{"GET", "/v1/devices", "device.read"},
		{"GET", "/v1/devices/" + imei1, "device.read"},
		{"POST", "/v1/devices", "device.write"},
		{"DELETE", "/v1/devices/" + imei1, "device.write"},
		{"GET", "/v1/apps", ""},
		{"POST", "/v1/apps", ""},
		{"GET", "/v1/apps/x", ""},
		{"DELETE", "/v1/apps/x", ""},
		{"GET", "/v1/uplinks", "uplink.read"},
		{"GET", "/v1/rejects", "reject.read"},
		{"GET", "/v1/events", "downlink.read uplink.read"},
		{"POST", "/v1/explain", "device.read"},
		{"GET", "/v1/live?kind=uplinks&after=x", "uplink.read"}, // 422 when allowed: no stream is opened
		{"GET", "/v1/live?kind=rejects&after=x", "reject.read"},
		{"GET", "/v1/live?kind=events&after=x", "downlink.read uplink.read"},
		{"GET", "/v1/live?after=x", "uplink.read downlink.read reject.read"},
		{"GET", "/v1/live?kind=steps&device=" + imei1 + "&after=x", "device.read"},
		{"GET", "/v1/live?device=" + imei1 + "&after=x", "uplink.read downlink.read reject.read device.read"},
		{"GET", "/v1/trace?device=x", "device.read"},
	} {
		for _, s := range scopes {
			got := a.call(keys[s], op.method, op.path, "")
			allowed := s == auth.ScopeAdmin || strings.Contains(" "+op.scopes+" ", " "+string(s)+" ")
			if (got.status != http.StatusForbidden) != allowed {
				t.Errorf("%s %s with %s: %d %s", op.method, op.path, s, got.status, got.body)
			}
			if !allowed && !contains(got.body, "lacks the scope") {
				t.Errorf("%s %s with %s: %s does not name the scope", op.method, op.path, s, got.body)
			}
		}
	}
}

func TestKeysAreAskedFor(t *testing.T) {
	a := start(t, redistest.Start(t))
	for _, c := range []struct{ name, header, challenge string }{
		{"none", "", `Bearer realm="m2mbridge"`},
		{"another scheme", "Basic " + adminKey, `Bearer realm="m2mbridge"`},
		{"no key", "Bearer ", `Bearer realm="m2mbridge"`},
		{"wrong key", "Bearer x" + adminKey, `Bearer realm="m2mbridge", error="invalid_token"`},
		{"key and more", "Bearer " + adminKey + " x", `Bearer realm="m2mbridge", error="invalid_token"`},
	} {
		for _, path := range []string{"/v1/devices", "/v1/uplinks", "/v1/live", "/v1/apps"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.header != "" {
				req.Header.Set("Authorization", c.header)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s %s: %d %q", c.name, path, resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
			}
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/v1/apps", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "bearer "+adminKey) // the scheme's case does not matter
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("bearer: %d", resp.StatusCode)
	}
}

// An app with a device filter must not learn of other devices, by no parameter
// and in no answer.
func TestAppSeesItsDevicesOnly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for name, filter := range map[string]string{"ids": imei1, "labels": "site=depot"} {
			t.Run(name, func(t *testing.T) {
				a := start(t, server)
				if err := a.client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				key := a.app("one", "uplink.read downlink.read reject.read device.read device.write", filter)
				a.device(imei1, `{"site":"depot"}`)
				a.device(imei2, `{"site":"home","name":"depot"}`)
				a.device(uuid1, "")
				for _, d := range []string{imei1, imei2, uuid1, ""} {
					a.add(uplinks, d, "via", "http", "pack", `[{"n":"from","vs":"`+d+`"}]`)
					a.add(rejects, d, "via", "http", "reason", "bad", "detail", "of "+d, "body", "of "+d)
					a.add(events, d, "kind", "downlink", "id", "of "+d, "state", "QUEUED")
				}
				a.readEverything(key)
			})
		}
	})
}

// readEverything tries what an app could to read another's device.
func (a *testAPI) readEverything(key string) {
	a.t.Helper()
	others := []string{imei2, uuid1, strings.ToLower(imei2), "IMEI:999999999999999"}
	for _, list := range []string{"/v1/devices", "/v1/uplinks", "/v1/rejects", "/v1/events"} {
		for _, query := range []string{
			"", "?limit=1", "?limit=1000", "?after=0", "?cursor=0", "?cursor=" + imei1, "?sort=-id", "?sort=-id&limit=1", "?device=" + imei1,
			"?after=u0-0.r0-0.e0-0", "?createdSince=2020-01-01T00:00:00Z",
		} {
			got := a.call(key, "GET", list+query, "")
			if got.status == http.StatusInternalServerError {
				a.t.Errorf("%s: %d %s", list+query, got.status, got.body)
			}
			if strings.Contains(query, "limit=1000") && (got.status != 200 || !contains(got.body, imei1)) {
				a.t.Errorf("%s does not show the app's own device: %d %s", list+query, got.status, got.body)
			}
			a.hidesOthers(list+query, got.body)
		}
	}
	for _, d := range others {
		for _, path := range []string{"/v1/uplinks?device=", "/v1/rejects?device=", "/v1/events?device=", "/v1/live?device=", "/v1/live?kind=steps&device=", "/v1/trace?device="} {
			if got := a.call(key, "GET", path+d, ""); got.status != http.StatusForbidden {
				a.t.Errorf("%s%s: %d %s", path, d, got.status, got.body)
			}
		}
		for _, method := range []string{"GET", "DELETE"} {
			if got := a.call(key, method, "/v1/devices/"+d, ""); got.status != http.StatusNotFound {
				a.t.Errorf("%s %s: %d %s", method, d, got.status, got.body)
			}
		}
		got := a.call(key, "POST", "/v1/explain", fmt.Sprintf(`{"body":"","token":"x","device":%q}`, d))
		if got.status != 200 || !contains(got.body, "device-unknown") {
			a.t.Errorf("explain %s: %d %s", d, got.status, got.body)
		}
	}
	if got := a.call(key, "POST", "/v1/devices", `{"id":"IMEI:999999999999999","labels":{"site":"home"}}`); got.status != http.StatusForbidden {
		a.t.Errorf("create: %d %s", got.status, got.body)
	}
	a.want(http.StatusOK, adminKey, "GET", "/v1/devices/"+imei2, "", nil) // it was not removed
	l := a.live(key, "?after=0", "")
	for _, event := range []string{"uplink", "reject", "event"} {
		m, ok := l.next()
		if !ok || m.event != event || !strings.Contains(m.data, imei1) {
			a.t.Errorf("live: %+v", m)
		}
		a.hidesOthers("live", []byte(m.data))
	}
	a.uplink(imei2, 1)
	last := a.uplink(imei1, 2)
	l.expect("uplink", last)
}

func (a *testAPI) hidesOthers(what string, answer []byte) {
	a.t.Helper()
	for _, d := range []string{imei2, uuid1, "999999999999999"} {
		if contains(answer, strings.TrimPrefix(strings.TrimPrefix(d, "IMEI:"), "DVNUUID:")) {
			a.t.Errorf("%s shows %s: %s", what, d, answer)
		}
	}
}

func TestAppPagesThroughItsDevices(t *testing.T) {
	a := start(t, redistest.Start(t))
	var want []string
	for i := range 9 {
		id, labels := fmt.Sprintf("IMEI:35672610440842%d", i), `{"site":"home"}`
		if i%3 == 1 {
			labels = `{"site":"depot"}`
			want = append(want, id)
		}
		a.device(id, labels)
	}
	for name, filter := range map[string][]string{"labels": {"site=depot"}, "ids": want} {
		key := a.app("by-"+name, "device.read", filter...)
		for _, sort := range []string{"id", "-id"} {
			var got []string
			for cursor := ""; ; {
				var page Page[Device]
				a.want(http.StatusOK, key, "GET", "/v1/devices?limit=1&sort="+sort+"&cursor="+cursor, "", &page)
				for _, d := range page.Items {
					got = append(got, d.ID)
				}
				if cursor = page.Cursor; cursor == "" {
					break
				}
				if !slices.Contains(want, cursor) {
					t.Errorf("%s: the cursor is %s", name, cursor)
				}
			}
			if sort == "-id" {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: got %v, want %v", name, sort, got, want)
			}
		}
	}
}
