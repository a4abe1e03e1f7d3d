package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// asked is one request of an operation, and the status that it must have.
type asked struct {
	op, path, body string
	status         int
}

// goodAndBad are requests in their order: what one makes another finds. What all
// operations refuse alike is in bad.
var goodAndBad = []asked{
	{"create-device", "/v1/devices", `{"id":"` + imei1 + `","labels":{"site":"depot"},"name":"n","iccid":"8931440400000000001","msisdn":"31612345678","ratePlan":"r"}`, 201},
	{"create-device", "/v1/devices", `{"id":"` + uuid1 + `","unsigned":true,"disabled":true,"sms":false}`, 201},
	{"create-device", "/v1/devices", `{"id":"` + imei1 + `"}`, 409},
	{"create-device", "/v1/devices", `{"id":"IMEI:1"}`, 422},
	{"create-device", "/v1/devices", `{"id":"` + imei2 + `","secret":"short"}`, 422},
	{"create-device", "/v1/devices", `{"id":"` + imei2 + `","msisdn":"x"}`, 422},
	{"list-devices", "/v1/devices", "", 200},
	{"list-devices", "/v1/devices?limit=1&sort=-id&createdSince=2020-01-01T00:00:00Z&modifiedBefore=2100-01-01T00:00:00Z", "", 200},
	{"get-device", "/v1/devices/" + imei1, "", 200},
	{"get-device", "/v1/devices/" + uuid1, "", 200},
	{"get-device", "/v1/devices/" + imei2, "", 404},
	{"get-device", "/v1/devices/x", "", 422},
	{"create-app", "/v1/apps", `{"name":"contract","scopes":["uplink.read","admin"],"devices":["` + imei1 + `","site=depot"]}`, 201},
	{"create-app", "/v1/apps", `{"name":"contract","scopes":["uplink.read"]}`, 409},
	{"create-app", "/v1/apps", `{"name":"x","scopes":["fly"]}`, 422},
	{"create-app", "/v1/apps", `{"name":"x","scopes":["uplink.read"],"devices":["x"]}`, 422},
	{"list-apps", "/v1/apps?limit=1", "", 200},
	{"get-app", "/v1/apps/contract", "", 200},
	{"get-app", "/v1/apps/nobody", "", 404},
	{"list-sessions", "/v1/sessions?app=ui", "", 200},
	{"get-session", "/v1/sessions/ui/a%2Fb", "", 200},
	{"get-session", "/v1/sessions/ui/none", "", 404},
	{"list-uplinks", "/v1/uplinks", "", 200},
	{"list-uplinks", "/v1/uplinks?device=" + imei1 + "&limit=1", "", 200},
	{"list-uplinks", "/v1/uplinks?after=x", "", 422},
	{"list-uplinks", "/v1/uplinks?after=1-0&cursor=2-0", "", 422},
	{"list-uplinks", "/v1/uplinks?device=x", "", 422},
	{"list-rejects", "/v1/rejects", "", 200},
	{"list-events", "/v1/events", "", 200},
	{"live", "/v1/live?after=x", "", 422},
	{"explain", "/v1/explain", `{"body":"W10=","token":"00"}`, 200},
	{"explain", "/v1/explain", `{"body":"` + base64.StdEncoding.EncodeToString([]byte("[]\n")) + `","token":"00","device":"` + imei1 + `"}`, 200},
	{"explain", "/v1/explain", `{"body":"%","token":"00"}`, 422},
	{"explain", "/v1/explain", `{"body":"W10=","token":"00","device":"x"}`, 422},
	{"delete-session", "/v1/sessions/ui/a%2Fb", "", 204},
	{"delete-session", "/v1/sessions/ui/a%2Fb", "", 404},
	{"delete-device", "/v1/devices/" + imei1, "", 204},
	{"delete-device", "/v1/devices/" + imei1, "", 404},
	{"delete-app", "/v1/apps/contract", "", 204},
	{"delete-app", "/v1/apps/contract", "", 404},
	{"livez", "/livez", "", 200},
	{"readyz", "/readyz", "", 200},
	{"metrics", "/metrics", "", 200},
	{"openapi", "/openapi.json", "", 200},
	{"asyncapi", "/asyncapi.json", "", 200},
	{"reference", "/docs", "", 200},
}

// conditional are requests with a header more, after the others: with conditions,
// or bodies of other types. ETAG is the last that an answer had.
var conditional = []struct {
	op, path, body string
	status         int
	header, value  string
}{
	{"put-device", "/v1/devices/" + imei1, `{}`, 412, "If-Match", `"none"`},
	{"put-device", "/v1/devices/" + imei1, `{}`, 412, "If-Match", `*`},
	{"put-device", "/v1/devices/" + imei1, `{}`, 201, "If-None-Match", `*`},
	{"put-device", "/v1/devices/" + imei1, `{}`, 412, "If-None-Match", `*`},
	{"put-device", "/v1/devices/" + imei1, `{"name":"n","labels":{"a":"b"}}`, 200, "If-Match", `*`},
	{"put-device", "/v1/devices/" + imei1, `{"id":"` + imei2 + `"}`, 422, "If-Match", `*`},
	{"put-device", "/v1/devices/x", `{}`, 422, "If-Match", `*`},
	{"get-device", "/v1/devices/" + imei1, "", 304, "If-None-Match", `"x", W/ETAG`},
	{"get-device", "/v1/devices/" + imei1, "", 304, "If-None-Match", `*`},
	{"get-device", "/v1/devices/" + imei1, "", 200, "If-None-Match", `W/"none"`},
	{"patch-device", "/v1/devices/" + imei1, `{"name":null,"labels":{"a":null,"c":"d"}}`, 200, "Content-Type", mergePatch},
	{"patch-device", "/v1/devices/" + imei1, `{"name":"n"}`, 200, "Content-Type", "application/json"},
	{"patch-device", "/v1/devices/" + imei1, `{"name":"n"}`, 412, "If-Match", `"none"`},
	{"patch-device", "/v1/devices/" + imei1, `{"msisdn":"x"}`, 422, "If-Match", `*`},
	{"patch-device", "/v1/devices/" + imei2, `{"name":"n"}`, 404, "If-Match", `*`},
	{"list-devices", "/v1/devices?id=IMEI&name=N&label=c%3Dd&disabled=false&sort=-modifiedAt", "", 200, "Accept", "*/*"},
	{"rotate-secret", "/v1/devices/" + imei1 + "/secrets", `{"after":10}`, 201, "If-Match", `*`},
	{"rotate-secret", "/v1/devices/" + imei1 + "/secrets", `{"secret":"` + secretOf(imei1) + `"}`, 412, "If-Match", `"none"`},
	{"rotate-secret", "/v1/devices/" + imei1 + "/secrets", `{"window":"x"}`, 422, "If-Match", `*`},
	{"rotate-secret", "/v1/devices/" + imei2 + "/secrets", `{}`, 404, "If-Match", `*`},
	{"revoke-secret", "/v1/devices/" + imei1 + "/secrets/old", "", 412, "If-Match", `"none"`},
	{"revoke-secret", "/v1/devices/" + imei1 + "/secrets/old", "", 200, "If-Match", `*`},
	{"revoke-secret", "/v1/devices/" + imei1 + "/secrets/old", "", 404, "If-Match", `*`},
	{"import-devices", "/v1/devices/import?generateSecrets=true", `{"id":"` + uuid1 + `"}`, 200, "Content-Type", typeNDJSON},
	{"import-devices", "/v1/devices/import?dryRun=true&skipFaults=true", "{\n[]\n" + `{"x":1}`, 200, "Content-Type", typeNDJSON},
	{"import-devices", "/v1/devices/import", "id;name\n" + uuid1 + ";n", 200, "Content-Type", typeCSV + "; charset=utf-8"},
	{"import-devices", "/v1/devices/import?window=x", "id", 422, "Content-Type", typeCSV},
	{"export-devices", "/v1/devices/export", "", 200, "Accept", typeNDJSON},
	{"export-devices", "/v1/devices/export?format=csv&label=c", "", 200, "Accept", "*/*"},
	{"get-device", "/v1/devices/" + imei1, "", 200, "Accept", "*/*"},
	{"delete-device", "/v1/devices/" + imei1, "", 412, "If-Match", `W/ETAG`},
	{"delete-device", "/v1/devices/" + imei1, "", 204, "If-Match", `"none", ETAG`},

	{"put-app", "/v1/apps/contract", `{"scopes":["uplink.read"]}`, 412, "If-Match", `*`},
	{"put-app", "/v1/apps/contract", `{"scopes":["uplink.read"]}`, 201, "If-None-Match", `*`},
	{"put-app", "/v1/apps/contract", `{"scopes":["uplink.read"]}`, 412, "If-None-Match", `*`},
	{"put-app", "/v1/apps/contract", `{"scopes":["uplink.read"],"limits":{"requests":1.5}}`, 200, "If-Match", `*`},
	{"put-app", "/v1/apps/contract", `{"scopes":["uplink.read"],"name":"other"}`, 422, "If-Match", `*`},
	{"get-app", "/v1/apps/contract", "", 304, "If-None-Match", `*`},
	{"patch-app", "/v1/apps/contract", `{"limits":null,"devices":["` + imei1 + `"]}`, 200, "Content-Type", mergePatch},
	{"patch-app", "/v1/apps/contract", `{"devices":["x"]}`, 422, "If-Match", `*`},
	{"patch-app", "/v1/apps/contract", `{"devices":null}`, 412, "If-Match", `"none"`},
	{"patch-app", "/v1/apps/nobody", `{"devices":null}`, 404, "If-Match", `*`},
	{"rotate-app-key", "/v1/apps/contract/key", `{"window":"1h"}`, 201, "If-Match", `*`},
	{"rotate-app-key", "/v1/apps/contract/key", "", 201, "Accept", "*/*"},
	{"rotate-app-key", "/v1/apps/contract/key", `{}`, 412, "If-Match", `"none"`},
	{"delete-app", "/v1/apps/contract", "", 412, "If-Match", `"none"`},
	{"delete-app", "/v1/apps/contract", "", 204, "If-Match", `*`},

	{"trace", "/v1/trace?device=" + imei2, "", 404, "Accept", "*/*"},
	{"trace", "/v1/trace", "", 422, "Accept", "*/*"},
}

// TestContract holds the served OpenAPI document against what the server does:
// each operation is asked well and badly, and answers nothing that the document
// does not say: no status, type, header or name. What the document says must
// have been seen.
func TestContract(t *testing.T) {
	var logged safeBuffer
	d := startDownlinks(t, redistest.Start(t), keepSessions, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&logged, nil))
		c.ReceiptRate = 20
		c.SMSReceipts = operator{func() bool { return c.Client.Ping(context.Background()).Err() == nil }}
	})
	a, c := d.testAPI, newContract(d.testAPI)
	a.session("ui", "a/b")
	lacking, reader := a.app("lacking", "downlink.write"), a.app("reader", "downlink.read")
	narrow := a.app("narrow", "device.write device.read uplink.read reject.read", imei2)
	a.entries()
	c.slow = a.limitedApp("slow")
	c.try(c.operation("list-devices"), http.StatusOK, c.slow, "/v1/devices", "")
	c.bad(lacking, reader)
	for _, r := range goodAndBad {
		c.try(c.operation(r.op), r.status, adminKey, r.path, r.body)
	}
	var etag string
	for _, r := range conditional {
		got := c.try(c.operation(r.op), r.status, adminKey, r.path, r.body, r.header, strings.ReplaceAll(r.value, "ETAG", etag))
		etag = cmp.Or(got.header.Get("ETag"), etag)
	}
	c.withoutTrace()
	c.try(c.operation("create-device"), http.StatusForbidden, narrow, "/v1/devices", `{"id":"`+imei1+`"}`)
	c.try(c.operation("list-uplinks"), http.StatusForbidden, narrow, "/v1/uplinks?device="+imei1, "")
	c.try(c.operation("list-devices"), http.StatusOK, adminKey, "/v1/devices", "", "Accept", "application/xml") // there is only JSON
	c.live()
	c.downlinks(d)
	c.receipts()
	a.redis.Kill()
	for _, op := range c.operations() {
		if op.Responses["503"].Headers != nil {
			c.try(op, http.StatusServiceUnavailable, adminKey, op.sample(), goodBodies[op.OperationID], "Content-Type", op.media())
		}
	}
	c.complete()
	for _, id := range []string{"request=contract-get-device ", "request=contract-list-uplinks "} {
		if !strings.Contains(logged.String(), id) {
			t.Errorf("no failure is logged with %s", id)
		}
	}
	if strings.Contains(logged.String(), adminKey) {
		t.Error("a key is in the log")
	}
}

// limitedApp is an app that may make one request, and no other for a while.
func (a *testAPI) limitedApp(name string) string {
	a.t.Helper()
	key := a.app(name, "admin")
	a.expect(a.patch(adminKey, "/v1/apps/"+name, `{"limits":{"requests":0.01}}`), http.StatusOK)
	return key
}

// withoutTrace asks a bridge that keeps no steps for some.
func (c *contract) withoutTrace() {
	c.t.Helper()
	api, err := New(Config{Registry: c.api.registry, Client: c.api.client, Keys: c.api.keys})
	if err != nil {
		c.t.Fatal(err)
	}
	server := httptest.NewServer(api.Handler())
	defer server.Close()
	whole := c.api
	bare := *whole
	bare.url, c.api = server.URL, &bare
	c.try(c.operation("trace"), http.StatusNotFound, adminKey, "/v1/trace?device="+imei2, "")
	c.try(c.operation("live"), http.StatusNotFound, adminKey, "/v1/live?kind=steps&device="+imei2, "")
	c.api = whole
}

// goodBodies are for when something else is bad: Redis is gone, or a parameter.
var goodBodies = map[string]string{
	"create-device": `{"id":"` + imei2 + `"}`, "create-app": `{"name":"more","scopes":["admin"]}`,
	"explain":    `{"body":"W10=","token":"00","device":"` + imei2 + `"}`,
	"put-device": `{}`, "patch-device": `{"name":"n"}`, "rotate-secret": `{}`, "import-devices": `{"id":"` + imei2 + `","unsigned":true}`,
	"create-downlink": downlinkBody, "create-http-downlink": downlinkBody, "create-mqtt-downlink": downlinkBody, "create-sms-downlink": downlinkBody,
	"create-sms": downlinkBody, "take-sms-receipts": "kept",
	"put-app": `{"scopes":["admin"]}`, "patch-app": `{"scopes":["admin"]}`, "rotate-app-key": `{}`,
}

// entries puts some of each kind into the streams, whole and bare.
func (a *testAPI) entries() {
	a.uplink(imei1, 1)
	a.add(uplinks, uuid1, "via", "mqtt", "token", "", "pack", `[]`, "raw", "\xff", "unsigned", "1")
	a.add(rejects, imei1, "via", "http", "reason", "wrong-token", "detail", "d", "remote", "192.0.2.1:1", "body", "\x00[")
	a.add(rejects, "", "via", "", "reason", "suppressed", "detail", "", "remote", "", "body", "")
	a.add(events, imei1, "kind", "presence", "id", "", "state", "online", "cause", "connected", "via", "mqtt")
	a.add(events, "", "app", "ui", "kind", "gap", "id", "ui/a", "state", "missed", "cause", "c")
}

// live reads one message of each type.
func (c *contract) live() {
	op := c.operation("live")
	l := c.api.live(adminKey, "?after=0", "")
	c.hold(op, answer{http.StatusOK, withID(l.header, op), nil})
	types := map[string]bool{}
	for len(types) < 3 {
		m, ok := l.next()
		if !ok {
			c.t.Fatal("the stream ended")
		}
		c.event(m)
		types[m.event] = true
	}
	l.cancel()
	c.step()
	c.inUse()
	// A client that starts before what was trimmed is told of a gap.
	key := c.api.keys.Key(0, string(uplinks))
	first := c.api.uplink(imei1, 2)
	c.api.uplink(imei1, 3)
	c.api.uplink(imei1, 4)
	if err := c.api.client.XTrimMaxLen(c.t.Context(), key, 1).Err(); err != nil {
		c.t.Fatal(err)
	}
	l = c.api.live(adminKey, "?kind=uplinks&after="+first, "")
	defer l.cancel()
	m, _ := l.next()
	if m.event != "gap" {
		c.t.Errorf("got %v", m)
	}
	c.event(m)
}

// inUse has a device use the old one of its two secrets, which another rotation would end.
func (c *contract) inUse() {
	old := secretOf(imei2)
	c.api.want(http.StatusCreated, adminKey, "POST", "/v1/devices", `{"id":"`+imei2+`","secret":"`+old+`"}`, nil)
	path, op := "/v1/devices/"+imei2, c.operation("rotate-secret")
	c.try(op, http.StatusCreated, adminKey, path+"/secrets", "{}")
	if _, err := c.api.registry.VerifyToken(c.t.Context(), imei2, []byte("x"), auth.Token([]byte("x"), old)); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		var d Device
		c.api.want(http.StatusOK, adminKey, "GET", path, "", &d)
		if d.LastSecret == 2 {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatal("which secret it uses is not noted")
		}
	}
	c.try(op, http.StatusConflict, adminKey, path+"/secrets", "{}")
	c.try(op, http.StatusCreated, adminKey, path+"/secrets", `{"force":true}`)
	c.api.want(http.StatusNoContent, adminKey, "DELETE", path, "", nil)
}

// step reads a step of a device, live and from what is kept.
func (c *contract) step() {
	c.api.call(adminKey, "PUT", "/v1/devices/"+imei1, "{}") // whether it was there or not: only of such there are steps
	c.api.listening()
	c.api.message(imei1, "1700000000000-1")
	op := c.operation("trace")
	if got := c.try(op, http.StatusOK, adminKey, "/v1/trace?device="+imei1, ""); !contains(got.body, "1700000000000-1") {
		c.t.Errorf("no steps in %s", got.body)
	}
	l := c.api.live(adminKey, "?kind=steps&device="+imei1, "")
	defer l.cancel()
	m, _ := l.next()
	if m.event != typeStep {
		c.t.Errorf("got %v", m)
	}
	c.event(m)
}

// withID is the header as if the request had had an id of its own.
func withID(h http.Header, op *operation) http.Header {
	if h.Get("X-Request-Id") == "" {
		return h
	}
	h = h.Clone()
	h.Set("X-Request-Id", "contract-"+op.OperationID)
	return h
}

// What no operation is at answers as the document's head says.
func TestContractBesideOperations(t *testing.T) {
	d := startDownlinks(t, redistest.Start(t), keepSessions)
	a, c := d.testAPI, newContract(d.testAPI)
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nothing", 404}, {"GET", "/v1/sessions/ui", 404}, {"POST", "/v1/sessions/ui/a", 405}, {"GET", "/v1/sessions/ui/", 404}, {"DELETE", "/v1/sessions/ui", 404},
		{"PUT", "/v1/apps", 405}, {"POST", "/docs", 405}, {"DELETE", "/v1/explain", 405},
	} {
		got := a.call(adminKey, r.method, r.path, "")
		if got.status != r.status || got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %d %v", r.method, r.path, got.status, got.header)
		}
		c.fits(r.path, strings.Join([]string{"components", "schemas", "ErrorModel"}, "\x00"), got.body)
	}
	for _, op := range c.operations() {
		if op.method != "GET" || op.OperationID == "live" {
			continue
		}
		if got := a.call(adminKey, "HEAD", op.sample(), ""); got.status == 405 || len(got.body) > 0 {
			t.Errorf("HEAD %s: %d %s", op.path, got.status, got.body)
		}
	}
}

// safeBuffer may be written to while it is read.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A body that does not come is waited for, and then refused as documented.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	d := startDownlinks(t, redistest.Start(t), func(c *Config) { c.SMSReceipts = operator{func() bool { return true }} })
	a, c := d.testAPI, newContract(d.testAPI)
	var waiting sync.WaitGroup // all at once: each waits for seconds
	for _, op := range c.operations() {
		if op.RequestBody == nil {
			continue
		}
		waiting.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
			if err != nil {
				t.Errorf("%s: %v", op.OperationID, err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nX-Request-Id: contract-%s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{",
				op.method, op.sample(), op.OperationID, adminKey, op.media())
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s: %v", op.OperationID, err)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusRequestTimeout {
				t.Errorf("%s: %d, %v", op.OperationID, resp.StatusCode, err)
			}
			if _, said := op.Responses["408"]; !said || !strings.Contains(string(body), `"status":408`) || resp.Header.Get("X-Request-Id") != "contract-"+op.OperationID {
				t.Errorf("%s: %v %s", op.OperationID, resp.Header, body)
			}
		})
	}
	waiting.Wait()
}
