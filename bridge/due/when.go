package due

import (
	"strconv"
	"time"
)

// When is an instant by the clock of Redis, in ms: what is between two comes
// with the later one, so that nothing is early. The zero When is at once.
type When struct {
	at time.Time
	in time.Duration
}

// At is an instant.
func At(t time.Time) When { return When{at: t} }

// In is d after Redis is told of it, and needs no clock of this node.
func In(d time.Duration) When { return When{in: d} }

// Text is a When as scripts take it: Unix ms, or "+" and ms from now.
func (w When) Text() string {
	if w.at.IsZero() {
		return "+" + strconv.FormatInt(ceilMS(max(w.in, 0)), 10)
	}
	ms := w.at.UnixMilli()
	if w.at.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return strconv.FormatInt(ms, 10)
}

// ceilMS is whole ms, rounded up.
func ceilMS(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// exactMS is Unix ms with the microsecond, as a clock is given to scripts.
func exactMS(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMicro())/1000, 'f', 3, 64)
}

// fromMS reads ms with a fraction.
func fromMS(text string) (time.Duration, error) {
	ms, err := strconv.ParseFloat(text, 64)
	return time.Duration(ms * float64(time.Millisecond)), err
}
