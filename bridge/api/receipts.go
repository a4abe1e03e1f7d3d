package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"
)

// Limits of what anybody may post to /sms/receipts: its secret is known to be right
// only when it was read.
const (
	maxReceipt       = 64 << 10
	receiptReadLimit = 5 * time.Second
	receiptRate      = 200 // a second
	maxRefusal       = 200 // bytes of a text that goes along
)

const receiptsText = "For the operator behind the SMS gateway, where that tells of receipts by HTTP: which fields it takes, and where the secret is, " +
	"is in the gateway's file (`--sms http:FILE`). No app's key is asked for. What is answered with 429 or 503 is to be sent again; what was told before changes nothing."

// addReceipts has what a gateway's operator posts taken by a handler.
func (a *API) addReceipts(take http.Handler, perSecond float64) {
	limiter := rate.NewLimiter(rate.Limit(perSecond), burstOf(perSecond))
	a.mux.HandleFunc("POST /sms/receipts", func(w http.ResponseWriter, r *http.Request) {
		if !limiter.Allow() {
			w.Header().Set("Retry-After", "1")
			writeProblemTo(w, http.StatusTooManyRequests, "more receipts come than are taken in a second")
			return
		}
		a.takeReceipt(w, r, take)
	})
	op := &huma.Operation{
		OperationID: "take-sms-receipts", Method: http.MethodPost, Path: "/sms/receipts", Tags: []string{"bridge"},
		Summary: "Take receipts of SMS", Description: receiptsText, Security: []map[string][]string{},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{}}, "application/x-www-form-urlencoded": {Schema: &huma.Schema{}},
		}},
		Responses: map[string]*huma.Response{"200": {Description: "They are kept"}},
	}
	refusal := map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/ErrorModel"}}}
	for _, status := range []int{400, 403, 404, 408, 413, 429, 503} {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: refusal}
	}
	a.huma.OpenAPI().AddOperation(op)
}

// takeReceipt reads the whole body, so that no handler waits for the network, and
// answers as all paths do.
func (a *API) takeReceipt(w http.ResponseWriter, r *http.Request, take http.Handler) {
	// Where there is no connection to set it on the server's own limit holds.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(receiptReadLimit))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceipt))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		writeProblemTo(w, http.StatusRequestEntityTooLarge, "the body has more than 64 KiB")
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		writeProblemTo(w, http.StatusRequestTimeout, "the body did not arrive in time")
		return
	case err != nil:
		writeProblemTo(w, http.StatusBadRequest, "the body cannot be read")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), opLimit)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	v := &verdict{header: http.Header{}}
	take.ServeHTTP(v, r)
	v.answer(w)
}

// verdict is what a handler answers, but for its header: a status, and why.
type verdict struct {
	header http.Header
	code   int
	text   []byte
}

// Header is of [http.ResponseWriter]; nobody reads it.
func (v *verdict) Header() http.Header { return v.header }

// WriteHeader is of [http.ResponseWriter].
func (v *verdict) WriteHeader(code int) {
	if v.code == 0 {
		v.code = code
	}
}

// Write keeps the beginning.
func (v *verdict) Write(b []byte) (int, error) {
	v.WriteHeader(http.StatusOK)
	v.text = append(v.text, b[:min(len(b), maxRefusal-len(v.text))]...)
	return len(b), nil
}

func (v *verdict) answer(w http.ResponseWriter) {
	text := strings.TrimSpace(strings.ToValidUTF8(string(v.text), ""))
	switch {
	case v.code < 300:
		w.WriteHeader(http.StatusOK)
		return
	case v.code != http.StatusBadRequest && v.code != http.StatusForbidden && v.code != http.StatusNotFound:
		v.code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeProblemTo(w, v.code, text)
}
