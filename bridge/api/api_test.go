package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/auth/redistest"
)

func TestHealth(t *testing.T) {
	a := start(t, redistest.Start(t))
	if got := a.want(http.StatusOK, "", "GET", "/readyz", "", nil); strings.TrimSpace(string(got.body)) != `{"status":"ready"}` {
		t.Errorf("ready: %s", got.body)
	}
	a.want(http.StatusOK, "", "GET", "/livez", "", nil)
	a.redis.Stop()
	began := time.Now()
	got := a.want(http.StatusServiceUnavailable, "", "GET", "/readyz", "", nil)
	if !contains(got.body, "reason") || got.header.Get("Retry-After") == "" || time.Since(began) > 2*readyLimit {
		t.Errorf("not ready: %s after %v", got.body, time.Since(began))
	}
	a.want(http.StatusOK, "", "GET", "/livez", "", nil)
	a.redis.Cont()
}

func TestMetrics(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.want(http.StatusOK, adminKey, "GET", "/v1/devices", "", nil)
	a.want(http.StatusNotFound, adminKey, "GET", "/v1/devices/"+imei1, "", nil)
	got := a.want(http.StatusOK, "", "GET", "/metrics", "", nil)
	for _, want := range []string{
		`m2mbridge_api_requests_total{operation="GET /v1/devices",status="200"} 1`,
		`m2mbridge_api_requests_total{operation="GET /v1/devices/{id}",status="404"} 1`,
		`m2mbridge_redis_pool_connections `, `m2mbridge_redis_pool_hits_total `, `go_goroutines `, `process_open_fds `,
	} {
		if !contains(got.body, want) {
			t.Errorf("no %s", want)
		}
	}
	if contains(got.body, imei1) {
		t.Error("a device id is in the metrics")
	}
}

// The program's own registry may hold some of the collectors already.
func TestMetricsShareARegistry(t *testing.T) {
	server := redistest.Start(t)
	registry := prometheus.NewRegistry()
	for range 2 {
		if _, err := New(Config{Client: server.Client(), Metrics: registry}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenAPIDocument(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Responses map[string]any
			Security  []map[string][]string
		}
	}
	got := a.want(http.StatusOK, "", "GET", "/openapi.json", "", &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
	if contains(got.body, "http://") || contains(got.body, "https://example.com/schemas") {
		t.Error("the document refers to the outside")
	}
	if n := bytes.Count(got.body, []byte(`["array","null"]`)); n > 3 { // huma's own ErrorModel says so of its errors; an app's patch may clear its devices, in either media type
		t.Errorf("%d lists may be null", n)
	}
	for path, methods := range map[string]string{
		"/v1/devices": "get post", "/v1/devices/{id}": "get delete", "/v1/apps": "get post", "/v1/apps/{name}": "get delete",
		"/v1/sessions": "get", "/v1/sessions/{app}/{clientId}": "get delete",
		"/v1/uplinks": "get", "/v1/rejects": "get", "/v1/events": "get", "/v1/live": "get", "/v1/explain": "post",
	} {
		for method := range strings.FieldsSeq(methods) {
			op, ok := doc.Paths[path][method]
			if !ok || len(op.Security) != 1 || op.Responses["401"] == nil || op.Responses["403"] == nil {
				t.Errorf("%s %s: %+v", method, path, op)
			}
		}
	}
	a.want(http.StatusNotFound, "", "GET", "/docs", "", nil) // huma's would load scripts from elsewhere
}

func TestAnswersCarryTheirGuards(t *testing.T) {
	a := start(t, redistest.Start(t))
	for _, path := range []string{"/v1/devices", "/livez", "/nowhere", "/openapi.json"} {
		h := a.call(adminKey, "GET", path, "").header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s %q", path, name, h.Get(name))
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	a := start(t, redistest.Start(t))
	for given, kept := range map[string]bool{"": false, "abc-123_x.y": true, strings.Repeat("x", 65): false, "a b": false, "a\"b": false} {
		req := httptest.NewRequest(http.MethodGet, a.url+"/livez", nil)
		req.RequestURI = ""
		req.Header.Set("X-Request-Id", given)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := resp.Header.Get("X-Request-Id")
		if kept != (got == given) || got == "" {
			t.Errorf("%q gives %q", given, got)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	a := start(t, redistest.Start(t))
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1/nothing", 404, ""},
		{"GET", "/v1/devices/", 404, ""},
		{"PUT", "/v1/devices", 405, "GET, HEAD, POST"},
		{"POST", "/v1/uplinks", 405, "GET, HEAD"},
		{"DELETE", "/livez", 405, "GET, HEAD"},
	} {
		got := a.call(adminKey, c.method, c.path, "")
		if got.status != c.status || got.header.Get("Allow") != c.allow || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %q %s", c.method, c.path, got.status, got.header.Get("Allow"), got.body)
		}
	}
}

func TestRedisFaultsAre503(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, "")
	a.redis.Kill()
	for _, r := range [][2]string{
		{"GET", "/v1/devices"}, {"GET", "/v1/devices/" + imei1}, {"GET", "/v1/uplinks"}, {"GET", "/v1/live"}, {"DELETE", "/v1/devices/" + imei1},
	} {
		got := a.call(adminKey, r[0], r[1], "")
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || contains(got.body, "127.0.0.1") {
			t.Errorf("%v: %d %s", r, got.status, got.body)
		}
	}
}

func TestPanicIsOneRequests(t *testing.T) {
	api, err := New(Config{Client: redistest.Start(t).Client()})
	if err != nil {
		t.Fatal(err)
	}
	api.mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic(errors.New("boom")) })
	w := httptest.NewRecorder()
	api.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/panic", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// A client that sends its header slowly, or nothing after it, is cut off.
func TestSlowRequestsAreCutOff(t *testing.T) {
	t.Parallel()
	a := start(t, redistest.Start(t))
	for name, begin := range map[string]string{
		"header": "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST /v1/devices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + adminKey + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprint(conn, begin); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(4 * headerLimit))
			// Either an answer that says so or an end; not silence.
			if _, err := bufio.NewReader(conn).ReadByte(); isTimeout(err) {
				t.Errorf("still open: %v", err)
			}
		})
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A request in flight at the stop is answered.
func TestServeStopsInOrder(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.redis.Stop()
	answered := make(chan answer, 1)
	go func() { answered <- a.call("", "GET", "/readyz", "") }()
	for ticks := time.Tick(time.Millisecond); a.busy() == 0; <-ticks {
		// until the request is being answered
	}
	a.stop()
	if got := <-answered; got.status != http.StatusServiceUnavailable {
		t.Errorf("got %d", got.status)
	}
	a.redis.Cont()
	a.awaitStop()
}

func (a *testAPI) busy() uint32 {
	s := a.client.PoolStats()
	return s.TotalConns - s.IdleConns
}
