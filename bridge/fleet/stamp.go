package fleet

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Stamps makes packs that carry the number of the message among its device's, from 0, and the moment it was sent at. The
// numbers go on from one load to the next, as long as one load at a time sends for a device.
type Stamps struct{ sent map[string]*atomic.Int64 }

// NewStamps numbers the messages of these devices.
func NewStamps(devices []Device) *Stamps {
	s := &Stamps{sent: make(map[string]*atomic.Int64, len(devices))}
	for _, d := range devices {
		s.sent[d.ID] = new(atomic.Int64)
	}
	return s
}

// Members of a stamped pack. Normalising keeps their order and the digits of their values.
const (
	memberBase   = `"bn":"urn:dev:`
	memberNumber = `"n":"number","v":`
	memberSent   = `"n":"sent","v":`
)

// Pack is the stamped pack; the load's own number is not needed. It is a Pack.
func (s *Stamps) Pack(dst []byte, id string, _ uint64, at time.Time) []byte {
	number := s.sent[id].Add(1) - 1
	dst = append(appendBase(dst, id, at), `,`+memberNumber...)
	dst = append(strconv.AppendInt(dst, number, 10), `},{`+memberSent...)
	return append(strconv.AppendInt(dst, at.UnixNano(), 10), `}]`...)
}

// Sent is the number of messages made so far.
func (s *Stamps) Sent() (n int64) {
	for _, sent := range s.sent {
		n += sent.Load()
	}
	return n
}

// Sequence holds what a subscriber gets against the order that stamped messages were sent in, and times their way. Each device
// is followed from its first message that comes. It may be read while messages are taken.
type Sequence struct {
	mu      sync.Mutex
	next    map[string]int64
	order   Order
	latency *Histogram
}

// Order is what a subscriber has got.
type Order struct {
	Taken    int64
	Missing  int64 // numbers left out
	Repeated int64 // numbers that had come before, or that a later one had come before
	Foreign  int64 // messages without a stamp
}

// NewSequence is of a subscriber that has got nothing yet.
func NewSequence() *Sequence {
	return &Sequence{next: make(map[string]int64), latency: new(Histogram)}
}

// Take notes a message. It is for SubscriberConfig.OnMessage.
func (s *Sequence) Take(_, payload []byte) {
	now := time.Now().UnixNano()
	id, number, sent, ok := readStamp(payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok {
		s.order.Foreign++
		return
	}
	next, known := s.next[string(id)]
	switch {
	case known && number < next:
		s.order.Repeated++
		return
	case known:
		s.order.Missing += number - next
	}
	s.next[string(id)] = number + 1
	s.order.Taken++
	s.latency.Add(time.Duration(now - sent))
}

// Order is what has come so far.
func (s *Sequence) Order() Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// Latency is what the messages took that came since it was last asked for.
func (s *Sequence) Latency() *Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.latency
	s.latency = new(Histogram)
	return h
}

// Lacks is how many of the messages that were sent have not come, the last ones of each device included; first is how many
// messages had been sent before the subscriber was there.
func (s *Sequence) Lacks(stamps *Stamps, first int64) int64 {
	return stamps.Sent() - first - s.Order().Taken
}

// readStamp finds a stamp without decoding the pack: the generator shares the processors with what it measures.
func readStamp(pack []byte) (id []byte, number, sent int64, ok bool) {
	_, rest, found := bytes.Cut(pack, []byte(memberBase))
	id, rest, closed := bytes.Cut(rest, []byte(`:"`))
	number, numbered := member(rest, memberNumber)
	sent, timed := member(rest, memberSent)
	return id, number, sent, found && closed && numbered && timed
}

// member reads the digits behind a name.
func member(pack []byte, name string) (n int64, ok bool) {
	_, rest, ok := bytes.Cut(pack, []byte(name))
	digits := 0
	for ; digits < len(rest) && rest[digits]-'0' < 10; digits++ {
		n = 10*n + int64(rest[digits]-'0')
	}
	return n, ok && digits > 0
}
