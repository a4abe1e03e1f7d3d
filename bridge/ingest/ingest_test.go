package ingest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/bridge/uplink"
)

// uplinks is the far side of the listener: it keeps what it was handed, and
// answers as it is told. What real verdicts are is bridge/uplink's test.
type uplinks struct {
	mu      sync.Mutex
	got     []uplink.Message
	rejects []uplink.Reject
	verdict uplink.Verdict
	hold    chan struct{} // not nil: wait for it
}

func (u *uplinks) Accept(_ context.Context, m *uplink.Message) uplink.Verdict {
	u.mu.Lock()
	kept := *m
	kept.Body = append([]byte(nil), m.Body...)
	u.got = append(u.got, kept)
	v, hold := u.verdict, u.hold
	u.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return v
}

func (u *uplinks) Reject(r uplink.Reject) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rejects = append(u.rejects, r)
}

func (u *uplinks) last(t *testing.T) uplink.Message {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.got) == 0 {
		t.Fatal("nothing was handed over")
	}
	return u.got[len(u.got)-1]
}

// start serves until the test ends.
func start(t *testing.T, u *uplinks, cfg Config) (addr string) {
	t.Helper()
	cfg.Uplinks = u
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 64 << 10
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := New(cfg)
	go func() { done <- s.Serve(ctx, ln, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// exchange sends raw bytes and reads one answer.
func exchange(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	for res.StatusCode == http.StatusContinue {
		if res, err = http.ReadResponse(r, nil); err != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

const pack = `[{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":1}]`

// Quirks of devices that WIRE.md lists.
func TestQuirks(t *testing.T) {
	n := len(pack)
	tests := map[string]string{
		"the seed":             fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"bare LF":              fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\nHost: m.m\nThings-Message-Token: TK\nContent-Length: %d\n\n%s", n, pack),
		"lower case, no gap":   fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nhost:m.m\r\nthings-message-token:TK\r\ncontent-length:%d\r\n\r\n%s", n, pack),
		"two Content-Types":    fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Type: text/plain\r\nContent-Type: application/json\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"1.0 with Host":        fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.0\r\nHost: m.m\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"1.0 without Host":     fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.0\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"chunked":              fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", pack[:5], n-5, pack[5:]),
		"100-continue":         fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"absolute form":        fmt.Sprintf("POST http://m.m/ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"Connection: close":    fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nConnection: close\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"no type, obs-fold":    fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nX-A: b\r\n c\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"a query is ignored":   fmt.Sprintf("POST /ingestion/m2m/senml/v1?x=1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", n, pack),
		"white space round it": fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token:   TK  \r\nContent-Length: %d\r\n\r\n%s", n, pack),
	}
	for name, request := range tests {
		t.Run(name, func(t *testing.T) {
			u := &uplinks{verdict: uplink.Verdict{Outcome: uplink.Stored}}
			res, body := exchange(t, start(t, u, Config{}), request)
			if res.StatusCode != 200 || body != "" || res.Header.Get("Content-Length") != "0" || res.TransferEncoding != nil {
				t.Errorf("answer %s %q, headers %v", res.Status, body, res.Header)
			}
			m := u.last(t)
			if string(m.Body) != pack || m.Token != "TK" || !m.HasToken || m.PathType != "IMEI" || m.Via != uplink.HTTP || m.Remote == "" {
				t.Errorf("handed over %+v", m)
			}
		})
	}
}

// Requests sent ahead, before the answers of those before them, are all
// answered in order on the one connection, which is kept through quiet times.
func TestPipelined(t *testing.T) {
	u := &uplinks{verdict: uplink.Verdict{Outcome: uplink.Stored}}
	addr := start(t, u, Config{HeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	request := func(body string) string {
		return fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	r := bufio.NewReader(c)
	for round := range 3 {
		_, _ = io.WriteString(c, request("a")+request("b")+request("")+request("c"))
		for range 4 {
			if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 200 {
				t.Fatalf("round %d: %v %v", round, res, err)
			}
		}
	}
	var got string
	for _, m := range u.got {
		got += string(m.Body) + ","
	}
	if got != strings.Repeat("a,b,,c,", 3) {
		t.Errorf("handed over %s", got)
	}
}

// What is refused before it is an uplink, and how.
func TestTurnedAway(t *testing.T) {
	const head = " HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\n"
	tests := []struct {
		name, request string
		status        int
		text          string
		header        string // "name: value" that must be there
		rejected      bool
	}{
		{"other path", "POST /ingestion" + head + "Content-Length: 0\r\n\r\n", 404, "/ingestion/m2m/senml/v1", "", true},
		{"double slash is no redirect", "POST //ingestion/m2m/senml/v1" + head + "Content-Length: 0\r\n\r\n", 404, "no such path", "", true},
		{"GET", "GET /ingestion/m2m/senml/v1" + head + "\r\n", 405, "POST", "Allow: POST", false},
		{"PUT", "PUT /ingestion/m2m/senml/v1" + head + "Content-Length: 0\r\n\r\n", 405, "POST", "Allow: POST", true},
		{"OPTIONS *", "OPTIONS *" + head + "\r\n", 404, "no such path", "", false},
		{"two tokens", "POST /ingestion/m2m/senml/v1" + head + "Things-Message-Token: TK\r\nContent-Length: 2\r\n\r\n[]", 400, "two Things-Message-Token", "", true},
		{"too large", "POST /ingestion/m2m/senml/v1" + head + "Content-Length: 101\r\n\r\n" + strings.Repeat("x", 101), 413, "100 bytes", "Connection: close", true},
		{"too large, waiting for 100-continue", "POST /ingestion/m2m/senml/v1" + head + "Expect: 100-continue\r\nContent-Length: 101\r\n\r\n", 413, "100 bytes", "", true},
		{"too large in chunks", "POST /ingestion/m2m/senml/v1" + head + "Transfer-Encoding: chunked\r\n\r\n80\r\n" + strings.Repeat("x", 128) + "\r\n0\r\n\r\n", 413, "100 bytes", "", true},
		{"bad chunk", "POST /ingestion/m2m/senml/v1" + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := &uplinks{}
			res, body := exchange(t, start(t, u, Config{MaxBody: 100}), tt.request)
			if res.StatusCode != tt.status || !strings.Contains(body, tt.text) || strings.Count(body, "\n") != 1 {
				t.Errorf("answer %s %q", res.Status, body)
			}
			if k, v, _ := strings.Cut(tt.header, ": "); k != "" && res.Header.Get(k) != v && (k != "Connection" || !res.Close) {
				t.Errorf("header %s is %q", k, res.Header.Get(k))
			}
			if len(u.got) != 0 || (len(u.rejects) == 1) != tt.rejected {
				t.Errorf("handed over %d, rejects %+v", len(u.got), u.rejects)
			}
		})
	}
}

// A body that ends before its Content-Length is refused although its bytes are
// a whole pack, whose token would match.
func TestBodyCut(t *testing.T) {
	u := &uplinks{verdict: uplink.Verdict{Outcome: uplink.Stored}}
	addr := start(t, u, Config{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: TK\r\nContent-Length: %d\r\n\r\n%s", len(pack)+1, pack)
	_ = c.(*net.TCPConn).CloseWrite()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 400 {
		t.Fatalf("answer %v, %v", res, err)
	}
	if len(u.got) != 0 {
		t.Error("a cut body was handed over")
	}
}

// DESIGN's table of statuses, and one line of text that names the fault.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		verdict uplink.Verdict
		status  int
		retry   string
	}{
		{uplink.Verdict{Outcome: uplink.Repeated}, 200, ""},
		{uplink.Verdict{Outcome: uplink.Heartbeat}, 200, ""},
		{uplink.Verdict{Outcome: uplink.BadPack, Detail: "d"}, 400, ""},
		{uplink.Verdict{Outcome: uplink.TokenMissing, Detail: "d"}, 401, ""},
		{uplink.Verdict{Outcome: uplink.Forbidden, Detail: "d"}, 403, ""},
		{uplink.Verdict{Outcome: uplink.Unknown, Detail: "d"}, 404, ""},
		{uplink.Verdict{Outcome: uplink.RateLimited, Detail: "d", RetryAfter: 1500 * time.Millisecond}, 429, "2"},
		{uplink.Verdict{Outcome: uplink.Unavailable, Detail: "d", RetryAfter: time.Second}, 503, "1"},
	} {
		t.Run(tt.verdict.Outcome.String(), func(t *testing.T) {
			u := &uplinks{verdict: tt.verdict}
			res, body := exchange(t, start(t, u, Config{}), "POST /ingestion/ip/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Length: 2\r\n\r\n[]")
			if res.StatusCode != tt.status || res.Header.Get("Retry-After") != tt.retry {
				t.Errorf("answer %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
			}
			if want := map[bool]string{true: "", false: "d\n"}[tt.status == 200]; body != want {
				t.Errorf("body %q, want %q", body, want)
			}
			if m := u.last(t); m.HasToken || m.PathType != "DVNUUID" {
				t.Errorf("handed over %+v", m)
			}
		})
	}
}

// A client that sends its header, or its body, too slowly is cut off.
func TestSlowClients(t *testing.T) {
	u := &uplinks{}
	addr := start(t, u, Config{HeaderTimeout: 100 * time.Millisecond, ReadTimeout: 200 * time.Millisecond, IdleTimeout: 100 * time.Millisecond})
	for name, sent := range map[string]string{
		"header": "POST /ingestion/m2m/senml/v1 HT",
		"body":   "POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Length: 100\r\n\r\n[",
		"idle":   "",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, sent)
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("not cut off: %v", err)
			}
		})
	}
	if len(u.got) != 0 {
		t.Error("a partial request was handed over")
	}
}

// A header beyond the limit is refused, not read for ever.
func TestLargeHeader(t *testing.T) {
	res, _ := exchange(t, start(t, &uplinks{}, Config{}), "POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nX: "+strings.Repeat("x", maxHeader+4<<10)+"\r\n\r\n")
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answer %s", res.Status)
	}
}

// At the limit of connections a new one is told to try again while the others
// are at work, and takes the place of one that idles.
func TestConnectionLimit(t *testing.T) {
	u := &uplinks{verdict: uplink.Verdict{Outcome: uplink.Stored}, hold: make(chan struct{})}
	addr := start(t, u, Config{MaxConnections: 1})
	request := fmt.Sprintf("POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Length: %d\r\n\r\n%s", len(pack), pack)
	busy, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, _ = io.WriteString(busy, request)
	for deadline := time.Now().Add(5 * time.Second); ; {
		u.mu.Lock()
		n := len(u.got)
		u.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first request did not arrive")
		}
	}
	res, _ := exchange(t, addr, request)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("answer while the other works: %s", res.Status)
	}
	close(u.hold)
	if res, err := http.ReadResponse(bufio.NewReader(busy), nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("the first: %v %v", res, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // until the first has idled its grace away
		res, _ := exchange(t, addr, request)
		if res.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("an idle connection kept its place: %s", res.Status)
		}
	}
}

// A request that does not come to its end gives way after a while, one that is
// being answered never does: senders of slow bodies do not keep the others out.
func TestSlowBodiesGiveWay(t *testing.T) {
	cs := newConnections(2)
	enter := func() *conn {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		c := cs.enter(a)
		if c == nil {
			t.Fatal("no place")
		}
		cs.track(c, http.StateNew)
		cs.track(c, http.StateActive)
		return c
	}
	answered, slow := enter(), enter() // the older of the two is the one being answered
	bodyRead(withConn(context.Background(), answered))
	now := time.Now()
	if c := cs.longestIdle(now.Add(slowGrace - time.Second)); c != nil {
		t.Error("a request that has just begun would lose its place")
	}
	if c := cs.longestIdle(now.Add(slowGrace + time.Second)); c != slow {
		t.Errorf("the slow sender would keep its place: %v", c)
	}
}

// A stop finishes what is in flight.
func TestStopFinishes(t *testing.T) {
	u := &uplinks{verdict: uplink.Verdict{Outcome: uplink.Stored}, hold: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := New(Config{Uplinks: u, MaxBody: 100})
	go func() { done <- s.Serve(ctx, ln, 5*time.Second) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /ingestion/m2m/senml/v1 HTTP/1.1\r\nHost: m.m\r\nContent-Length: %d\r\n\r\n%s", len(pack), pack)
	for {
		u.mu.Lock()
		n := len(u.got)
		u.mu.Unlock()
		if n == 1 {
			break
		}
	}
	cancel()
	select {
	case <-done:
		t.Fatal("stopped with a request in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(u.hold)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("the request in flight: %v %v", res, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzBody sends any bytes as a body, whole and in chunks: what is handed over
// is what was sent, or the answer is a refusal.
func FuzzBody(f *testing.F) {
	f.Add([]byte(pack), uint8(0))
	f.Add([]byte("\x00"), uint8(3))
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, chunk uint8) {
		r, err := http.NewRequest(http.MethodPost, "http://m.m"+PathM2M, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(len(body))
		if chunk > 0 {
			r.ContentLength = -1
		}
		r.Body = io.NopCloser(&dribble{body, int(chunk)})
		buf := make([]byte, 0, 8)
		got, err := readBody(r, &buf, 1000)
		switch {
		case len(body) > 1000 && err == nil:
			t.Fatalf("%d bytes taken", len(got))
		case len(body) <= 1000 && (err != nil || string(got) != string(body)):
			t.Fatalf("%q became %q: %v", body, got, err)
		}
	})
}

// dribble hands out a few bytes at a time.
type dribble struct {
	b []byte
	n int
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), max(1, d.n), len(d.b))
	copy(p, d.b[:n])
	d.b = d.b[n:]
	return n, nil
}
