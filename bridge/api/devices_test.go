package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

func TestDeviceIsCreatedShownAndRemoved(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		secret := strings.Repeat("aB3", 11)
		body := `{"id":"imei:356726104408422","secret":"` + secret + `","name":"Pump 7","iccid":"8931080019073497795",` +
			`"msisdn":"31612345678","ratePlan":"M2M","sms":false,"requireToken":true,"labels":{"site":"depot"}}`
		var d Device
		got := a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", body, &d)
		if loc := got.header.Get("Location"); loc != "/v1/devices/"+imei1 {
			t.Errorf("Location %q", loc)
		}
		if contains(got.body, secret) || d.Secret != "" {
			t.Error("the answer shows the secret that was given")
		}
		got = a.want(http.StatusOK, adminKey, "GET", "/v1/devices/"+imei1, "", &d)
		if contains(got.body, secret) {
			t.Error("the answer shows the secret")
		}
		if d.ID != imei1 || d.Name != "Pump 7" || d.ICCID != "8931080019073497795" || d.MSISDN != "31612345678" ||
			d.RatePlan != "M2M" || d.SMS || !d.RequireToken || d.Labels["site"] != "depot" || d.Secrets != 1 {
			t.Errorf("got %+v", d)
		}
		if time.Since(d.CreatedAt) > time.Minute || !d.CreatedAt.Equal(d.ModifiedAt) {
			t.Errorf("created %v modified %v", d.CreatedAt, d.ModifiedAt)
		}
		a.want(http.StatusConflict, adminKey, "POST", "/v1/devices", body, nil)
		if got := a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/devices/"+imei1, "", nil); len(got.body) != 0 {
			t.Errorf("body %s", got.body)
		}
		a.want(http.StatusNotFound, adminKey, "GET", "/v1/devices/"+imei1, "", nil)
		a.want(http.StatusNotFound, adminKey, "DELETE", "/v1/devices/"+imei1, "", nil)
	})
}

func TestDeviceWithoutSecretGetsOneOnce(t *testing.T) {
	a := start(t, redistest.Start(t))
	var d Device
	a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", `{"id":"`+imei1+`"}`, &d)
	if !regexp.MustCompile("^[0-9a-zA-Z]{30,100}$").MatchString(d.Secret) {
		t.Errorf("secret %q", d.Secret)
	}
	if got := a.want(http.StatusOK, adminKey, "GET", "/v1/devices/"+imei1, "", nil); contains(got.body, d.Secret) {
		t.Error("the secret is shown again")
	}
	a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", `{"id":"`+imei2+`","unsigned":true}`, &d)
	if d.Secrets != 0 || !d.Unsigned {
		t.Errorf("got %+v", d)
	}
}

func TestDeviceErrorsNameTheField(t *testing.T) {
	a := start(t, redistest.Start(t))
	const bad = "not-a-secret-of-30-characters-ever!"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"bad id", "POST", "/v1/devices", `{"id":"IMEI:1"}`, 422, "body.id"},
		{"bad secret", "POST", "/v1/devices", `{"id":"` + imei1 + `","secret":"` + bad + `"}`, 422, "body.secret"},
		{"short secret", "POST", "/v1/devices", `{"id":"` + imei1 + `","secret":"abc"}`, 422, "body.secret"},
		{"bad iccid", "POST", "/v1/devices", `{"id":"` + imei1 + `","iccid":"12"}`, 422, "iccid"},
		{"no id", "POST", "/v1/devices", `{}`, 422, "id"},
		{"unknown field", "POST", "/v1/devices", `{"id":"` + imei1 + `","secrte":"x"}`, 422, "secrte"},
		{"secret and unsigned", "POST", "/v1/devices", `{"id":"` + imei1 + `","unsigned":true,"secret":"` + secretOf(imei1) + `"}`, 422, "unsigned"},
		{"wrong type", "POST", "/v1/devices", `{"id":7}`, 422, "body.id"},
		{"no JSON", "POST", "/v1/devices", `{`, 400, "body"},
		{"no body", "POST", "/v1/devices", ``, 400, "body"},
		{"too large", "POST", "/v1/devices", `{"id":"` + strings.Repeat("x", maxBody) + `"}`, 413, "large"},
		{"bad limit", "GET", "/v1/devices?limit=0", "", 422, "query.limit"},
		{"bad sort", "GET", "/v1/devices?sort=colour", "", 422, "query.sort"},
		{"bad instant", "GET", "/v1/devices?createdSince=yesterday", "", 422, "query.createdSince"},
		{"unknown parameter", "GET", "/v1/devices?lable=x", "", 422, "query.lable"},
		{"bad id in path", "GET", "/v1/devices/x", "", 422, "path.id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.call(adminKey, c.method, c.path, c.body)
			if got.status != c.status || !contains(got.body, c.want) {
				t.Errorf("got %d %s, want %d with %q", got.status, got.body, c.status, c.want)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
			if contains(got.body, bad) || contains(got.body, secretOf(imei1)) {
				t.Error("the problem document shows the secret")
			}
		})
	}
}

func TestDevicesAreListedInPages(t *testing.T) {
	a := start(t, redistest.Start(t), partitions(3))
	var all []string
	for i := range 7 {
		id := "IMEI:35672610440842" + string(rune('0'+i))
		all = append(all, id)
		a.device(id, "")
	}
	for _, sort := range []string{"id", "-id"} {
		var got []string
		for cursor := ""; ; {
			var page Page[Device]
			a.want(http.StatusOK, adminKey, "GET", "/v1/devices?limit=3&sort="+sort+"&cursor="+cursor, "", &page)
			for _, d := range page.Items {
				got = append(got, d.ID)
			}
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		want := slices.Clone(all)
		if sort == "-id" {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v", sort, got)
		}
	}
	var page Page[Device]
	a.want(http.StatusOK, adminKey, "GET", "/v1/devices?createdBefore=2020-01-01T00:00:00Z", "", &page)
	if len(page.Items) != 0 || page.Items == nil {
		t.Errorf("got %v", page.Items)
	}
}

func TestAppsAreManagedByAdminOnly(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		key := a.app("dashboard", "uplink.read device.read", imei1, "site=depot")
		var app App
		got := a.want(http.StatusOK, adminKey, "GET", "/v1/apps/dashboard", "", &app)
		if contains(got.body, key) || app.Key != "" {
			t.Error("the key is shown again")
		}
		if app.Name != "dashboard" || len(app.Scopes) != 2 || !slices.Equal(app.Devices, []string{imei1, "site=depot"}) {
			t.Errorf("got %+v", app)
		}
		var page Page[App]
		a.want(http.StatusOK, adminKey, "GET", "/v1/apps", "", &page)
		if len(page.Items) != 1 || page.Items[0].Name != "dashboard" {
			t.Errorf("got %+v", page.Items)
		}
		a.want(http.StatusConflict, adminKey, "POST", "/v1/apps", `{"name":"dashboard","scopes":["admin"]}`, nil)
		got = a.want(http.StatusUnprocessableEntity, adminKey, "POST", "/v1/apps", `{"name":"x","scopes":["uplink.raed"]}`, nil)
		if !contains(got.body, "body.scopes[0]") {
			t.Errorf("got %s", got.body)
		}
		for _, r := range [][2]string{{"POST", "/v1/apps"}, {"GET", "/v1/apps"}, {"GET", "/v1/apps/dashboard"}, {"DELETE", "/v1/apps/dashboard"},
			{"PATCH", "/v1/apps/dashboard"}, {"PUT", "/v1/apps/dashboard"}, {"POST", "/v1/apps/dashboard/key"}} {
			if got := a.want(http.StatusForbidden, key, r[0], r[1], "", nil); !contains(got.body, "scope admin") {
				t.Errorf("%v: %s", r, got.body)
			}
		}
		a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/apps/dashboard", "", nil)
		a.want(http.StatusUnauthorized, key, "GET", "/v1/devices", "", nil)
		a.want(http.StatusNotFound, adminKey, "DELETE", "/v1/apps/dashboard", "", nil)
	})
}
