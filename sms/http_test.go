package sms

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hush is what no error and no log may hold.
var hush = map[string]string{
	"SMS_API_KEY": "PassWordKey", "KANNEL_USER": "bridge", "KANNEL_PASSWORD": "PassWordKannel", "KANNEL_WEBHOOK_SECRET": "PassWordKannelWebhook",
}

// example loads a file of testdata with its addresses put in place of others.
func example(t *testing.T, name string, o Options, replace ...string) (Gateway, error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return openFile(t, strings.NewReplacer(replace...).Replace(string(text)), o)
}

func openFile(t *testing.T, text string, o Options) (Gateway, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"gateway.toml": text, "webhook.secret": "PassWordWebhook1\r\n", "empty.secret": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.Getenv = func(name string) string { return hush[name] }
	return Open("http:"+filepath.Join(dir, "gateway.toml"), o)
}

// request is what an API got.
type request struct {
	*http.Request
	body string
}

// api answers as the test says, and keeps the requests.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer http.HandlerFunc
}

func newAPI(t *testing.T, answer http.HandlerFunc) *api {
	t.Helper()
	a := &api{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.got = append(a.got, request{r, string(body)})
		a.mu.Unlock()
		a.answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) last(t *testing.T) request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.got) == 0 {
		t.Fatal("it got no request")
	}
	return a.got[len(a.got)-1]
}

func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.got)
}

func answers(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// nasty is a text that ends strings, queries and templates where it is not escaped.
const nasty = "\"}, {\"to\":\"1\" &to=2#%41+ \\ {{secret.key}} é€😀\n"

var wakeUp = Message{ID: "0-abc", Attempt: 3, Device: "IMEI:356726104408422", To: "31612345678", Text: nasty, Validity: 55 * time.Minute}

func TestHTTPJSON(t *testing.T) {
	a := newAPI(t, answers(202, `{"messages":[{"id":"a1"},{"id":7}]}`))
	g, err := example(t, "rest.toml", Options{}, "https://sms.example.net", a.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Submit(t.Context(), wakeUp)
	if err != nil || fmt.Sprint(got.IDs) != "[a1 7]" || !got.Receipts || got.Note != "" || g.Name() != "operator" {
		t.Errorf("%s: %+v, %v", g.Name(), got, err)
	}
	r := a.last(t)
	var body map[string]any
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	want := map[string]any{"to": "+31612345678", "from": "5277", "body": nasty, "validityPeriod": 3300.0, "clientReference": "0-abc.3", "receiptUrl": "https://bridge.example.net/v1/sms/receipts"}
	if fmt.Sprint(body) != fmt.Sprint(want) {
		t.Errorf("%v", body)
	}
	if !strings.Contains(r.body, " &to=2#") { // not \u0026, which counts as six letters where letters are counted
		t.Errorf("%s", r.body)
	}
	if r.Method != "POST" || r.URL.Path != "/v1/messages" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer PassWordKey" || r.Header.Get("Idempotency-Key") != "0-abc.3" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	m := wakeUp
	m.Text, m.Data, m.From = "", []byte{0, 1, 0xff}, "me"
	if _, err := g.Submit(t.Context(), m); err != nil || !strings.Contains(a.last(t).body, `"from": "me", "binary": "AAH/"`) {
		t.Errorf("%v: %s", err, a.last(t).body)
	}
}

func TestHTTPQuery(t *testing.T) {
	a := newAPI(t, answers(202, "0: Accepted for delivery"))
	g, err := example(t, "kannel.toml", Options{Originator: "112"}, "http://127.0.0.1:13013", a.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Submit(t.Context(), wakeUp)
	if err != nil || fmt.Sprint(got.IDs) != "[0-abc.3]" || !got.Receipts {
		t.Errorf("%+v, %v", got, err)
	}
	q := a.last(t).URL.Query()
	for name, want := range map[string]string{
		"username": "bridge", "password": "PassWordKannel", "from": "112", "to": "31612345678", "text": nasty, "coding": "2", "validity": "55",
		"dlr-url": "http://127.0.0.1:8081/v1/sms/receipts?secret=PassWordKannelWebhook&ref=0-abc.3&state=%d&to=%p&at=%T",
	} {
		if q.Get(name) != want || len(q[name]) != 1 {
			t.Errorf("%s is %q", name, q[name])
		}
	}
	m := wakeUp
	m.Data = []byte{0, 1, 0xff, ' ', '%'}
	if _, err := g.Submit(t.Context(), m); err != nil || a.last(t).URL.Query().Get("text") != string(m.Data) || a.last(t).URL.Query().Get("coding") != "1" {
		t.Errorf("%v: %q", err, a.last(t).URL.Query())
	}
	if window, rate := g.(Limited).Limits(); window != 8 || rate != 10 {
		t.Error(window, rate)
	}
}

func TestHTTPForm(t *testing.T) {
	a := newAPI(t, answers(200, "OK id=77, id=78"))
	g, err := openFile(t, `
[secrets]
p = {env = "SMS_API_KEY"}
[text]
url = "`+a.URL+`/to/{{to}}/{{text}}?fixed=1&t={{text}}"
method = "PUT"
basic = "me:{{secret.p}}"
[text.form]
text = "{{text}} by {{from}}"
[text.query]
more = "{{data}}"
[answer]
id_match = 'id=(\d+)'
`, Options{})
	if err == nil || !strings.Contains(err.Error(), "text: query.more: {{data}}: there is no such placeholder here, but to, from") {
		t.Fatal(g, err)
	}
	g, err = openFile(t, `
[secrets]
p = {env = "SMS_API_KEY"}
[text]
url = "`+a.URL+`/to/{{to}}/{{text}}?fixed=1&t={{text}}"
method = "PUT"
basic = "me:{{secret.p}}"
[text.form]
text = "{{text}} by {{from}}"
[text.query]
more = "{{id}}"
[answer]
id_match = 'id=(\d+)'
`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := wakeUp
	m.Text += "/../x?"
	got, err := g.Submit(t.Context(), m)
	if err != nil || fmt.Sprint(got.IDs) != "[77 78]" || got.Receipts {
		t.Errorf("%+v, %v", got, err)
	}
	r := a.last(t)
	form, err := url.ParseQuery(r.body)
	if err != nil || form.Get("text") != m.Text+" by 5277" || len(form) != 1 {
		t.Errorf("%v, %v", form, err)
	}
	user, password, _ := r.BasicAuth()
	if r.Method != "PUT" || r.URL.Path != "/to/31612345678/"+m.Text || r.URL.Query().Get("t") != m.Text || r.URL.Query().Get("more") != "0-abc" || len(r.URL.Query()) != 3 || user != "me" || password != "PassWordKey" {
		t.Errorf("%s %q %s %s", r.Method, r.URL, user, password)
	}
	if g.Name() != "http:"+strings.TrimPrefix(a.URL, "http://") {
		t.Error(g.Name())
	}
	m.Data = []byte{1}
	var no *Refusal
	if _, err := g.Submit(t.Context(), m); !errors.As(err, &no) || no.Class != Permanent || a.count() != 1 {
		t.Errorf("octets without [data]: %v", err)
	}
}

// Whatever is put in, what is read back is that.
func TestTemplatesEscape(t *testing.T) {
	known := func(string) error { return nil }
	js, err := parseJSON(`{"a":"<{{x}}>","b":{{x}},"n":{{attempt}},"\"{{x}}":1}`, known)
	if err != nil {
		t.Fatal(err)
	}
	u, err := parseURL("http://h/a/{{x}}?q={{x}}&r=1", known)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		x := strings.ToValidUTF8(rapid.String().Draw(t, "x"), "")
		values := func(name string) string {
			if name == "attempt" {
				return "3"
			}
			return x
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(js.renderJSON(values)), &got); err != nil || got["a"] != "<"+x+">" || got["b"] != x || got["n"] != 3.0 || len(got) != 4 {
			t.Fatalf("%v: %s", err, js.renderJSON(values))
		}
		parsed, err := url.Parse(u.renderURL(values))
		if err != nil || parsed.Host != "h" || parsed.Path != "/a/"+x || parsed.Query().Get("q") != x || len(parsed.Query()) != 2 {
			t.Fatalf("%v: %s", err, u.renderURL(values))
		}
	})
}

// outcome names what Submit gave.
func outcome(a Accepted, err error) string {
	var no *Refusal
	switch {
	case err == nil:
		return fmt.Sprintf("accepted %v", a.IDs)
	case errors.As(err, &no):
		return fmt.Sprintf("%s %s", no.Class, no.Code)
	case errors.Is(err, ErrNotSent):
		return "not sent"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	}
	return "none of the outcomes: " + err.Error()
}

func TestHTTPAnswers(t *testing.T) {
	own, err := ParseClasses("quota2=temporary,418=permanent,502=temporary")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		text   string        // of the refusal
		after  time.Duration // of the refusal
	}{
		{"accepted", answers(201, `{"messages":[{"id":"x"}]}`), "accepted [x]", "", 0},
		{"accepted without id", answers(202, `{}`), "unknown", "", 0},
		{"accepted, no JSON", answers(202, `ok`), "unknown", "", 0},
		{"another status of success", answers(200, `{"messages":[{"id":"x"}]}`), "unknown", "", 0},
		{"no content", answers(204, ""), "unknown", "", 0},
		{"by code", answers(400, `{"error":{"code":"blocked","message":"+31 6 1234 5678 (31612345678) is blocked,\n key PassWordKey: `+"wake"+`"}}`), "permanent blocked", "+* (*) is blocked, key *: wake", 0},
		{"by code, accepted or not", answers(202, `{"messages":[{"id":"x"}],"error":{"code":"quota"}}`), "throttled quota", "", 0},
		{"code of no rule", answers(404, `{"error":{"code":"other"}}`), "temporary 404", "not found", 0},
		{"bad request", answers(400, ""), "permanent 400", "bad request", 0},
		{"key wrong", answers(401, ""), "temporary 401", "unauthorized", 0},
		{"too many", answers(429, "", "Retry-After", "90"), "throttled 429", "too many requests", 90 * time.Second},
		{"away", answers(503, "", "Retry-After", "99999999999999999999"), "throttled 503", "service unavailable", time.Hour},
		{"set by the user", answers(418, ""), "permanent 418", "i'm a teapot", 0},
		{"set by the user, else open", answers(502, ""), "temporary 502", "bad gateway", 0},
		{"redirect", answers(302, "", "Location", "/elsewhere"), "temporary 302", "found", 0},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			for range 1 << 10 {
				if _, err := w.Write(bytes.Repeat([]byte{' '}, 1<<12)); err != nil {
					return
				}
			}
		}, "unknown", "", 0},
		{"cut short", answers(202, `{"messages":[{"id":"q`, "Content-Length", "500"), "unknown", "", 0},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(c, "31612345678\r\n\r\n")
			_ = c.Close()
		}, "unknown", "", 0},
		{"closed", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "unknown", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, c.answer)
			g, err := example(t, "rest.toml", Options{Classes: own}, "https://sms.example.net", a.URL)
			if err != nil {
				t.Fatal(err)
			}
			accepted, err := g.Submit(t.Context(), wakeUp)
			if got := outcome(accepted, err); got != c.want {
				t.Errorf("%s: %v", got, err)
			}
			var no *Refusal
			if errors.As(err, &no) && (no.Text != c.text || no.After != c.after) {
				t.Errorf("%q, after %s", no.Text, no.After)
			}
			if err == nil && len(accepted.IDs) == 0 && (accepted.Receipts || accepted.Note == "") {
				t.Errorf("%+v", accepted)
			}
			if a.count() != 1 {
				t.Errorf("sent %d times", a.count())
			}
			private(t, err)
		})
	}
}

// private tells whether an error holds what it may not.
func private(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprint(err)
	for _, word := range []string{"PassWord", "31612345678", "1234 5678", "😀"} {
		if strings.Contains(text, word) {
			t.Errorf("it says %s: %s", word, text)
		}
	}
}

// A GET whose connection breaks must not be sent again by the library.
func TestHTTPSendsOnce(t *testing.T) {
	var broken bool
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		if broken {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "0: ok")
	})
	g, err := example(t, "kannel.toml", Options{}, "http://127.0.0.1:13013", a.URL, "status = [202]     #", "status = [200]#")
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(g.Submit(t.Context(), wakeUp)); got != "accepted [0-abc.3]" {
		t.Error(got)
	}
	broken = true
	if got := outcome(g.Submit(t.Context(), wakeUp)); got != "unknown" || a.count() != 2 {
		t.Errorf("%s, sent %d times", got, a.count()-1)
	}
}

func TestHTTPNotSent(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	plain := newAPI(t, answers(202, ""))
	untrusted := httptest.NewUnstartedServer(answers(202, ""))
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for name, to := range map[string]string{
		"connection refused": "http://" + nobody.Addr().String(), "no TLS there": strings.Replace(plain.URL, "http:", "https:", 1),
		"certificate of nobody": untrusted.URL, "no such host": "http://nowhere.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			g, err := example(t, "rest.toml", Options{}, "https://sms.example.net", to)
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.Submit(t.Context(), wakeUp)
			if got := outcome(Accepted{}, err); got != "not sent" {
				t.Errorf("%s: %v", got, err)
			}
			private(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if got := outcome(g.Submit(ctx, wakeUp)); got != "not sent" {
				t.Errorf("ended before it began: %s", got)
			}
		})
	}
	if plain.count() != 0 {
		t.Error("something was sent")
	}
}

// Once the request may have left, and there is no answer, nobody knows.
func TestHTTPUnknown(t *testing.T) {
	arrived, done := make(chan struct{}, 2), make(chan struct{})
	a := newAPI(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-done })
	t.Cleanup(func() { close(done) }) // before the server is closed
	g, err := example(t, "rest.toml", Options{}, "https://sms.example.net", a.URL, `name = "operator"`, "timeout = '1s'\n")
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Submit(t.Context(), wakeUp)
	if got := outcome(Accepted{}, err); got != "unknown" || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%s: %v", got, err)
	}
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err = g.Submit(ctx, wakeUp)
	if got := outcome(Accepted{}, err); got != "unknown" || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%s: %v", got, err)
	}
	private(t, err)
}

func TestHTTPTrusts(t *testing.T) {
	s := httptest.NewTLSServer(answers(202, `{"messages":[{"id":"x"}]}`))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var b bytes.Buffer
	if err := writePEM(&b, s.Certificate().Raw); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := example(t, "rest.toml", Options{}, "https://sms.example.net", s.URL, "[answer]", "[tls]\nca = '"+ca+"'\n[answer]")
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(g.Submit(t.Context(), wakeUp)); got != "accepted [x]" {
		t.Error(got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "3600": time.Hour, "99999": time.Hour, "-1": 0, "soon": 0,
		"Sun, 01 Mar 2026 12:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 11:00:00 GMT": 0, "Mon, 02 Mar 2026 12:00:00 GMT": time.Hour,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestHTTPFileRefuses(t *testing.T) {
	const good = "[text]\nurl = 'http://h/{{to}}'\n[secrets]\nk = {env='SMS_API_KEY'}\nw = {file='webhook.secret'}\n"
	if _, err := openFile(t, good, Options{}); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		"": "it has neither [text] nor [data]",
		"x = 1\n" + good + "[answer]\nidjson = 'a'":                                             "unknown key x, answer.idjson",
		"[text]\nurl = 'http://h'\nurls = 'x'":                                                  "unknown key text.urls",
		"timeout = 'x'\n" + good:                                                                `"x" is no duration`,
		"timeout = '10m'\n" + good:                                                              "timeout: it is not 1s to 20s",
		"window = 2000\n" + good:                                                                "window: it is not 1 to 1000",
		"rate = -1.0\n" + good:                                                                  "rate: it is below 0",
		"[text]\nurl = 'ftp://h/'":                                                              "text: url: it is no address such as",
		"[text]\nurl = 'http://{{to}}/'":                                                        "with a fixed host",
		"[text]\nurl = 'http://h{{to}}/'":                                                       "its host is not fixed",
		"[text]\nurl = 'http://h:1{{to}}/'":                                                     "its host is not fixed",
		"[text]\nurl = 'http://u:PassWord@h/'":                                                  "it holds a user: put that into basic",
		"[text]\nurl = 'http://h/#x'":                                                           "fragment",
		"[text]\nurl = 'http://h/{{to'":                                                         "a {{ has no }}",
		"[text]\nurl = 'http://h/{{secret.k}}'":                                                 `{{secret.k}}: [secrets] has no "k"`,
		"[text]\nurl = 'http://h/{{callback}}'":                                                 "{{callback}}: there is no such placeholder here",
		"[text]\nurl = 'http://h/'\nmethod = 'DELETE'":                                          `text: method: "DELETE" is none of GET, POST, PUT`,
		"[text]\nurl = 'http://h/'\nmethod = 'GET'\njson = '1'":                                 "GET has no body",
		"[text]\nurl = 'http://h/'\njson = '{\"a\":{{text}}'":                                   "text: json: it is no JSON once",
		"[text]\nurl = 'http://h/'\njson = '1'\n[text.form]\na='b'":                             "give form or json",
		"[text]\nurl = 'http://h/'\nbasic = 'x'":                                                "basic: it is not of the form",
		"[text]\nurl = 'http://h/'\n[text.headers]\nX = '{{text}}'":                             "headers.X: {{text}}: there is no such",
		"[text]\nurl = 'http://h/'\n[text.headers]\nHost = 'x'":                                 "headers.Host: it is no header that may be set",
		"[text]\nurl = 'http://h/'\n[text.headers]\nX = \"a\\nb\"":                              "headers.X: it holds what is no printable ASCII",
		"[text]\nurl = 'http://h/{{data_hex}}'":                                                 "{{data_hex}}: there is no such",
		"[data]\nurl = 'http://h/{{text}}'":                                                     "data: url: {{text}}: there is no such",
		"[data]\nurl = 'http://h/'\njson = '\"{{data_raw}}\"'":                                  "JSON cannot hold octets",
		good + "[answer]\nstatus = ['7xx']":                                                     `7xx is no status such as 200 or "2xx"`,
		good + "[answer]\nstatus = [2000]":                                                      "2000 is no status",
		good + "[answer]\nmatch = '('":                                                          `"(" is no regular expression`,
		good + "[answer]\nid_match = 'x'":                                                       "answer.id_match: it has not one group",
		good + "[answer]\nid_json = 'a..b'":                                                     `"a..b": it is no path such as messages.0.id`,
		good + "[answer]\nid_json = 'a'\nid_own = true":                                         "answer: give one of id_json",
		good + "[[refused]]\nstatus = [400]":                                                    "refused[0].class: it is missing",
		good + "[[refused]]\nstatus = [400]\nclass = 'never'":                                   `"never" is none of temporary, permanent, throttled`,
		good + "[[refused]]\nclass = 'permanent'":                                               "refused[0]: it names no status, json or match",
		good + "[[refused]]\nstatus = [400]\nvalue = ['x']\nclass = 'permanent'":                "refused[0].value: it is of json",
		good + "[[refused]]\nstatus = [400]\ncode = 'a b'\nclass = 'permanent'":                 `refused[0].code: "a b" is no code`,
		good + "[tls]\nca = 'webhook.secret'":                                                   "tls: ca: webhook.secret holds no certificate",
		good + "[tls]\ncert = 'x'":                                                              "tls: cert and key go together",
		"[secrets]\nk = {}\n":                                                                   "secrets.k: give either env",
		"[secrets]\nk = {env='NOT_SET'}\n":                                                      "secrets.k: the variable NOT_SET is not set",
		"[secrets]\nk = {file='none'}\n":                                                        "secrets.k: open ",
		"[secrets]\nk = {file='empty.secret'}\n":                                                "secrets.k: the file empty.secret is empty",
		good + "[receipts]\nkind = 'push'":                                                      `receipts: kind: "push" is neither none nor webhook`,
		good + "[receipts]\nkind = 'webhook'\nsecret = 'x'":                                     `receipts: secret: [secrets] has no "x"`,
		good + "[receipts]\nkind = 'webhook'\nsecret = 'k'":                                     "has less than 16 characters",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'":                                     "give either header or query",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'":                        "id and state are missing",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'": "states is missing",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nstates = {a='B'}":                                         `"B" is none of ENROUTE, ACCEPTED`,
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nstates = {a='DELIVERED'}":                                 `fields: "" is none of`,
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nfields = 'form'\nitems = 'x'\nstates = {a='DELIVERED'}":   "items: only fields",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nfields = 'form'\nstates = {a='REJECTED at once'}":         `"at once" is none of temporary`,
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nfields = 'form'\nstates = {a='REJECTED'}":                 "receipts need an id",
		good + "[receipts]\nkind = 'webhook'\nsecret = 'w'\nquery = 's'\nid = 'i'\nstate = 's'\nfields = 'form'\nstates = {a='REJECTED'}\ncallback = 'x'": "receipts: callback: it is no address",
	} {
		_, err := openFile(t, text, Options{})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s\n%v\nwant %s", text, err, says)
		}
		private(t, err)
	}
}

func writePEM(w io.Writer, der []byte) error {
	return pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}
