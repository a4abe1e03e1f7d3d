package fleet

import (
	"context"
	"errors"
	"maps"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Report is what a load has come to so far.
type Report struct {
	Elapsed  time.Duration
	Sent     uint64            // messages written, once each
	Accepted uint64            // answered 200, or acknowledged
	Failed   map[string]uint64 // all else, by HTTP status or by what broke
	Latency  *Histogram        // of the accepted

	// Heartbeats are those of the sent that have no measurement: they are accepted, and stored nowhere.
	Heartbeats uint64
}

// Rate is the number of accepted messages a second.
func (r Report) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Accepted) / r.Elapsed.Seconds()
}

// Failures is the number of messages that were not accepted.
func (r Report) Failures() uint64 {
	var n uint64
	for _, count := range r.Failed {
		n += count
	}
	return n
}

// shards is how many tallies the connections of a load share: enough that two connections seldom meet.
const shards = 16

// tally counts for some of the connections.
type tally struct {
	sent, accepted, heartbeats atomic.Uint64
	latency                    Histogram
}

func (t *tally) accept(took time.Duration) {
	t.accepted.Add(1)
	t.latency.Add(took)
}

// failures counts what went wrong, by reason; it is not meant to be fast.
type failures struct {
	mu      sync.Mutex
	reasons map[string]uint64
}

func (f *failures) add(reason string, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reasons == nil {
		f.reasons = make(map[string]uint64)
	}
	f.reasons[reason] += n
}

func (f *failures) copy() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.reasons)
}

// reason names an error of a connection in a word or two that tables can count by.
func reason(err error) string {
	var refused RefusedError
	var status StatusError
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &status):
		return strconv.Itoa(int(status))
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case isClosed(err):
		return "connection closed"
	case errors.Is(err, errProtocol):
		return "answer not understood"
	default:
		return "network error"
	}
}

// errProtocol marks an answer that is not HTTP or not MQTT.
var errProtocol = errors.New("answer not understood")

// StatusError is an HTTP status that is not the one hoped for.
type StatusError int

func (e StatusError) Error() string { return "status " + strconv.Itoa(int(e)) }
