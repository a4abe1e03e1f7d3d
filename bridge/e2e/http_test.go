package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// The pack of the seed document: base fields in a record of their own.
func seedPack(d fleet.Device, bt int64) string {
	return fmt.Sprintf(`[{"bn":"%s","bt":%d},{"n":"temperature","u":"Cel","v":21.50},{"n":"open","vb":false}]`, d.BaseName(), bt)
}

func TestSeedExample(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	before := time.Now().UnixMilli()
	s.post(n, d, seedPack(d, 1700000000), "-H", "Host: m.m").accepted(t)
	entries := s.stored("uplinks")
	if len(entries) != 1 {
		t.Fatalf("stored %d entries, want 1", len(entries))
	}
	e := entries[0].Values
	want := fmt.Sprintf(`[{"bn":"%s","bt":1700000000,"n":"temperature","u":"Cel","v":21.50},{"n":"open","vb":false}]`, d.BaseName())
	if e["pack"] != want || e["device"] != d.ID || e["via"] != "http" || e["token"] != d.Token([]byte(seedPack(d, 1700000000))) {
		t.Errorf("stored %v\nwant pack %s", e, want)
	}
	if at, err := strconv.ParseInt(e["at"].(string), 10, 64); err != nil || at < before || at > time.Now().UnixMilli() {
		t.Errorf("at %v is not the receipt in Unix ms", e["at"])
	}
	s.post(n, d, seedPack(d, 1700000000)).accepted(t) // a repeat is answered alike
	if got := len(s.stored("uplinks")); got != 1 {
		t.Errorf("a repeat made it %d entries", got)
	}
}

// TestStatuses is DESIGN's table of what devices are told, row by row; 503 is
// with the faults.
func TestStatuses(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve("--max-body", "2KiB")
	d, foreign := s.device(0, nil), fleet.Device{ID: "IMEI:490154203237518", Secret: strings.Repeat("s", 30)}
	disabled := s.device(1, map[string]any{"disabled": true})
	internet := fleet.Device{ID: "DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950e", Secret: s.confide(strings.Repeat("Dvn0", 10), "a secret")}
	s.call(http.MethodPost, "/v1/devices", map[string]any{"id": internet.ID, "secret": internet.Secret}, http.StatusCreated)
	const m2m, ip = "/ingestion/m2m/senml/v1", "/ingestion/ip/senml/v1"
	good := func(d fleet.Device) string { return pack(d, 0, "t", 1) }
	signed := func(d fleet.Device, path, body string) reply { return s.postWith(n, path, s.token(d, body), body) }
	for _, c := range []struct {
		name   string
		reply  func() reply
		status int
		says   string // in the answer
		reason string // in the rejects stream; "": not asked
	}{
		{"stored", func() reply { return signed(d, m2m, good(d)) }, 200, "", ""},
		{"stored, by UUID", func() reply { return signed(internet, ip, good(internet)) }, 200, "", ""},
		{"heartbeat", func() reply { return signed(d, m2m, `[{"bn":"`+d.BaseName()+`"}]`) }, 200, "", ""},
		{"upper-case token", func() reply { b := good(d); return s.postWith(n, m2m, strings.ToUpper(s.token(d, b)), b) }, 200, "", ""},
		{"empty body", func() reply { return s.postWith(n, m2m, s.token(d, ""), "") }, 400, "empty", "empty"},
		{"no JSON", func() reply { return signed(d, m2m, "hello") }, 400, "", "senml-"},
		{"cut pack", func() reply { return signed(d, m2m, strings.TrimSuffix(good(d), "]")) }, 400, "", "senml-"},
		{"two values", func() reply {
			return signed(d, m2m, `[{"bn":"`+d.BaseName()+`","n":"a","v":1},{"n":"b","v":1,"vs":"x"}]`)
		}, 400, "record 2", "senml-"},
		{"bad base name", func() reply { return signed(d, m2m, `[{"bn":"urn:dev:IMEI:12:","n":"a","v":1}]`) }, 400, `"bn"`, "base-name"},
		{"no base name", func() reply { return signed(d, m2m, `[{"n":"a","v":1}]`) }, 400, `"bn"`, "base-name"},
		{"IMEI on the ip path", func() reply { return signed(d, ip, good(d)) }, 400, m2m, "wrong-path"},
		{"UUID on the m2m path", func() reply { return signed(internet, m2m, good(internet)) }, 400, ip, "wrong-path"},
		{"two tokens", func() reply {
			b := good(d)
			return s.postWith(n, m2m, s.token(d, b), b, "-H", "things-message-token: "+s.token(d, b))
		}, 400, "two", "two-tokens"},
		{"no token", func() reply { return s.postWith(n, m2m, "", good(d)) }, 401, "Things-Message-Token", "token-missing"},
		{"wrong token", func() reply { return s.postWith(n, m2m, s.token(d, good(d)+" "), good(d)) }, 403, "", "token-wrong"},
		{"no token at all in the header", func() reply { return s.postWith(n, m2m, "abc", good(d)) }, 403, "", "token-malformed"},
		{"unknown device", func() reply { return signed(foreign, m2m, good(foreign)) }, 403, "", "device-unknown"},
		{"disabled device", func() reply { return signed(disabled, m2m, good(disabled)) }, 403, "", "device-disabled"},
		{"other path", func() reply { return signed(d, "/ingestion/m2m/senml/v2", good(d)) }, 404, "", "not-found"},
		{"path with two slashes", func() reply { return signed(d, "/"+m2m, good(d)) }, 404, "", "not-found"},
		{"other method", func() reply { return curl(t, "http://"+n.addr("http")+m2m) }, 405, "POST", ""},
		{"body over the limit", func() reply { return signed(d, m2m, pack(d, 0, "t", strings.Repeat("x", 2048))) }, 413, "", "too-large"},
		{"chunked body over the limit", func() reply {
			b := pack(d, 0, "t", strings.Repeat("x", 2048))
			return s.postWith(n, m2m, s.token(d, b), b, "-H", "Transfer-Encoding: chunked")
		}, 413, "", "too-large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored, rejected := len(s.stored("uplinks")), len(s.stored("rejects"))
			r := c.reply()
			if r.status != c.status || !strings.Contains(r.body, c.says) {
				t.Errorf("status %d, want %d:\n%s\n\n%s", r.status, c.status, r.header, r.body)
			}
			if c.status == 200 {
				r.accepted(t)
				return
			}
			refusedOnOneLine(t, r)
			if got := len(s.stored("uplinks")); got != stored {
				t.Errorf("stored %d uplinks of it", got-stored)
			}
			if c.reason != "" {
				s.rejectedFor(t, rejected, c.reason)
			}
		})
	}
	if r := curl(t, "http://"+n.addr("http")+m2m); r.field("Allow") != "POST" {
		t.Errorf("Allow: %q", r.field("Allow"))
	}
	t.Run("one answer for all three", func(t *testing.T) {
		wrong := s.postWith(n, m2m, s.token(d, "other"), good(d))
		for _, other := range []reply{signed(foreign, m2m, good(foreign)), signed(disabled, m2m, good(disabled))} {
			if other.header != wrong.header || other.body != wrong.body {
				t.Errorf("they differ:\n%s\n%s\n\n%s\n%s", wrong.header, wrong.body, other.header, other.body)
			}
		}
	})
}

// refusedOnOneLine wants what a device's engineer can read in a small buffer.
func refusedOnOneLine(t *testing.T, r reply) {
	t.Helper()
	line, rest, ended := strings.Cut(r.body, "\n")
	if line == "" || !ended || rest != "" || !strings.HasPrefix(r.field("Content-Type"), "text/plain") {
		t.Errorf("not one line of plain text: %q (%s)", r.body, r.field("Content-Type"))
	}
	if r.field("Content-Length") != strconv.Itoa(len(r.body)) || r.field("Location") != "" {
		t.Errorf("header:\n%s", r.header)
	}
}

// rejectedFor wants one more reject than before, with the reason and the remote address.
func (s *site) rejectedFor(t *testing.T, before int, reason string) {
	t.Helper()
	eventually(t, 5*time.Second, "a reject for "+reason, func() bool { return len(s.stored("rejects")) > before })
	e := s.stored("rejects")[before].Values
	if !strings.HasPrefix(e["reason"].(string), reason) || e["detail"] == "" || !strings.HasPrefix(e["remote"].(string), "127.0.0.1:") {
		t.Errorf("reject %v, want reason %s", e, reason)
	}
}

func TestRevealUnknown(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve("--reveal-unknown")
	stranger := fleet.Devices("stranger", 7, 1)[0]
	if r := s.post(n, stranger, pack(stranger, 0, "t", 1)); r.status != 404 {
		t.Errorf("status %d, want 404: %s", r.status, r.body)
	}
}

func TestDeviceRate(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve("--device-rate", "0.05", "--device-burst", "2")
	d, other := s.device(0, nil), s.device(1, nil)
	s.post(n, d, pack(d, 0, "t", 1)).accepted(t)
	s.post(n, d, pack(d, 0, "t", 2)).accepted(t)
	r := s.post(n, d, pack(d, 0, "t", 3))
	if wait, err := strconv.Atoi(r.field("Retry-After")); r.status != 429 || err != nil || wait < 1 || wait > 20 {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.field("Retry-After"), r.body)
	}
	s.post(n, other, pack(other, 0, "t", 1)).accepted(t)
}

// Modems write HTTP by hand. WIRE.md lists what is taken; here the ways that a
// proxy or a framework in front would break.
func TestDeviceQuirks(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	body := func(v int) string { return pack(d, 0, "quirk", v) }
	s.post(n, d, body(1), "--http1.0").accepted(t)
	s.post(n, d, body(2), "-H", "Transfer-Encoding: chunked").accepted(t)
	s.post(n, d, body(3), "-H", "Content-Type: text/plain", "-H", "Connection: close").accepted(t)
	s.post(n, d, body(4), "-H", "Expect: 100-continue").accepted(t)
	s.post(n, d, body(5), "--request-target", "http://m.m"+d.Path()).accepted(t)
	for name, head := range map[string]string{
		"bare line feeds":             "POST %s HTTP/1.1\nhost:m.m\nthings-message-token:%s\ncontent-length:%d\n\n",
		"HTTP/1.0 without Host":       "POST %s HTTP/1.0\r\nThings-Message-Token: %s\r\nContent-Length: %d\r\n\r\n",
		"two Content-Type, no blanks": "POST %s HTTP/1.1\r\nHost:m.m\r\nContent-Type:text/plain\r\nThings-Message-Token:%s\r\nContent-Type:application/json\r\nContent-Length:%d\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := body(6)
			answer := rawHTTP(t, n, fmt.Sprintf(head, d.Path(), s.token(d, b), len(b))+b)
			if !strings.HasPrefix(answer, "HTTP/1.") || !strings.Contains(answer[:min(len(answer), 14)], " 200 ") {
				t.Errorf("answer %q", answer)
			}
		})
	}
	t.Run("trailing NUL that was not hashed", func(t *testing.T) {
		b := body(7)
		answer := rawHTTP(t, n, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: %s\r\nContent-Length: %d\r\n\r\n", d.Path(), s.token(d, b), len(b)+1)+b+"\x00")
		if !strings.Contains(answer, " 200 ") {
			t.Errorf("answer %q", answer)
		}
	})
	if got := len(holding(s.packs(d), `"quirk"`)); got != 9 {
		t.Errorf("stored %d of 9", got)
	}
}

// rawHTTP writes the bytes and reads the answer's head, as devices do.
func rawHTTP(t *testing.T, n *node, request string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.addr("http"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var answer strings.Builder
	for r := bufio.NewReader(conn); !strings.HasSuffix(answer.String(), "\r\n\r\n"); {
		line, err := r.ReadString('\n')
		answer.WriteString(line)
		if err != nil {
			break
		}
	}
	return answer.String()
}
