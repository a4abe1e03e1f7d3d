package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/trace"
)

const (
	adminKey = "the-admin-key-of-this-test-0123456789"
	imei1    = "IMEI:356726104408422"
	imei2    = "IMEI:490154203237518"
	uuid1    = "DVNUUID:0b2ae3f5-5a1c-4c1e-9d0e-3f1d2c4b5a69"
)

// testAPI is an API on a real listener, with a real Redis behind it.
type testAPI struct {
	t        *testing.T
	redis    *redistest.Server
	client   *redis.Client
	keys     auth.Keyspace
	registry *auth.Registry
	trace    *trace.Trace
	url      string
	stop     context.CancelFunc // ends Serve
	stopped  chan error
}

type option func(*Config)

func partitions(n int) option { return func(c *Config) { c.Keys.Partitions = n } }

func start(t *testing.T, server *redistest.Server, options ...option) *testAPI {
	t.Helper()
	a := &testAPI{t: t, redis: server, client: server.Client(), stopped: make(chan error, 1)}
	c := Config{Client: a.client, Version: "test", CanStore: func(ctx context.Context) error { return a.client.Ping(ctx).Err() }}
	for _, o := range options {
		o(&c)
	}
	a.keys = c.Keys
	blocking := server.Client()
	var err error
	a.registry, err = auth.NewRegistry(auth.RegistryConfig{
		Client: a.client, Blocking: blocking, Keys: c.Keys, AdminKey: adminKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Registry = a.registry
	a.trace = trace.New(trace.Config{Memory: 1 << 20, Node: "here", Client: a.client, Keys: c.Keys, Registry: a.registry})
	c.Trace = a.trace
	api, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	watching := make(chan error, 2)
	go func() { watching <- a.registry.Run(ctx) }()
	go func() { watching <- a.trace.Run(ctx) }()
	go func() { a.stopped <- api.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		_ = blocking.Close() // ends its XREAD
		<-watching
		<-watching
		a.awaitStop()
	})
	return a
}

// awaitStop returns what Serve did; at the second call nothing.
func (a *testAPI) awaitStop() {
	a.t.Helper()
	select {
	case err, ok := <-a.stopped:
		if ok && err != nil {
			a.t.Errorf("serve: %v", err)
		}
		if ok {
			close(a.stopped)
		}
	case <-time.After(10 * time.Second):
		a.t.Error("serve has not stopped")
	}
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// call makes a request with an app's key; body "" for none, else it is JSON,
// header in pairs of a name and a value.
func (a *testAPI) call(key, method, path, body string, header ...string) answer {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, got}
}

// want is call with its status checked, and the answer read into out.
func (a *testAPI) want(status int, key, method, path, body string, out any) answer {
	a.t.Helper()
	got := a.call(key, method, path, body)
	if got.status != status {
		a.t.Fatalf("%s %s: %d %s, want %d", method, path, got.status, got.body, status)
	}
	if out != nil {
		if err := json.Unmarshal(got.body, out); err != nil {
			a.t.Fatalf("%s %s: %v in %s", method, path, err, got.body)
		}
	}
	return got
}

// app makes an app and gives its key.
func (a *testAPI) app(name, scopes string, devices ...string) string {
	a.t.Helper()
	in, err := json.Marshal(map[string]any{"name": name, "scopes": strings.Fields(scopes), "devices": devices})
	if err != nil {
		a.t.Fatal(err)
	}
	var app App
	a.want(http.StatusCreated, adminKey, "POST", "/v1/apps", string(in), &app)
	if app.Key == "" {
		a.t.Fatal("no key")
	}
	return app.Key
}

func (a *testAPI) device(id, labels string) {
	a.t.Helper()
	if labels == "" {
		labels = "{}"
	}
	a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", fmt.Sprintf(`{"id":%q,"secret":%q,"labels":%s}`, id, secretOf(id), labels), nil)
}

func secretOf(id string) string {
	return strings.Repeat("s", 20) + strings.NewReplacer(":", "", "-", "").Replace(id)
}

// add writes an entry to a stream and gives its id.
func (a *testAPI) add(k stream.Kind, device string, fields ...string) string {
	a.t.Helper()
	values := []any{"device", device, "at", "1700000000123"}
	for _, f := range fields {
		values = append(values, f)
	}
	id, err := a.client.XAdd(a.t.Context(), &redis.XAddArgs{
		Stream: a.keys.Key(a.keys.Partition(auth.DeviceID(device)), string(k)), Values: values,
	}).Result()
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *testAPI) uplink(device string, v int) string {
	a.t.Helper()
	return a.add(uplinks, device, "via", "http", "token", "00", "pack", fmt.Sprintf(`[{"bn":"urn:dev:%s:","bt":1700000000,"n":"t","v":%d}]`, device, v))
}

// live is a client of /v1/live.
type live struct {
	t      *testing.T
	cancel context.CancelFunc
	header http.Header
	got    chan message
	gate   chan struct{} // when closed, the client reads on
}

type message struct{ id, event, data string }

func (a *testAPI) live(key, query, lastID string) *live {
	a.t.Helper()
	l := a.slowLive(key, query, lastID)
	close(l.gate)
	return l
}

// slowLive is a client that reads nothing but the first comment until its gate
// is closed.
func (a *testAPI) slowLive(key, query, lastID string) *live {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/v1/live"+query, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		a.t.Fatalf("live: %d %s", resp.StatusCode, body)
	}
	l := &live{a.t, cancel, resp.Header, make(chan message, 10000), make(chan struct{})}
	a.t.Cleanup(cancel)
	opened := make(chan struct{})
	go l.read(resp.Body, opened)
	<-opened // the first comment comes when the position is settled
	return l
}

func (l *live) read(body io.ReadCloser, opened chan struct{}) {
	defer body.Close()
	defer close(l.got)
	var m message
	for lines := bufio.NewScanner(body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data = value
		case "":
			if opened != nil {
				close(opened)
				opened = nil
				<-l.gate
			}
			if m.data != "" {
				l.got <- m
			}
			m = message{}
		}
	}
}

// next is the next message, which must come soon; ok is false at the end.
func (l *live) next() (m message, ok bool) {
	l.t.Helper()
	select {
	case m, ok = <-l.got:
		return m, ok
	case <-time.After(10 * time.Second):
		l.t.Fatal("no message came")
		return m, false
	}
}

// expect checks the ids of the data of the next messages of one type.
func (l *live) expect(event string, ids ...string) (last message) {
	l.t.Helper()
	for _, id := range ids {
		m, ok := l.next()
		var item struct{ ID string }
		if !ok || json.Unmarshal([]byte(m.data), &item) != nil || m.event != event || item.ID != id {
			l.t.Fatalf("got %s %s %s, want %s %s", m.event, m.id, m.data, event, id)
		}
		last = m
	}
	return last
}

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }
