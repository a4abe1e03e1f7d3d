package fleet

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// checker is an HTTP server that knows the devices, and answers as a test wants.
type checker struct {
	t       *testing.T
	devices map[string]Device // by base name
	answer  func(w http.ResponseWriter, body string)
	conns   atomic.Int64

	mu     sync.Mutex
	bodies map[string]int
}

func serveHTTP(t *testing.T, devices []Device, answer func(http.ResponseWriter, string)) (c *checker, addr string) {
	t.Helper()
	c = &checker{t: t, devices: make(map[string]Device), answer: answer, bodies: make(map[string]int)}
	for _, d := range devices {
		c.devices[d.BaseName()] = d
	}
	server := httptest.NewUnstartedServer(c)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return c, strings.TrimPrefix(server.URL, "http://")
}

func (c *checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bn, _ := parse(c.t, body)[0]["bn"].(string)
	d, known := c.devices[bn]
	if !known || r.Header.Get("Things-Message-Token") != d.Token(body) || r.Host != "m.m" || r.URL.Path != d.Path() {
		c.t.Errorf("not a message of a device: %s %s%s %s", r.Method, r.Host, r.URL, body)
	}
	c.mu.Lock()
	c.bodies[string(body)]++
	c.mu.Unlock()
	if c.answer != nil {
		c.answer(w, string(body))
	}
}

// repeated is the number of bodies that came more than once, and different the number of different ones.
func (c *checker) seen() (different, repeated int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.bodies {
		if n > 1 {
			repeated++
		}
	}
	return len(c.bodies), repeated
}

func run(t *testing.T, cfg LoadConfig) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	load, err := NewLoad(cfg)
	if err != nil {
		t.Fatal(err)
	}
	report := load.Run(ctx)
	if ctx.Err() != nil {
		t.Fatalf("not done in time: %+v", report)
	}
	return report
}

func TestHTTPCount(t *testing.T) {
	devices := Devices("seed", 0, 10)
	server, addr := serveHTTP(t, devices, nil)
	report := run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, Connections: 3, Count: 500})
	different, repeated := server.seen()
	if report.Accepted != 500 || report.Sent != 500 || report.Failures() != 0 || different != 500 || repeated != 0 {
		t.Errorf("report %+v, server saw %d and %d of them twice", report, different, repeated)
	}
	if report.Latency.Count() != 500 || report.Latency.Quantile(0.5) <= 0 {
		t.Errorf("%d latencies, half of them up to %v", report.Latency.Count(), report.Latency.Quantile(0.5))
	}
	if n := server.conns.Load(); n != 3 {
		t.Errorf("%d connections, not 3", n)
	}
}

func TestHTTPEveryDeviceHasItsTurn(t *testing.T) {
	for _, connections := range []int{1, 3, 7, 10, 25} {
		devices := Devices("seed", 0, 10)
		server, addr := serveHTTP(t, devices, nil)
		run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, Connections: connections, Rate: 20_000, Count: 400})
		turns := make(map[any]bool)
		for body := range server.bodies {
			turns[parse(t, []byte(body))[0]["bn"]] = true
		}
		if len(turns) != 10 {
			t.Errorf("%d connections: messages of %d devices, not 10", connections, len(turns))
		}
	}
}

func TestHTTPConnectionPerMessage(t *testing.T) {
	devices := Devices("seed", 0, 2)
	server, addr := serveHTTP(t, devices, nil)
	report := run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, PerRequest: true, Count: 50})
	if report.Accepted != 50 || server.conns.Load() != 50 {
		t.Errorf("%d accepted on %d connections", report.Accepted, server.conns.Load())
	}
}

func TestHTTPDownlinkInAnswer(t *testing.T) {
	devices := Devices("seed", 0, 1)
	_, addr := serveHTTP(t, devices, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, `[{"bn":"x"}]`) })
	c := httpConn{link: link{addr: addr, timeout: time.Second}}
	defer c.close()
	for range 3 {
		status, answer, err := c.post(t.Context(), devices[0], []byte(`[{"bn":"`+devices[0].BaseName()+`"}]`))
		if status != 200 || string(answer) != `[{"bn":"x"}]` || err != nil {
			t.Fatalf("status %d, answer %q, error %v", status, answer, err)
		}
	}
}

func TestHTTPFailuresAreCounted(t *testing.T) {
	devices := Devices("seed", 0, 1)
	n := 0
	_, addr := serveHTTP(t, devices, func(w http.ResponseWriter, _ string) {
		if n++; n%2 == 0 {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	report := run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, Count: 6})
	if report.Accepted != 3 || report.Failed["403"] != 3 {
		t.Errorf("report %+v", report)
	}
	report = run(t, LoadConfig{Via: HTTP, Addr: unusedAddr(t), Devices: devices, Count: 2})
	if report.Accepted != 0 || report.Failed["connection refused"] != 2 {
		t.Errorf("report %+v", report)
	}
}

func TestHTTPSilentServerIsLeft(t *testing.T) {
	devices := Devices("seed", 0, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	report := run(t, LoadConfig{Via: HTTP, Addr: ln.Addr().String(), Devices: devices, Count: 1, Timeout: 50 * time.Millisecond})
	if report.Failed["timed out"] != 1 {
		t.Errorf("report %+v", report)
	}
	load, err := NewLoad(LoadConfig{Via: HTTP, Addr: ln.Addr().String(), Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if report := load.Run(ctx); report.Failures() != 0 || report.Elapsed > 5*time.Second {
		t.Errorf("the end of the run took %v and counts as a failure: %+v", report.Elapsed, report)
	}
}

func TestHTTPRate(t *testing.T) {
	devices := Devices("seed", 0, 8)
	_, addr := serveHTTP(t, devices, nil)
	report := run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, Rate: 400, For: 500 * time.Millisecond})
	if report.Accepted < 100 || report.Rate() > 440 {
		t.Errorf("%d messages in %v at 400/s", report.Accepted, report.Elapsed)
	}
}

// A server that stops for a while shows in the latency of the messages that were due meanwhile, not only of the one it held.
func TestHTTPRateCountsFromWhenDue(t *testing.T) {
	devices := Devices("seed", 0, 1)
	n := 0
	_, addr := serveHTTP(t, devices, func(http.ResponseWriter, string) {
		if n++; n == 1 {
			time.Sleep(200 * time.Millisecond)
		}
	})
	report := run(t, LoadConfig{Via: HTTP, Addr: addr, Devices: devices, Rate: 100, Count: 20})
	if got := report.Latency.Quantile(0.5); got < 50*time.Millisecond {
		t.Errorf("half the latencies are up to %v although all 20 messages were held up by 200 ms", got)
	}
}

func TestParseHead(t *testing.T) {
	for name, head := range map[string]string{
		"not HTTP": "RTSP/1.0 200 OK\r\n", "status": "HTTP/1.1 2x0 OK\r\n", "short": "HTTP/1.1 200\r\n",
		"no length": "HTTP/1.1 200 OK\r\nA: b\r\n", "negative": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
		"huge": "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n",
	} {
		if _, _, _, err := parseHead([]byte(head)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	status, length, last, err := parseHead([]byte("HTTP/1.0 503 x\r\ncontent-length:7\r\nConnection: Close\r\n"))
	if status != 503 || length != 7 || !last || err != nil {
		t.Errorf("status %d, length %d, last %v, error %v", status, length, last, err)
	}
}

// Half the messages are cut off without an answer, a quarter answered 503: in the end each is answered 200.
func TestNumberedHTTP(t *testing.T) {
	devices := Devices("seed", 0, 4)
	var n atomic.Int64
	server, addr := serveHTTP(t, devices, func(w http.ResponseWriter, _ string) {
		switch n.Add(1) % 4 {
		case 0, 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	numbered := NewNumbered(NumberedConfig{Via: HTTP, Addr: addr, Devices: devices, Count: 10})
	if err := numbered.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored := func(yield func(Number) bool) {
		for body := range server.bodies {
			if number, ok := NumberOf([]byte(body)); !ok || !yield(number) {
				t.Errorf("not a numbered message: %s", body)
			}
		}
	}
	if d := numbered.Compare(stored); numbered.Acked() != 40 || len(d.Missing)+len(d.Repeated) > 0 || len(server.bodies) != 40 {
		t.Errorf("%d acknowledged, %d bodies, difference %+v", numbered.Acked(), len(server.bodies), d)
	}
	if numbered.Repeats() == 0 || numbered.Broken() == 0 {
		t.Errorf("%d repeats, %d broken connections", numbered.Repeats(), numbered.Broken())
	}
}

func TestNumberedHTTPRefused(t *testing.T) {
	devices := Devices("seed", 0, 1)
	_, addr := serveHTTP(t, devices, func(w http.ResponseWriter, _ string) { http.Error(w, "no", http.StatusForbidden) })
	numbered := NewNumbered(NumberedConfig{Via: HTTP, Addr: addr, Devices: devices, Count: 10})
	if err := numbered.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("error %v", err)
	}
}

func unusedAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
