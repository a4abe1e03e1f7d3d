package api

import (
	"strings"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// A device whose record cannot be read can be removed and replaced; lists, exports and imports go on without it.
func TestDamagedDevice(t *testing.T) {
	const bad, good = "IMEI:356726104408422", "IMEI:356726104408423"
	server := redistest.Start(t)
	a := start(t, server)
	a.device(good, `{"site":"north"}`)
	damage := func() {
		t.Helper()
		if err := server.Client().HSet(t.Context(), auth.Keyspace{}.Key(0, "device:"+bad), "auth", "9").Err(); err != nil {
			t.Fatal(err)
		}
	}
	a.device(bad, `{"site":"north"}`)
	damage()
	a.expect(a.call(adminKey, "GET", "/v1/devices/"+bad, ""), 500, "record is damaged")
	a.expect(a.call(adminKey, "PATCH", "/v1/devices/"+bad, `{}`, "Content-Type", mergePatch), 500, "record is damaged")
	for _, path := range []string{"/v1/devices", "/v1/devices?label=site", "/v1/devices/export"} {
		if got := a.call(adminKey, "GET", path, ""); got.status != 200 || !strings.Contains(string(got.body), good) || strings.Contains(string(got.body), bad) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	rows := `{"id":"` + bad + `","name":"x"}` + "\n" + `{"id":"` + good + `","name":"y"}` + "\n"
	got := a.importText("skipFaults=true", typeNDJSON, rows)
	if !strings.Contains(got.faults[1], "damaged") || got.total.Changed != 1 || got.total.Faults != 1 || !got.total.Done {
		t.Errorf("import: %+v", got)
	}
	// Whether an app by label sees it nobody can say: it does not.
	byLabel := a.app("by-label", "device.read device.write", "site=north")
	a.expect(a.call(byLabel, "GET", "/v1/devices/"+bad, ""), 404, "")
	a.expect(a.call(byLabel, "DELETE", "/v1/devices/"+bad, ""), 404, "")
	if got := a.call(byLabel, "PUT", "/v1/devices/"+bad, `{"labels":{"site":"north"}}`); got.status != 403 && got.status != 404 {
		t.Errorf("put by label: %d %s", got.status, got.body)
	}
	a.expect(a.call(adminKey, "PUT", "/v1/devices/"+bad, `{"name":"whole"}`), 200, `"secret"`)
	a.expect(a.call(adminKey, "GET", "/v1/devices/"+bad, ""), 200, "whole")
	for _, header := range [][]string{{"If-Match", "*"}, nil} {
		damage()
		a.expect(a.call(adminKey, "DELETE", "/v1/devices/"+bad, "", "If-Match", `"other"`), 412, "")
		a.expect(a.call(adminKey, "DELETE", "/v1/devices/"+bad, "", header...), 204, "")
		a.expect(a.call(adminKey, "GET", "/v1/devices/"+bad, ""), 404, "")
		a.device(bad, "")
	}
}

func TestRotationIsBounded(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device("IMEI:356726104408422", "")
	a.expect(a.call(adminKey, "POST", "/v1/devices/IMEI:356726104408422/secrets", `{"after":4738381338321616896}`), 422, "body.after")
	a.expect(a.call(adminKey, "POST", "/v1/devices/IMEI:356726104408422/secrets", `{"after":1000000000}`), 201, "")
	a.expect(a.call(adminKey, "GET", "/v1/devices/IMEI:356726104408422", ""), 200, "")
}
