package sms

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// httpGateway submits over an operator's HTTP API, as its file says.
type httpGateway struct {
	options   Options
	name      string
	timeout   time.Duration
	window    int
	rate      float64
	own       bool // {{reference}} is the id
	secrets   map[string]string
	text      *httpRequest // nil: the API takes none
	data      *httpRequest
	answer    httpAnswerKeys
	refused   []httpRule
	receipts  *httpReceipts // nil: there are none
	transport *http.Transport
}

// httpRequest is a request before its placeholders are filled in.
type httpRequest struct {
	method              string
	url, basic, json    template // json nil: none
	query, form, header templates
}

// Name is of [Gateway].
func (g *httpGateway) Name() string { return g.name }

// Limits is of [Limited].
func (g *httpGateway) Limits() (window int, rate float64) { return g.window, g.rate }

// Run is of [Gateway]; there is nothing to run.
func (g *httpGateway) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready is of [Gateway]: nobody knows before it is tried.
func (g *httpGateway) Ready() (bool, <-chan struct{}) { return true, nil }

// Submit is of [Gateway].
func (g *httpGateway) Submit(ctx context.Context, m Message) (Accepted, error) {
	if m.From == "" {
		m.From = g.options.Originator
	}
	request := g.text
	if len(m.Data) > 0 {
		request = g.data
	}
	if request == nil {
		return Accepted{}, &Refusal{Class: Permanent, Code: "unsupported", Text: "the gateway's file says not how to send such a message"}
	}
	values := g.values(m)
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	a, err := g.exchange(ctx, request, values)
	if err != nil {
		return Accepted{}, err
	}
	return g.read(a, m, values)
}

// reference names an attempt to the API, in the letters that all of them take.
func reference(m Message) string { return m.ID + "." + strconv.Itoa(m.Attempt) }

// values gives the placeholders' of a message.
func (g *httpGateway) values(m Message) fill {
	return func(name string) string {
		switch name {
		case "to":
			return m.To
		case "from":
			return m.From
		case "text":
			return m.Text
		case "coding":
			return coding(m.Text)
		case rawName:
			return string(m.Data)
		case "data_hex":
			return hex.EncodeToString(m.Data)
		case "data_base64":
			return base64.StdEncoding.EncodeToString(m.Data)
		case "id":
			return m.ID
		case "attempt":
			return strconv.Itoa(m.Attempt)
		case "reference":
			return reference(m)
		case "validity_seconds":
			return strconv.Itoa(int(m.Validity / time.Second))
		case "validity_minutes": // of 0 the API would take its own default
			return strconv.Itoa(max(1, int(m.Validity/time.Minute)))
		case "callback":
			return g.receipts.callback.renderURL(g.values(m))
		}
		return g.secrets[strings.TrimPrefix(name, "secret.")]
	}
}

// answer is what an API answered.
type answer struct {
	status int
	header http.Header
	body   []byte
	whole  bool
	json   any // nil: it is none
}

// exchange sends one request and reads the answer. Its error is ErrNotSent as long as no connection was had, else ErrUnknown. What the
// other side made of the error is not in it: that may be anything.
func (g *httpGateway) exchange(ctx context.Context, r *httpRequest, values fill) (*answer, error) {
	req, err := r.fill(ctx, values)
	if err != nil {
		return nil, err
	}
	var begun atomic.Bool // a connection is there (with TLS, its handshake done): the next thing is the request's first byte
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun.Store(true) }}
	res, err := g.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	switch {
	case err != nil && !begun.Load():
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s", ErrUnknown, lost(err))
	}
	defer func() { _ = res.Body.Close() }()
	a := &answer{status: res.StatusCode, header: res.Header}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	a.whole = err == nil
	a.json, _ = readJSON(a.body)
	return a, nil
}

// lost says in constant words why there is no answer.
func lost(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted before the answer"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer"
	}
	return "no answer that is HTTP"
}

// fill makes the request of a message.
func (r *httpRequest) fill(ctx context.Context, values fill) (*http.Request, error) {
	u, err := url.Parse(r.url.renderURL(values))
	if err != nil {
		return nil, &Refusal{Class: Permanent, Code: "url", Text: "the message makes no address"}
	}
	if len(r.query) > 0 {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += r.query.values(values).Encode()
	}
	var body io.Reader = http.NoBody
	kind := ""
	switch {
	case r.json != nil:
		body, kind = strings.NewReader(r.json.renderJSON(values)), "application/json"
	case len(r.form) > 0:
		body, kind = strings.NewReader(r.form.values(values).Encode()), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://h/", body)
	if err != nil {
		return nil, &Refusal{Class: Permanent, Code: "url", Text: "the message makes no request"}
	}
	req.URL, req.Host = u, u.Host
	req.Header.Set("User-Agent", "m2mbridge")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if len(r.basic) > 0 {
		user, password, _ := strings.Cut(r.basic.plain(values), ":")
		req.SetBasicAuth(user, password)
	}
	for name, t := range r.header {
		req.Header.Set(name, t.plain(values))
	}
	return req, nil
}

// read says what an answer means: first the refusals of the file, then what it says is accepted, then the classes of statuses. An
// answer of which none of them knows leaves it open.
func (g *httpGateway) read(a *answer, m Message, values fill) (Accepted, error) {
	for _, r := range g.refused {
		if code, fits := r.fits(a); fits {
			return Accepted{}, g.refusal(a, r.Class, code, values)
		}
	}
	if hasStatus(g.answer.Status, a.status) && (g.answer.Match == nil || g.answer.Match.Match(a.body)) {
		return g.accepted(a, m)
	}
	for _, classes := range []Classes{g.options.Classes, DefaultClasses()} {
		if class, ok := classes.Of(statusCode(a.status)); ok {
			return Accepted{}, g.refusal(a, class, statusCode(a.status), values)
		}
	}
	return Accepted{}, fmt.Errorf("%w: status %d, which says not whether it was accepted", ErrUnknown, a.status)
}

func (r *httpRule) fits(a *answer) (code string, ok bool) {
	if len(r.Status) > 0 && !hasStatus(r.Status, a.status) || r.Match != nil && !r.Match.Match(a.body) {
		return "", false
	}
	code = statusCode(a.status)
	if r.JSON != nil {
		found := r.JSON.texts(a.json)
		i := slices.IndexFunc(found, func(v string) bool { return len(r.Value) == 0 || slices.Contains(r.Value, v) })
		if i < 0 {
			return "", false
		}
		if codeForm.MatchString(found[i]) {
			code = found[i]
		}
	}
	if r.Code != "" {
		code = r.Code
	}
	return code, true
}

// refusal is one whose class the user may have set otherwise, by its code.
func (g *httpGateway) refusal(a *answer, class Class, code string, values fill) *Refusal {
	if own, ok := g.options.Classes.Of(code); ok {
		class = own
	}
	r := &Refusal{Class: class, Code: code, Text: g.reason(a, values)}
	if class == Throttled {
		r.After = retryAfter(a.header.Get("Retry-After"), g.options.Now())
	}
	if r.Text == "" && code == statusCode(a.status) {
		r.Text = strings.ToLower(http.StatusText(a.status))
	}
	return r
}

// IDs is of [Naming].
func (g *httpGateway) IDs(m Message) []string {
	if !g.own {
		return nil
	}
	return []string{reference(m)}
}

// accepted has the ids. An answer that was cut short, or has no id where the file says that it has one, may be of something else
// between here and the API.
func (g *httpGateway) accepted(a *answer, m Message) (Accepted, error) {
	if !a.whole {
		return Accepted{}, fmt.Errorf("%w: the answer was cut short", ErrUnknown)
	}
	var ids []string
	switch {
	case g.own:
		ids = g.IDs(m)
	case g.answer.IDJSON != nil:
		ids = g.answer.IDJSON.texts(a.json)
	case g.answer.IDHeader != "":
		ids = []string{a.header.Get(g.answer.IDHeader)}
	case g.answer.IDMatch != nil:
		for _, found := range g.answer.IDMatch.FindAllSubmatch(a.body, 16) {
			ids = append(ids, string(found[1]))
		}
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" || len(id) > 128 })
	if named := g.answer.IDJSON != nil || g.answer.IDHeader != "" || g.answer.IDMatch != nil; named && len(ids) == 0 && g.receipts != nil {
		return Accepted{}, fmt.Errorf("%w: the answer has no id", ErrUnknown)
	}
	return Accepted{IDs: ids, Receipts: g.receipts != nil}, nil
}

// maxReason bounds what is told of a refusal's reason, in letters.
const maxReason = 160

var manyDigits = regexp.MustCompile(`[0-9][0-9 ().-]{3,}[0-9]`)

// reason is what the API says, where the file says where; without control characters, secrets, the text and all that may be a number.
func (g *httpGateway) reason(a *answer, values fill) string {
	text := g.answer.ReasonJSON.text(a.json)
	hidden := []string{values("text"), values("data_hex"), values("data_base64"), values("to"), values("from")}
	for _, s := range g.secrets {
		hidden = append(hidden, s)
	}
	slices.SortFunc(hidden, func(a, b string) int { return len(b) - len(a) })
	for _, h := range hidden {
		if h != "" {
			text = strings.ReplaceAll(text, h, "*")
		}
	}
	text = manyDigits.ReplaceAllString(text, "*")
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd {
			return ' '
		}
		return r
	}, text)), " ")
	if letters := []rune(text); len(letters) > maxReason {
		text = string(letters[:maxReason]) + "…"
	}
	return text
}

// maxRetryAfter bounds how long an API may have itself left alone.
const maxRetryAfter = time.Hour

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3), seconds or a date; 0: it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if isDigits(text) {
		if n, err := strconv.Atoi(text); err == nil && n < int(maxRetryAfter/time.Second) {
			return time.Duration(n) * time.Second
		}
		return maxRetryAfter
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
