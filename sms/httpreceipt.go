package sms

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Webhook is what a gateway is besides whose receipts come as HTTP requests; find out with [As].
type Webhook interface {
	// ParseReceipt reads the receipts of a request. Its error is or wraps ErrReceiptDenied if the request is not the gateway's (403),
	// ErrNoWebhook if the gateway's file has no [receipts] (404), else it could not be read (400): what could be comes with the error.
	ParseReceipt(r *http.Request) ([]Receipt, error)
}

var (
	// ErrReceiptDenied: the request does not know the secret.
	ErrReceiptDenied = errors.New("receipt without the secret")
	// ErrNoWebhook: no receipts come this way.
	ErrNoWebhook = errors.New("the gateway has no receipts by webhook")
)

// httpReceipts is how a webhook's requests are read.
type httpReceipts struct {
	secret        [sha256.Size]byte
	header, query string   // where the secret is; one of them
	callback      template // nil: none
	keys          httpReceiptKeys
}

// newHTTPReceipts is nil without receipts.
func newHTTPReceipts(k httpReceiptKeys, g *httpGateway) (*httpReceipts, error) {
	switch k.Kind {
	case "", "none":
		return nil, nil
	case "webhook":
	default:
		return nil, fmt.Errorf("kind: %q is neither none nor webhook", k.Kind)
	}
	secret, ok := g.secrets[k.Secret]
	switch {
	case !ok:
		return nil, fmt.Errorf("secret: [secrets] has no %q", k.Secret)
	case len(secret) < minSecret:
		return nil, fmt.Errorf("secret: that of [secrets] has less than %d characters", minSecret)
	case (k.Header == "") == (k.Query == ""):
		return nil, errors.New("give either header or query: where the secret is")
	case k.ID == nil || k.State == nil:
		return nil, errors.New("id and state are missing: the names of the fields")
	case len(k.States) == 0:
		return nil, errors.New("states is missing: what the values of state mean")
	case k.Fields != "query" && k.Fields != "form" && k.Fields != "json":
		return nil, fmt.Errorf("fields: %q is none of query, form, json", k.Fields)
	case k.Items != nil && k.Fields != "json":
		return nil, errors.New("items: only fields = \"json\" has several")
	}
	r := &httpReceipts{secret: sha256.Sum256([]byte(secret)), header: k.Header, query: k.Query, keys: k}
	if k.Callback != "" {
		var err error
		if r.callback, err = parseURL(k.Callback, g.known(callbackNames...)); err != nil {
			return nil, fmt.Errorf("callback: %w", err)
		}
	}
	return r, nil
}

// ParseReceipt is of [Webhook].
func (g *httpGateway) ParseReceipt(r *http.Request) ([]Receipt, error) {
	if g.receipts == nil {
		return nil, ErrNoWebhook
	}
	receipts, err := g.receipts.parse(r)
	for i := range receipts {
		receipts[i] = g.options.classed(receipts[i])
	}
	return receipts, err
}

func (h *httpReceipts) parse(r *http.Request) ([]Receipt, error) {
	given := r.Header.Get(h.header)
	if h.query != "" {
		given = r.URL.Query().Get(h.query)
	}
	// Of the hashes, so that not even its length is told by the time it takes.
	if sum := sha256.Sum256([]byte(given)); subtle.ConstantTimeCompare(sum[:], h.secret[:]) != 1 {
		return nil, ErrReceiptDenied
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read receipt: %w", err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("read receipt: it is over %d bytes", maxAnswer)
	}
	items, err := h.items(r, body)
	if err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	var receipts []Receipt
	var errs []error
	for _, item := range items {
		one, err := h.receipt(item)
		if err != nil {
			errs = append(errs, fmt.Errorf("read receipt: %w", err))
			continue
		}
		receipts = append(receipts, one)
	}
	return receipts, errors.Join(errs...)
}

// items are what has the fields: JSON, or a query or form as the same.
func (h *httpReceipts) items(r *http.Request, body []byte) ([]any, error) {
	values := r.URL.Query()
	switch h.keys.Fields {
	case "json":
		v, ok := readJSON(body)
		if !ok {
			return nil, errors.New("it is no JSON")
		}
		if h.keys.Items == nil {
			return []any{v}, nil
		}
		var items []any
		for _, found := range h.keys.Items.find(v) {
			if list, ok := found.([]any); ok {
				items = append(items, list...)
				continue
			}
			items = append(items, found)
		}
		return items, nil
	case "form":
		var err error
		if values, err = url.ParseQuery(string(body)); err != nil {
			return nil, errors.New("it is no form")
		}
	}
	fields := map[string]any{}
	for name := range values {
		fields[name] = values.Get(name)
	}
	return []any{fields}, nil
}

func (h *httpReceipts) receipt(item any) (Receipt, error) {
	k := &h.keys
	id, state := k.ID.text(item), k.State.text(item)
	if id == "" {
		return Receipt{}, errors.New("it has no id")
	}
	means, ok := k.States[state]
	if !ok {
		return Receipt{}, fmt.Errorf("states has no %.40q", state)
	}
	r := Receipt{ID: id, Forms: Forms(id), To: digits(k.To.text(item)), State: means.state, Class: means.class, At: instant(k.At.text(item))}
	if code := k.Code.text(item); codeForm.MatchString(code) {
		r.Code = code
	}
	return r, nil
}

// digits leaves a number's; of what is none, as one that is masked, nothing.
func digits(number string) string {
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune("+ -.()/", r) {
			return -1
		}
		return r
	}, strings.TrimPrefix(number, "tel:"))
	if !isDigits(plain) {
		return ""
	}
	return plain
}

// instant reads RFC 3339, or Unix seconds, or milliseconds, microseconds or nanoseconds; zero: it is none.
func instant(text string) time.Time {
	if isDigits(text) {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil || n == 0:
			return time.Time{}
		case n < 1e11: // seconds until the year 5138
			return time.Unix(n, 0).UTC()
		case n < 1e14:
			return time.UnixMilli(n).UTC()
		case n < 1e17:
			return time.UnixMicro(n).UTC()
		}
		return time.Unix(0, n).UTC() // until 2262, where int64 ends
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
