package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"m2mbridge/auth/redistest"
)

// patch is a merge patch with headers.
func (a *testAPI) patch(key, path, body string, header ...string) answer {
	a.t.Helper()
	return a.call(key, "PATCH", path, body, header...)
}

func (a *testAPI) expect(got answer, status int, parts ...string) {
	a.t.Helper()
	if got.status != status {
		a.t.Fatalf("%d %s, want %d", got.status, got.body, status)
	}
	for _, p := range parts {
		if !contains(got.body, p) {
			a.t.Errorf("no %s in %s", p, got.body)
		}
	}
}

const path1 = "/v1/devices/" + imei1

func TestDeviceIsPatched(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.device(imei1, `{"site":"depot","row":"7"}`)
		a.expect(a.patch(adminKey, path1, `{"name":"Pump 7","iccid":"8931080019073497795","sms":false,"labels":{"row":null,"kind":"pump"}}`), 200)
		var d Device
		got := a.want(200, adminKey, "GET", path1, "", &d)
		if d.Name != "Pump 7" || d.SMS || d.Labels["site"] != "depot" || d.Labels["kind"] != "pump" || len(d.Labels) != 2 || d.Secrets != 1 {
			t.Errorf("%s", got.body)
		}
		a.expect(a.patch(adminKey, path1, `{"name":null,"sms":null,"labels":null,"disabled":true}`, "Content-Type", "application/merge-patch+json"), 200)
		d = Device{}
		got = a.want(200, adminKey, "GET", path1, "", &d)
		if d.Name != "" || !d.SMS || d.ICCID == "" || len(d.Labels) != 0 || !d.Disabled {
			t.Errorf("%s", got.body)
		}
		for body, want := range map[string]string{
			`{"secret":"` + secretOf(imei2) + `"}`: "body.secret", `{"id":"` + imei2 + `"}`: "body.id", `{"sms":"no"}`: "body.sms",
			`{"labels":{"a":7}}`: "body.labels.a", `{"iccid":"12"}`: "iccid", `[]`: "body",
		} {
			a.expect(a.patch(adminKey, path1, body), 422, want)
		}
		a.expect(a.patch(adminKey, "/v1/devices/"+imei2, `{"name":"x"}`), 404)
	})
}

func TestDeviceChangesAreConditional(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, "")
	got := a.call(adminKey, "GET", path1, "")
	tag := got.header.Get("ETag")
	if !strings.HasPrefix(tag, `"`) {
		t.Fatalf("ETag %q", tag)
	}
	for _, same := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if got := a.call(adminKey, "GET", path1, "", "If-None-Match", same); got.status != 304 || got.header.Get("ETag") != tag || len(got.body) != 0 {
			t.Errorf("If-None-Match %s: %d %s", same, got.status, got.body)
		}
	}
	a.expect(a.call(adminKey, "GET", path1, "", "If-None-Match", `"x"`), 200)

	changed := a.patch(adminKey, path1, `{"name":"one"}`, "If-Match", `"x", `+tag)
	a.expect(changed, 200, `"one"`)
	newer := changed.header.Get("ETag")
	if newer == tag || newer == "" {
		t.Errorf("ETag %s after %s", newer, tag)
	}
	put := `{"secret":"` + secretOf(imei1) + `"}`
	for _, stale := range []string{tag, "W/" + newer, `"x"`} {
		a.expect(a.patch(adminKey, path1, `{"name":"two"}`, "If-Match", stale), 412)
		a.expect(a.call(adminKey, "PUT", path1, put, "If-Match", stale), 412)
		a.expect(a.call(adminKey, "POST", path1+"/secrets", "{}", "If-Match", stale), 412)
		a.expect(a.call(adminKey, "DELETE", path1+"/secrets/new", "", "If-Match", stale), 412)
		got := a.call(adminKey, "DELETE", path1, "", "If-Match", stale)
		a.expect(got, 412)
		if got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v", got.header)
		}
	}
	a.expect(a.patch(adminKey, path1, `{"name":"two"}`, "If-Match", "*"), 200, `"two"`)
	a.expect(a.call(adminKey, "DELETE", path1, "", "If-Match", a.call(adminKey, "GET", path1, "").header.Get("ETag")), 204)
	a.expect(a.patch(adminKey, path1, `{"name":"two"}`, "If-Match", "*"), 404)
}

// Of many who change the same revision one succeeds.
func TestOneOfManyChangesARevision(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, "")
	tag := a.call(adminKey, "GET", path1, "").header.Get("ETag")
	codes := make(chan int, 16)
	var all sync.WaitGroup
	for i := range cap(codes) {
		all.Go(func() {
			codes <- a.patch(adminKey, path1, fmt.Sprintf(`{"name":"n%d"}`, i), "If-Match", tag).status
		})
	}
	all.Wait()
	close(codes)
	count := map[int]int{}
	for c := range codes {
		count[c]++
	}
	if count[200] != 1 || count[412] != 15 {
		t.Errorf("%v", count)
	}
}

func TestDeviceIsPut(t *testing.T) {
	a := start(t, redistest.Start(t))
	var d Device
	a.expect(a.call(adminKey, "PUT", path1, `{}`, "If-Match", "*"), 412)
	got := a.want(201, adminKey, "PUT", path1, `{"name":"Pump","labels":{"a":"b"}}`, &d)
	if d.Secret == "" || got.header.Get("Location") != path1 || got.header.Get("ETag") == "" {
		t.Errorf("%v %s", got.header, got.body)
	}
	a.expect(a.call(adminKey, "PUT", path1, `{}`, "If-None-Match", "*"), 412)
	d = Device{}
	got = a.want(200, adminKey, "PUT", path1, `{"id":"imei:356726104408422","ratePlan":"M2M"}`, &d)
	if d.Name != "" || d.RatePlan != "M2M" || len(d.Labels) != 0 || d.Secrets != 1 || d.Secret != "" {
		t.Errorf("%s", got.body)
	}
	tag := got.header.Get("ETag")
	if again := a.want(200, adminKey, "PUT", path1, `{"ratePlan":"M2M"}`, nil); again.header.Get("ETag") != tag {
		t.Errorf("ETag %s, was %s: nothing changed", again.header.Get("ETag"), tag)
	}
	a.expect(a.call(adminKey, "PUT", path1, `{"id":"`+imei2+`"}`), 422, "body.id")
	a.expect(a.call(adminKey, "PUT", "/v1/devices/"+imei2, `{}`, "If-None-Match", "*"), 201)
}

func TestFilterBoundsChanges(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.device(imei1, `{"site":"depot"}`)
		a.device(imei2, `{"site":"other"}`)
		key := a.app("fleet", "device.read device.write", "site=depot")
		foreign := "/v1/devices/" + imei2
		a.expect(a.patch(key, path1, `{"name":"mine"}`), 200)
		a.expect(a.patch(key, path1, `{"labels":{"site":"other"}}`), 403, "may not take that")
		a.expect(a.patch(key, path1, `{"labels":null}`), 403)
		a.expect(a.call(key, "PUT", path1, `{}`), 403)
		a.expect(a.patch(key, foreign, `{"labels":{"site":"depot"}}`), 404)
		a.expect(a.call(key, "PUT", foreign, `{"labels":{"site":"depot"}}`), 403, "not among")
		a.expect(a.call(key, "DELETE", foreign, ""), 404)
		a.expect(a.call(key, "POST", foreign+"/secrets", `{}`), 404)
		a.expect(a.call(key, "DELETE", foreign+"/secrets/all", ""), 404)
		a.expect(a.call(key, "PUT", "/v1/devices/"+uuid1, `{"labels":{"site":"other"}}`), 403)
		a.expect(a.call(key, "PUT", "/v1/devices/"+uuid1, `{"labels":{"site":"depot"}}`), 201)
		a.expect(a.call(adminKey, "GET", foreign, ""), 200, `"site":"other"`)
		reader := a.app("reader", "device.read")
		for method, path := range map[string]string{"PATCH": path1, "PUT": path1, "DELETE": path1, "POST": path1 + "/secrets"} {
			a.expect(a.call(reader, method, path, `{}`), 403, "device.write")
		}
	})
}

// Who may only write devices reads none in the answers of changes.
func TestChangesShowNothingWithoutRead(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, `{"site":"depot"}`)
	a.expect(a.patch(adminKey, path1, `{"name":"Hidden","msisdn":"31612345678"}`), 200, "Hidden")
	key := a.app("writer", "device.write")
	for _, got := range []answer{
		a.patch(key, path1, `{}`), a.call(key, "POST", path1+"/secrets", `{}`), a.call(key, "DELETE", path1+"/secrets/old", ""),
	} {
		if got.status/100 != 2 || contains(got.body, "Hidden") || contains(got.body, "depot") || contains(got.body, "31612345678") || !contains(got.body, imei1) {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	dry := a.importFrom(key, "dryRun=true", typeNDJSON, strings.NewReader(`{"id":"`+imei1+`","name":"x","labels":null}`))
	if want := `change [{"field":"name","to":"x"},{"field":"labels"}]`; dry.changes[imei1] != want {
		t.Errorf("%s, want %s", dry.changes[imei1], want)
	}
}

// A PUT is answered alike of a foreign device and of none, but where it would
// create the one that there is not.
func TestPutTellsNotOfForeignDevices(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, `{"site":"other"}`)
	for _, key := range []string{a.app("labels", "device.write", "site=depot"), a.app("ids", "device.write", uuid1)} {
		for _, body := range []string{`{}`, `{"labels":{"site":"depot"}}`} {
			for _, header := range [][]string{{"If-Match", "*"}, {"If-Match", `"x"`}} {
				foreign, none := a.call(key, "PUT", path1, body, header...), a.call(key, "PUT", "/v1/devices/"+imei2, body, header...)
				told := strings.ReplaceAll(string(none.body), imei2, imei1)
				if foreign.status != none.status || string(foreign.body) != told || foreign.status != 403 && foreign.status != 412 {
					t.Errorf("%s %s: %d %s, of none %d %s", body, header, foreign.status, foreign.body, none.status, told)
				}
			}
		}
		a.expect(a.call(key, "PUT", path1, `{}`), 403, "not among")
		a.expect(a.call(key, "PUT", "/v1/devices/"+imei2, `{}`), 403, "not among")
	}
}

func TestSecretsAreRotatedAndRevoked(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.device(imei1, "")
		var d Device
		got := a.want(201, adminKey, "POST", path1+"/secrets", `{"window":"1h","after":10}`, &d)
		if d.Secret == "" || d.Secrets != 2 || d.Rotation == nil || d.Rotation.After != 10 || d.Rotation.EndsAt.Sub(d.Rotation.Since).Minutes() < 59 {
			t.Fatalf("%s", got.body)
		}
		if got := a.want(200, adminKey, "GET", path1, "", nil); contains(got.body, d.Secret) {
			t.Error("the secret is shown again")
		}
		if stored, err := a.registry.Secrets(t.Context(), imei1); err != nil || len(stored) != 2 || stored[0] != d.Secret {
			t.Errorf("%v: %d secrets", err, len(stored))
		}
		given := strings.Repeat("xY7", 11)
		d = Device{}
		a.expect(a.call(adminKey, "POST", path1+"/secrets", `{"secret":"`+given+`"}`), 409, "may still use", "force")
		got = a.want(201, adminKey, "POST", path1+"/secrets", `{"secret":"`+given+`","force":true}`, &d)
		if contains(got.body, given) || d.Rotation == nil || d.Rotation.EndsAt.Sub(d.Rotation.Since).Hours() < 167 {
			t.Errorf("%s", got.body)
		}
		got = a.want(200, adminKey, "DELETE", path1+"/secrets/old", "", &d)
		if d.Secrets != 1 || got.header.Get("ETag") == "" {
			t.Errorf("%s", got.body)
		}
		a.expect(a.call(adminKey, "DELETE", path1+"/secrets/old", ""), 404)
		a.want(200, adminKey, "DELETE", path1+"/secrets/all", "", &d)
		if d.Secrets != 0 {
			t.Errorf("%+v", d)
		}
		d = Device{}
		a.want(201, adminKey, "POST", path1+"/secrets", `{"window":"0s"}`, &d)
		if d.Secrets != 1 || d.Rotation != nil {
			t.Errorf("%+v", d)
		}
		for body, where := range map[string]string{`{"window":"soon"}`: "body.window", `{"window":"-1s"}`: "body.window", `{"after":-1}`: "body.after", `{"secret":"short"}`: "body.secret"} {
			a.expect(a.call(adminKey, "POST", path1+"/secrets", body), 422, where)
		}
		a.expect(a.call(adminKey, "DELETE", path1+"/secrets/oldest", ""), 422, "path.which")
	})
}

func TestAppIsChanged(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		const path = "/v1/apps/dashboard"
		a.app("dashboard", "uplink.read", imei1)
		got := a.want(200, adminKey, "GET", path, "", nil)
		tag := got.header.Get("ETag")
		a.expect(a.call(adminKey, "GET", path, "", "If-None-Match", tag), 304)
		a.expect(a.patch(adminKey, path, `{"limits":{"requests":5,"sessions":2}}`, "If-Match", `"x"`), 412)
		a.expect(a.patch(adminKey, path, `{"limits":{"requests":5,"sessions":2}}`, "If-Match", tag), 200)
		a.expect(a.patch(adminKey, path, `{"limits":{"sessions":null},"scopes":["device.read"],"devices":null}`), 200)
		var app App
		got = a.want(200, adminKey, "GET", path, "", &app)
		if app.Limits != (Limits{Requests: 5}) || len(app.Devices) != 0 || len(app.Scopes) != 1 || app.Scopes[0] != "device.read" {
			t.Errorf("%s", got.body)
		}
		for body, where := range map[string]string{
			`{"scopes":[]}`: "body.scopes", `{"scopes":["x"]}`: "body.scopes[0]", `{"name":"y"}`: "body.name", `{"limits":{"requests":-1}}`: "body.limits.requests", `{"devices":["x"]}`: "device",
			`{"limits":{"sessions":1.5}}`: "body.limits.sessions",
		} {
			a.expect(a.patch(adminKey, path, body), 422, where)
		}
		a.expect(a.call(adminKey, "PUT", path, `{"scopes":["uplink.read"]}`, "If-Match", tag), 412)
		app = App{}
		a.want(200, adminKey, "PUT", path, `{"scopes":["uplink.read"]}`, &app)
		if app.Limits != (Limits{}) || app.Key != "" || app.Scopes[0] != "uplink.read" {
			t.Errorf("%+v", app)
		}
		a.expect(a.call(adminKey, "PUT", path, `{"scopes":["uplink.read"]}`, "If-None-Match", "*"), 412)
		a.expect(a.call(adminKey, "PUT", "/v1/apps/other", `{"scopes":["uplink.read"]}`, "If-Match", "*"), 412)
		a.want(201, adminKey, "PUT", "/v1/apps/other", `{"scopes":["uplink.read"],"limits":{"publishes":3}}`, &app)
		if app.Key == "" || app.Limits.Publishes != 3 {
			t.Errorf("%+v", app)
		}
		a.expect(a.call(adminKey, "DELETE", path, "", "If-Match", tag), 412)
		a.expect(a.call(adminKey, "DELETE", path, "", "If-Match", "*"), 204)
		a.expect(a.patch(adminKey, path, `{}`), 404)
	})
}

func TestAppKeyIsRotated(t *testing.T) {
	a := start(t, redistest.Start(t))
	key := a.app("dashboard", "device.read")
	var app App
	a.want(201, adminKey, "POST", "/v1/apps/dashboard/key", `{"window":"1h"}`, &app)
	if app.Key == "" || app.Key == key || app.OldKeyEndsAt.IsZero() {
		t.Fatalf("%+v", app)
	}
	for _, k := range []string{key, app.Key} {
		a.want(200, k, "GET", "/v1/devices", "", nil)
	}
	if got := a.want(200, adminKey, "GET", "/v1/apps/dashboard", "", nil); contains(got.body, app.Key) || !contains(got.body, "oldKeyEndsAt") {
		t.Errorf("%s", got.body)
	}
	second := app.Key
	a.want(201, adminKey, "POST", "/v1/apps/dashboard/key", "", &app)
	for _, k := range []string{key, second} {
		a.want(http.StatusUnauthorized, k, "GET", "/v1/devices", "", nil)
	}
	a.want(200, app.Key, "GET", "/v1/devices", "", nil)
	a.expect(a.call(adminKey, "POST", "/v1/apps/nobody/key", ""), 404)
	a.expect(a.call(adminKey, "POST", "/v1/apps/dashboard/key", `{"window":"x"}`), 422, "body.window")
}
