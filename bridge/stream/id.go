package stream

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"
)

// ID is the id of a stream's entry, <ms>-<seq>. It orders the entries of one
// stream, and says nothing across two. The zero one is before every entry.
type ID struct{ MS, Seq uint64 }

// Compare is negative where a comes before b.
func (a ID) Compare(b ID) int { return cmp.Or(cmp.Compare(a.MS, b.MS), cmp.Compare(a.Seq, b.Seq)) }

// Less reports whether a comes before b.
func (a ID) Less(b ID) bool { return a.MS < b.MS || a.MS == b.MS && a.Seq < b.Seq }

// Prev is the greatest ID below a, which need not be an entry's.
func (a ID) Prev() ID {
	switch {
	case a.Seq > 0:
		return ID{a.MS, a.Seq - 1}
	case a.MS > 0:
		return ID{a.MS - 1, math.MaxUint64}
	}
	return ID{}
}

// String is the ID as Redis writes it.
func (a ID) String() string {
	b := make([]byte, 0, 24)
	b = strconv.AppendUint(b, a.MS, 10)
	b = append(b, '-')
	return string(strconv.AppendUint(b, a.Seq, 10))
}

// ErrStart is what text gets that says no position.
var ErrStart = errors.New("want a stream id such as 1700000000000-0, an instant such as 2026-01-31T08:00:00Z, or a cursor of an earlier answer")

// ParseID reads <ms>-<seq>, or <ms> alone for <ms>-0 as Redis does.
func ParseID(s string) (ID, error) {
	msText, seqText, hasSeq := strings.Cut(s, "-")
	ms, err := strconv.ParseUint(msText, 10, 64)
	if err != nil {
		return ID{}, ErrStart
	}
	if !hasSeq {
		return ID{ms, 0}, nil
	}
	seq, err := strconv.ParseUint(seqText, 10, 64)
	if err != nil {
		return ID{}, ErrStart
	}
	return ID{ms, seq}, nil
}
