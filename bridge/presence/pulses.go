package presence

import (
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/uplink"
)

// Bounds of what is learned of a device's cadence over HTTP.
const (
	enoughGaps   = 3              // gaps between uplinks before what was learned counts
	firstAllowed = 24 * time.Hour // silence until then
	leastAllowed = time.Minute
	mostAllowed  = 31 * 24 * time.Hour
	leastHold    = 10 * time.Second // Redis is told of a device no more often
	longestHold  = time.Hour
	maxHeld      = 1 << 17 // devices whose hold is remembered
)

// pulses are devices that were heard over HTTP. Redis is told at once of one
// that was not heard for a while, and of the others now and then: a hold is
// until when it need not be.
type pulses struct {
	signal chan struct{}

	mu    sync.Mutex
	holds map[auth.DeviceID]int64 // Unix ms
	heard map[auth.DeviceID]int64 // Unix ms, waits to be written
}

func newPulses() *pulses {
	return &pulses{signal: make(chan struct{}, 1), holds: map[auth.DeviceID]int64{}, heard: map[auth.DeviceID]int64{}}
}

func (ps *pulses) more() <-chan struct{} { return ps.signal }

// Committed is given each batch of uplinks this node stored
// (uplink.Config.OnCommit). It does not block. An MQTT session speaks for itself.
func (p *Presence) Committed(c uplink.Commit) {
	ps := p.pulses
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Via == uplink.HTTP {
			ps.hear(e.Device, e.At)
		}
	}
	for _, h := range c.Heartbeats {
		if h.Via == uplink.HTTP {
			ps.hear(h.Device, h.At)
		}
	}
}

// hear notes an uplink. Called with mu held.
func (ps *pulses) hear(d auth.DeviceID, at int64) {
	if at < ps.holds[d] {
		return
	}
	if len(ps.holds) >= maxHeld {
		ps.expire(at)
	}
	ps.holds[d] = at + leastHold.Milliseconds()
	ps.heard[d] = at
	wake(ps.signal)
}

// expire drops the holds that are over; if that is none, all: they only save
// work. Called with mu held.
func (ps *pulses) expire(now int64) {
	for d, until := range ps.holds {
		if until <= now {
			delete(ps.holds, d)
		}
	}
	if len(ps.holds) >= maxHeld {
		clear(ps.holds)
	}
}

// forget ends a hold: Redis has something else of the device.
func (ps *pulses) forget(d auth.DeviceID) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.holds, d)
}

// tidy drops the holds that are over.
func (ps *pulses) tidy(now int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.expire(now)
}

// pulse is a device that was heard.
type pulse struct {
	device auth.DeviceID
	at     int64
}

// take implements queue.
func (ps *pulses) take(p *Presence) ([]call, func([]*redis.Cmd) error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var batch []pulse
	var calls []call
	for d, at := range ps.heard {
		if len(batch) == batchSize {
			break
		}
		delete(ps.heard, d)
		batch = append(batch, pulse{d, at})
		calls = append(calls, call{p.scripts.uplink, p.keys.of(d), []any{
			string(d), p.cfg.MaxEvents, at, enoughGaps, firstAllowed.Milliseconds(), leastAllowed.Milliseconds(), mostAllowed.Milliseconds(),
			leastHold.Milliseconds(), longestHold.Milliseconds(),
		}})
	}
	return calls, func(replies []*redis.Cmd) error { return ps.settle(p, batch, replies) }
}

// settle takes the replies; what has failed waits again.
func (ps *pulses) settle(p *Presence, batch []pulse, replies []*redis.Cmd) (failed error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for i, h := range batch {
		hold, err := replies[i].Int64()
		_, held := ps.holds[h.device]
		switch {
		case p.isDamaged(h.device, err):
		case err != nil:
			failed = err
			ps.heard[h.device] = max(ps.heard[h.device], h.at)
		case held:
			ps.holds[h.device] = h.at + hold
		}
	}
	if failed != nil {
		wake(ps.signal)
	}
	return failed
}
