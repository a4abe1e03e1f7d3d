package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

type requestKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// ServeHTTP is what happens to every request around its operation.
func (a *API) serveHTTP(w http.ResponseWriter, r *http.Request) {
	id := takeRequestID(r.Header.Get("X-Request-Id"))
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
	guard(w.Header(), id)
	seen := &status{ResponseWriter: w}
	start := time.Now()
	defer a.recovered(seen, r)
	defer func() { a.metrics.observe(r.Pattern, seen.code, time.Since(start)) }()
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.notFound(seen, r)
		return
	}
	a.mux.ServeHTTP(seen, r)
}

// takeRequestID takes the client's own id where it is fit for a log, else makes one.
func takeRequestID(given string) string {
	fit := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c)
	}
	if len(given) > 0 && len(given) <= 64 && strings.IndexFunc(given, func(c rune) bool { return !fit(c) }) < 0 {
		return given
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// guard sets what every answer says to browsers and caches.
func guard(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// status remembers what was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	if s.code == 0 {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Write(b []byte) (int, error) {
	if s.code == 0 {
		s.code = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// recovered turns a panic into a 500, so that one request's fault is one
// request's.
func (a *API) recovered(w *status, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	a.log.Error("request panicked", "request", requestID(r.Context()), "path", r.URL.Path, "error", v, "stack", string(debug.Stack()))
	if w.code != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	writeProblemTo(w, http.StatusInternalServerError, "the request failed for a reason that is in the bridge's log, under the id in X-Request-Id")
}

// notFound answers for the mux where it knows no pattern: 404, or 405 with Allow.
func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	d := &discard{header: http.Header{}}
	a.mux.ServeHTTP(d, r)
	if allow := d.header.Get("Allow"); d.code == http.StatusMethodNotAllowed && allow != "" {
		w.Header().Set("Allow", allow)
		writeProblemTo(w, d.code, r.Method+" is not among the methods of this path: "+allow)
		return
	}
	a.nothing(w)
}

func (a *API) nothing(w http.ResponseWriter) {
	writeProblemTo(w, http.StatusNotFound, "there is nothing at this path; /openapi.json lists what there is")
}

func writeProblemTo(w http.ResponseWriter, code int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	// An answer that cannot be written has no reader.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(code), Status: code, Detail: detail})
}

// discard takes what the mux answers, but for its header.
type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(code int)        { d.code = code }
