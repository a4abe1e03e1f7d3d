package fleet

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// subBits gives 32 buckets to each power of two: a quantile is never more than 1/32 above the truth.
	subBits = 5
	// topBits bounds what is told apart: 2^42 ns is over an hour.
	topBits = 42
	buckets = (topBits-subBits+1)<<subBits + 1
)

// Histogram counts durations in buckets whose width grows with the duration. It may be added to from any goroutine, and read
// meanwhile. The zero value is empty and ready.
type Histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
}

// bucket returns where a duration is counted: the first 32 ns each on its own, then 32 buckets for each power of two.
func bucket(d time.Duration) int {
	ns := uint64(max(d, 0))
	if ns < 1<<subBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - subBits - 1
	return min((shift+1)<<subBits+int(ns>>shift)-1<<subBits, buckets-1)
}

// upper returns the longest duration a bucket counts.
func upper(b int) time.Duration {
	if b < 1<<subBits {
		return time.Duration(b)
	}
	shift := b>>subBits - 1
	first := uint64(b&(1<<subBits-1)+1<<subBits) << shift
	return time.Duration(first + 1<<shift - 1)
}

// Add counts one duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.raise(int64(d))
}

func (h *Histogram) raise(ns int64) {
	for {
		old := h.max.Load()
		if ns <= old || h.max.CompareAndSwap(old, ns) {
			return
		}
	}
}

// Merge adds all that another histogram has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i := range other.counts {
		if n := other.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
	h.raise(other.max.Load())
}

// Count is the number of durations added.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Max is the longest duration added, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns a duration that at least the fraction q of those added do not exceed; 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(total)+0.999999), 1)
	var seen uint64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= rank && i < buckets-1 {
			return min(upper(i), h.Max())
		}
	}
	return h.Max()
}
