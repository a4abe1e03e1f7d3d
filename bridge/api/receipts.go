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

const receiptsPath = "/v1/sms/receipts"

// Limits of what anybody may send there: its secret is known to be right
// only when it was read.
const (
	maxReceipt       = 64 << 10
	receiptReadLimit = 5 * time.Second
	receiptRate      = 20  // refusals a second
	maxRefusal       = 200 // bytes of a text that goes along
)

const receiptsText = "For the operator behind the SMS gateway, where that tells of receipts by HTTP: which fields it takes, and where the secret is, " +
	"is in the gateway's file (`--sms http:FILE`). No app's key is asked for. What is answered with 429 or 503 is to be sent again; what was told before changes nothing."

// addReceipts has what a gateway's operator posts taken by a handler.
func (a *API) addReceipts(take http.Handler, perSecond float64) {
	strangers := rate.NewLimiter(rate.Limit(perSecond), burstOf(perSecond))
	for _, method := range []string{http.MethodPost, http.MethodGet} { // Kannel asks with GET
		a.mux.HandleFunc(method+" "+receiptsPath, func(w http.ResponseWriter, r *http.Request) { a.takeReceipt(w, r, take, strangers) })
		a.huma.OpenAPI().AddOperation(receiptsOperation(method))
	}
}

// receiptsOperation describes it.
func receiptsOperation(method string) *huma.Operation {
	op := &huma.Operation{
		OperationID: "take-sms-receipts", Method: method, Path: receiptsPath, Tags: []string{"bridge"},
		Summary: "Take receipts of SMS", Description: receiptsText, Security: []map[string][]string{},
		Responses: map[string]*huma.Response{"200": {Description: "They are kept"}},
	}
	if method == http.MethodGet {
		op.OperationID, op.Summary = "take-sms-receipts-of-query", "Take receipts of SMS that are in the query"
	} else {
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{}}, "application/x-www-form-urlencoded": {Schema: &huma.Schema{}},
		}}
	}
	refusal := map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/ErrorModel"}}}
	for _, status := range []int{400, 403, 404, 408, 413, 429, 503} {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: refusal}
	}
	return op
}

// takeReceipt reads the whole body, so that no handler waits for the network, and
// answers as all paths do.
func (a *API) takeReceipt(w http.ResponseWriter, r *http.Request, take http.Handler, strangers *rate.Limiter) {
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
	if v.code == http.StatusForbidden && !strangers.Allow() { // those who know the secret are never held up by others
		w.Header().Set("Retry-After", "1")
		writeProblemTo(w, http.StatusTooManyRequests, "more come without the secret than are answered in a second")
		return
	}
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
