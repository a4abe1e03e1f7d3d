package uplink

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// limiter holds each device to a rate by the generic cell rate algorithm: one
// instant a device, the theoretical arrival time, and no pointer in it. A nil
// limiter lets all through.
type limiter struct {
	every time.Duration // between uplinks at the rate
	burst time.Duration // how far ahead of now the arrival time may run
	seed  maphash.Seed
	shard [64]limitShard
}

type limitShard struct {
	mu    sync.Mutex
	tat   map[uint64]int64 // device's hash to Unix ns
	sweep int              // number of devices at which the next sweep is due
}

// limitEntries is how many devices a shard holds before those that are back
// within their rate are swept out.
const limitEntries = 4096

func newLimiter(rate float64, burst int) *limiter {
	if rate <= 0 {
		return nil
	}
	every := time.Duration(float64(time.Second) / rate)
	if burst <= 0 {
		burst = max(1, int(math.Ceil(rate)))
	}
	return &limiter{every: every, burst: every * time.Duration(burst), seed: maphash.MakeSeed()}
}

// take uses up one uplink of the device's budget, or says how long to wait.
func (l *limiter) take(device string, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	h := maphash.String(l.seed, device)
	s := &l.shard[h%uint64(len(l.shard))]
	t := now.UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	tat := max(s.tat[h], t) + int64(l.every)
	if over := tat - t - int64(l.burst); over > 0 {
		return time.Duration(over)
	}
	if len(s.tat) >= s.sweep {
		s.forget(t)
	}
	s.tat[h] = tat
	return 0
}

// refund gives back what take took, for an uplink that did not come to anything.
func (l *limiter) refund(device string) {
	if l == nil {
		return
	}
	h := maphash.String(l.seed, device)
	s := &l.shard[h%uint64(len(l.shard))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if tat, ok := s.tat[h]; ok {
		s.tat[h] = tat - int64(l.every)
	}
}

// forget drops devices whose budget is whole again: that is no favour to them.
// The next time is when twice as many are known as are left, so that it costs
// little however many are in debt.
func (s *limitShard) forget(now int64) {
	kept := make(map[uint64]int64)
	for h, tat := range s.tat {
		if tat > now {
			kept[h] = tat
		}
	}
	s.tat = kept
	s.sweep = max(limitEntries, 2*len(kept))
}
