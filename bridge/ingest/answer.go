package ingest

import (
	"errors"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"m2mbridge/bridge/uplink"
)

// answer spells a verdict: 200 with an empty body when the uplink is safe, or
// with the downlink that it takes along, else a status and one line that says why.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v uplink.Verdict) {
	if v.Downlink != nil {
		s.answerWith(w, r, v.Downlink)
		return
	}
	if v.Outcome.Accepted() {
		h := w.Header()
		h["Date"] = nil // devices' buffers are small, and read no header
		h["Content-Length"] = s.zero
		w.WriteHeader(http.StatusOK)
		return
	}
	if v.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(v.RetryAfter.Seconds()))))
	}
	s.refuse(w, statusOf(v.Outcome), v.Detail)
}

// statusOf is DESIGN's table of statuses.
func statusOf(o uplink.Outcome) int {
	switch o {
	case uplink.BadPack:
		return http.StatusBadRequest
	case uplink.TokenMissing:
		return http.StatusUnauthorized
	case uplink.Forbidden:
		return http.StatusForbidden
	case uplink.Unknown:
		return http.StatusNotFound
	case uplink.RateLimited:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// refuse writes status and one line of plain text.
func (s *Server) refuse(w http.ResponseWriter, status int, detail string) {
	s.answers.WithLabelValues(strconv.Itoa(status)).Inc()
	line := append([]byte(detail), '\n')
	h := w.Header()
	h["Date"] = nil
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(line)))
	w.WriteHeader(status)
	_, _ = w.Write(line) // a peer that has gone needs no answer
}

// turnAway refuses a request that never became an uplink. What was meant as a
// message is told in the rejects stream; a look from a browser is not.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, status int, reason, detail string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		s.cfg.Uplinks.Reject(uplink.Reject{Via: uplink.HTTP, At: time.Now(), Reason: reason, Detail: detail, Remote: r.RemoteAddr})
	}
	s.refuse(w, status, detail)
}

// badBody refuses a request whose body could not be read whole. The connection
// ends with it: what follows on it cannot be told apart from the body.
func (s *Server) badBody(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Connection", "close")
	switch {
	case errors.Is(err, errTooLarge):
		s.turnAway(w, r, http.StatusRequestEntityTooLarge, "too-large", "the body is over the limit of "+strconv.FormatInt(s.cfg.MaxBody, 10)+" bytes")
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.turnAway(w, r, http.StatusRequestTimeout, "timeout", "the body did not arrive in time")
	default:
		s.turnAway(w, r, http.StatusBadRequest, "body-cut", "the body ended before its Content-Length, or its chunks are malformed")
	}
}
