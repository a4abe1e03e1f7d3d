package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/trace"
)

// message has a message of a device end as told.
func (a *testAPI) message(device, streamID string) {
	a.trace.Message(&trace.Message{
		Device: auth.DeviceID(device), Standing: trace.Proven, Via: "http", Remote: "192.0.2.7:4711", Bytes: 302, Token: true, At: time.Now(),
		Outcome: "stored", Secret: 1, Records: 2, Measurements: 2, ID: streamID,
	})
}

// listening waits until what is announced is heard: the registry's changes are followed.
func (a *testAPI) listening() {
	a.t.Helper()
	for begun := time.Now(); !a.registry.Stats().LeaseValid; <-time.After(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			a.t.Fatal("the registry's changes are not followed")
		}
	}
}

// steps checks the kinds of the next steps of one message, and its device.
func (l *live) steps(device string, kinds ...trace.Kind) {
	l.t.Helper()
	for _, kind := range kinds {
		m, ok := l.next()
		var s trace.Step
		if !ok || json.Unmarshal([]byte(m.data), &s) != nil || m.event != "step" || m.id != "" || s.Kind != kind || string(s.Device) != device {
			l.t.Fatalf("got %s %q %s, want step %s of %s", m.event, m.id, m.data, kind, device)
		}
	}
}

var stored = []trace.Kind{trace.Received, trace.Verdict, trace.Pack, trace.Stored}

func TestTraceAfterTheFactAndLive(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server, partitions(2))
		a.listening()
		a.device(imei1, "")
		a.message(imei1, "1700000000000-1")
		a.message(imei2, "1700000000000-2")
		var got Steps
		a.want(http.StatusOK, adminKey, "GET", "/v1/trace?device="+strings.ToLower(imei1), "", &got)
		if len(got.Items) != 4 || got.Items[3].ID != "1700000000000-1" || got.Items[0].Remote != "192.0.2.7:4711" || string(got.Items[0].Device) != imei1 {
			t.Errorf("%+v", got.Items)
		}
		l := a.live(adminKey, "?kind=steps&device="+imei1, "")
		l.steps(imei1, stored...)
		a.message(imei2, "1700000000000-3")
		a.message(imei1, "1700000000000-4")
		l.steps(imei1, stored...)
		a.want(http.StatusNotFound, adminKey, "GET", "/v1/trace?device="+uuid1, "", nil)
		a.want(http.StatusNotFound, adminKey, "GET", "/v1/live?kind=steps&device="+uuid1, "", nil)
		a.device(uuid1, "")
		if body := a.want(http.StatusOK, adminKey, "GET", "/v1/trace?device="+uuid1, "", nil).body; !contains(body, `{"items":[]}`) {
			t.Errorf("nothing known: %s", body)
		}
	})
}

// Without a kind the steps come first, then the streams, whose ids they leave alone.
func TestLiveOfADeviceHasSteps(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	a.listening()
	a.device(imei1, "")
	a.message(imei1, "1700000000000-1")
	l := a.live(adminKey, "?device="+imei1, "")
	id := a.uplink(imei1, 1)
	l.steps(imei1, stored...)
	last := l.expect("uplink", id)
	l.cancel()
	later := a.uplink(imei1, 2)
	l = a.live(adminKey, "?device="+imei1, last.id)
	l.steps(imei1, stored...)
	l.expect("uplink", later)
	// An app that may not see devices has the streams alone.
	l = a.live(a.app("streams", "uplink.read"), "?device="+imei1+"&after="+id, "")
	l.expect("uplink", later)
}

func TestTraceRefusals(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	a.device(imei1, `{"site":"depot"}`)
	for _, c := range []struct {
		key, path string
		status    int
		says      string
	}{
		{adminKey, "/v1/live?kind=steps", 422, "give device"},
		{adminKey, "/v1/live?kind=uplinks,steps", 422, "give device"},
		{adminKey, "/v1/live?kind=steps&device=x", 422, "query.device"},
		{adminKey, "/v1/trace", 422, "device"},
		{adminKey, "/v1/trace?device=x", 422, "query.device"},
		{a.app("uplinks", "uplink.read"), "/v1/live?kind=steps&device=" + imei1, 403, "device.read"},
		{a.app("uplinks2", "uplink.read"), "/v1/trace?device=" + imei1, 403, "device.read"},
		{a.app("devices", "device.read"), "/v1/live", 403, "uplink.read"},
		{a.app("other", "device.read", "site=home"), "/v1/trace?device=" + imei1, 403, "not among"},
		{a.app("other2", "device.read", "site=home"), "/v1/live?kind=steps&device=" + imei1, 403, "not among"},
	} {
		if got := a.call(c.key, "GET", c.path, ""); got.status != c.status || !contains(got.body, c.says) {
			t.Errorf("%s: %d %s, want %d, %s", c.path, got.status, got.body, c.status, c.says)
		}
	}
}

func TestNoTrace(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	none, err := New(Config{Registry: a.registry, Client: a.client})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/trace?device=" + imei1, "/v1/live?kind=steps&device=" + imei1} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+adminKey)
		w := httptest.NewRecorder()
		if none.Handler().ServeHTTP(w, r); w.Code != http.StatusNotFound || !contains(w.Body.Bytes(), "--trace-memory") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Who loses the device loses its steps.
func TestStepsEndWithTheFilter(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	a.listening()
	a.device(imei1, `{"site":"depot"}`)
	key := a.app("depot", "device.read", "site=depot")
	a.message(imei1, "1700000000000-1")
	l := a.live(key, "?device="+imei1, "")
	l.steps(imei1, stored...)
	a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/devices/"+imei1, "", nil)
	if m, ok := l.next(); ok {
		t.Errorf("a message came: %+v", m)
	}
}
