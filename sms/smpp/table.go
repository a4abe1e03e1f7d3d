package smpp

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// lateLimit is how many requests without an answer are remembered, and how many late answers wait to be told.
const lateLimit = 1000

// maxSequence is the last sequence_number that an ESME may use (SMPP 3.4 §5.1.4).
const maxSequence = 0x7fffffff

// table is the requests of a session that were sent.
type table struct {
	mu    sync.Mutex
	last  uint32              // sequence_number
	open  map[uint32]*request // an answer is due
	late  map[uint32]*request // submits whose time is over; at most lateLimit
	order []uint32            // of late, oldest first
	ended error               // why the session ended; nil: it has not
}

// request is one of them.
type request struct {
	sequence uint32
	command  pdu.Command
	answer   chan answer // of one; gets one
	timer    *time.Timer // to its end
	end      func()      // called once, when no answer is due any more: it gives the window's slot back
	late     *Late       // what an answer is told with when nobody waits for it; nil: not at all
	left     bool        // nobody waits
}

// answer is a response, or why there is none.
type answer struct {
	pdu pdu.PDU
	err error
}

// next is a sequence_number that no request has (SMPP 3.4 §5.1.4: from 1 on).
func (t *table) next() uint32 {
	for {
		t.last = t.last%maxSequence + 1
		if t.open[t.last] == nil && t.late[t.last] == nil {
			return t.last
		}
	}
}

// add has an answer to a request awaited for so long. The error says why the session ended.
func (t *table) add(command pdu.Command, limit time.Duration, late *Late, end func()) (*request, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended != nil {
		return nil, t.ended
	}
	r := &request{sequence: t.next(), command: command, answer: make(chan answer, 1), end: end, late: late}
	r.timer = time.AfterFunc(limit, func() { t.expire(r) })
	t.open[r.sequence] = r
	return r, nil
}

// close takes a request out of the open; false if it was not there. The caller holds the lock.
func (t *table) close(r *request) bool {
	if t.open[r.sequence] != r {
		return false
	}
	delete(t.open, r.sequence)
	r.timer.Stop()
	r.end()
	return true
}

// drop forgets a request that was not sent.
func (t *table) drop(r *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.close(r)
}

// leave says that nobody waits for the answer any more; if it is there already it is given.
func (t *table) leave(r *request) (a answer, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case a = <-r.answer:
		return a, true
	default:
		r.left = true
		return a, false
	}
}

// answered gives a response to who waits for it. If nobody does, late is what to tell of it. A second response to the same
// request, or one of another command, is no answer.
func (t *table) answered(p pdu.PDU) (late *Late) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, isLate := t.open[p.Sequence], false
	if r == nil {
		r, isLate = t.late[p.Sequence], true
	}
	if r == nil || p.Command != r.command.Response() && p.Command != pdu.GenericNack {
		return nil
	}
	if isLate {
		delete(t.late, p.Sequence)
		t.order = slices.DeleteFunc(t.order, func(n uint32) bool { return n == p.Sequence })
		return r.late
	}
	t.close(r)
	if r.left {
		return r.late
	}
	r.answer <- answer{pdu: p}
	return nil
}

// expire is of a request whose time is over.
func (t *table) expire(r *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.close(r) {
		return
	}
	r.answer <- answer{err: fmt.Errorf("%s: %w", r.command, ErrNoAnswer)}
	if r.late == nil {
		return
	}
	t.late[r.sequence] = r
	t.order = append(t.order, r.sequence)
	if len(t.order) > lateLimit {
		delete(t.late, t.order[0])
		t.order = t.order[1:]
	}
}

// fail ends all requests.
func (t *table) fail(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = why
	for _, r := range t.open {
		t.close(r)
		r.answer <- answer{err: why}
	}
}
