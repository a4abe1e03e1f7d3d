package fleet

import (
	"math"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucketsTouch(t *testing.T) {
	for b := range buckets - 2 {
		if got := bucket(upper(b)); got != b {
			t.Fatalf("upper end %d of bucket %d is counted in %d", upper(b), b, got)
		}
		if got := bucket(upper(b) + 1); got != b+1 {
			t.Fatalf("%d, just past bucket %d, is counted in %d", upper(b)+1, b, got)
		}
	}
}

func TestHistogramExtremes(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Fatal("an empty histogram has values")
	}
	h.Add(-time.Second)
	h.Add(math.MaxInt64)
	if h.Count() != 2 || h.Quantile(0) != 0 || h.Quantile(1) != math.MaxInt64 {
		t.Fatalf("count %d, quantiles %v and %v", h.Count(), h.Quantile(0), h.Quantile(1))
	}
}

// A quantile lies between the exact one and a thirty-second above it.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "values")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var left, right Histogram
		for i, v := range values {
			if i%2 == 0 {
				left.Add(time.Duration(v))
			} else {
				right.Add(time.Duration(v))
			}
		}
		left.Merge(&right)
		sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
		rank := max(int(math.Ceil(q*float64(len(values)))), 1)
		exact := time.Duration(values[rank-1])
		if got := left.Quantile(q); got < exact || float64(got) > float64(exact)*(1+1.0/32)+1 {
			t.Fatalf("quantile %v of %v: %v, exactly %v", q, values, got, exact)
		}
		if got := left.Max(); got != time.Duration(values[len(values)-1]) {
			t.Fatalf("max %v, exactly %v", got, values[len(values)-1])
		}
	})
}
