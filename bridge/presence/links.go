package presence

import (
	"sync"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// link is a device's MQTT session on this node, the last that there was: a
// later one takes the place of an earlier, whatever of that was not written.
type link struct {
	session uint64
	since   int64 // Unix ms
	epoch   int64 // as Redis gave it; 0: it is not known to be written
	sent    bool  // it was sent, perhaps in vain
	seen    int64 // the greatest epoch that events told of, while it was not settled

	waiting bool // in the queue
	writing bool // in the batch that is being written
	again   bool // to be written once more after that

	ended bool
	at    int64 // Unix ms
	cause string
}

// links are those of all devices here, until their end is written.
type links struct {
	signal chan struct{}

	mu    sync.Mutex
	of    map[auth.DeviceID]*link
	queue []auth.DeviceID
	lost  []loss // taken over elsewhere, and not told yet
}

// loss is a session that a newer one elsewhere has taken over from.
type loss struct {
	device  auth.DeviceID
	session uint64
}

func newLinks() *links {
	return &links{signal: make(chan struct{}, 1), of: map[auth.DeviceID]*link{}}
}

func (ls *links) more() <-chan struct{} { return ls.signal }

// Online implements [broker.Presence].
func (p *Presence) Online(d auth.DeviceID, session uint64) {
	now := p.now()
	ls := p.links
	ls.mu.Lock()
	defer ls.mu.Unlock()
	old := ls.of[d]
	if old != nil && old.session > session {
		return
	}
	ls.of[d] = &link{session: session, since: now, waiting: old != nil && old.waiting}
	ls.put(d)
}

// Offline implements [broker.Presence].
func (p *Presence) Offline(d auth.DeviceID, session uint64, cause string) {
	now := p.now()
	p.pulses.forget(d) // its next uplink over HTTP is news
	ls := p.links
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.of[d]; l != nil && l.session == session && !l.ended {
		l.ended, l.at, l.cause = true, now, cause
		ls.put(d)
	}
}

// put has a device written. Called with mu held.
func (ls *links) put(d auth.DeviceID) {
	switch l := ls.of[d]; {
	case l.writing:
		l.again = true
	case !l.waiting:
		l.waiting = true
		ls.queue = append(ls.queue, d)
		wake(ls.signal)
	}
}

// turn is one step of a device's.
type turn struct {
	device  auth.DeviceID
	link    *link
	offline bool
}

// take implements queue.
func (ls *links) take(p *Presence) ([]call, func([]*redis.Cmd) error) {
	p.tellLost()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var calls []call
	var turns []turn
	for len(ls.queue) > 0 && len(calls) < batchSize {
		d := ls.queue[0]
		ls.queue = ls.queue[1:]
		l := ls.of[d]
		if l == nil || !l.waiting {
			continue // given up
		}
		l.waiting, l.writing = false, true
		t := turn{d, l, l.ended && l.epoch != 0}
		if t.offline {
			calls = append(calls, p.offlineCall(d, l))
		} else {
			calls = append(calls, p.onlineCall(d, l))
		}
		turns = append(turns, t)
	}
	return calls, func(replies []*redis.Cmd) error { return ls.settle(p, turns, replies) }
}

func (p *Presence) onlineCall(d auth.DeviceID, l *link) call {
	epoch, again := any(""), ""
	if l.epoch != 0 {
		epoch = l.epoch
	}
	if l.sent {
		again = "1"
	}
	part := p.keys.Partition(d)
	return call{p.scripts.online, p.keys.of(d, p.keys.devices(part, p.run), p.keys.runs(part)), []any{
		string(d), p.cfg.MaxEvents, p.run, l.session, l.since, epoch, again, lease.Milliseconds(), p.keys.devices(part, ""),
	}}
}

func (p *Presence) offlineCall(d auth.DeviceID, l *link) call {
	part := p.keys.Partition(d)
	return call{p.scripts.offline, p.keys.of(d, p.keys.devices(part, p.run)), []any{
		string(d), p.cfg.MaxEvents, p.run, l.session, l.at, l.cause,
	}}
}

// settle takes the replies; what has failed waits again, behind the others.
func (ls *links) settle(p *Presence, turns []turn, replies []*redis.Cmd) (failed error) {
	ls.mu.Lock()
	for i, t := range turns {
		epoch, err := replies[i].Int64()
		damaged := p.isDamaged(t.device, err)
		if err != nil && !damaged {
			failed = err
		}
		if ls.of[t.device] != t.link {
			continue // another has taken its place, and waits itself
		}
		again := t.link.again
		t.link.writing, t.link.again = false, false
		switch {
		case damaged:
			delete(ls.of, t.device)
		case err != nil:
			t.link.sent = true
			ls.put(t.device)
		case t.offline:
			delete(ls.of, t.device)
		case ls.written(t, epoch) && (again || t.link.ended):
			ls.put(t.device)
		}
	}
	ls.mu.Unlock()
	p.tellLost()
	return failed
}

// written takes the answer to a link that was written; false if it is none any
// more. Called with mu held.
func (ls *links) written(t turn, epoch int64) bool {
	l := t.link
	switch {
	case epoch == 0: // not registered any more: the session ends by itself
		delete(ls.of, t.device)
		return false
	case epoch < 0 || l.seen > epoch:
		ls.lose(t.device, l)
		return false
	}
	l.epoch, l.sent, l.seen = epoch, false, 0
	return true
}

// lose gives up a link whose device has a newer session elsewhere. Called with
// mu held.
func (ls *links) lose(d auth.DeviceID, l *link) {
	delete(ls.of, d)
	if !l.ended {
		ls.lost = append(ls.lost, loss{d, l.session})
		wake(ls.signal)
	}
}
