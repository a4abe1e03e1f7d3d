package fleet

import (
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Number is one numbered message: which device, and which of its messages, from 0.
type Number struct {
	Device string
	N      int
}

// Ledger records which numbered messages were acknowledged.
type Ledger struct {
	mu      sync.Mutex
	acked   map[Number]bool
	repeats int
	broken  int
}

func (l *Ledger) ack(n Number) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked == nil {
		l.acked = make(map[Number]bool)
	}
	l.acked[n] = true
}

func (l *Ledger) repeat(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.repeats += n
}

func (l *Ledger) breakage() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken++
}

// Acked is the number of messages acknowledged.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// Repeats is how often a message went out again because its answer was lost or said to. A test of faults in which it stays
// zero has tested nothing.
func (l *Ledger) Repeats() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.repeats
}

// Broken is how often a connection broke or could not be made.
func (l *Ledger) Broken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Difference is what the ledger and the store do not agree on.
type Difference struct {
	Missing  []Number // acknowledged but not stored
	Repeated []Number // stored more than once, one entry for each time too many
}

// Compare holds the ledger against all numbered messages that are stored, in the order of the store.
func (l *Ledger) Compare(stored iter.Seq[Number]) Difference {
	l.mu.Lock()
	defer l.mu.Unlock()
	var d Difference
	seen := make(map[Number]bool)
	for n := range stored {
		if seen[n] {
			d.Repeated = append(d.Repeated, n)
		}
		seen[n] = true
	}
	for n := range l.acked {
		if !seen[n] {
			d.Missing = append(d.Missing, n)
		}
	}
	return d
}

// appendNumbered appends the body of a numbered message. It fixes its own time, so that it is recognised when it comes again.
func appendNumbered(dst []byte, n Number, epoch time.Time) []byte {
	dst = appendBase(dst, n.Device, epoch.Add(time.Duration(n.N)*time.Millisecond))
	dst = append(dst, `,"n":"number","v":`...)
	return append(strconv.AppendInt(dst, int64(n.N), 10), `}]`...)
}

// NumberOf returns the number of a stored pack; ok is false for packs of others.
func NumberOf(pack []byte) (n Number, ok bool) {
	var records []struct {
		BaseName string `json:"bn"`
		Name     string `json:"n"`
		Value    *int   `json:"v"`
	}
	if json.Unmarshal(pack, &records) != nil || len(records) != 1 || records[0].Name != "number" || records[0].Value == nil {
		return Number{}, false
	}
	id, found := strings.CutPrefix(records[0].BaseName, "urn:dev:")
	return Number{Device: strings.TrimSuffix(id, ":"), N: *records[0].Value}, found
}
