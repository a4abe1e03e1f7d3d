package smpp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// session is one connection that is bound.
//
// It has four goroutines: read takes in what the SMSC sends and never waits for a callback, deliver calls Receipt and
// Message, tell calls Late, and keep sees whether the SMSC is there. Submits write from their callers' goroutines.
type session struct {
	cfg      *Config
	throttle *throttle
	conn     net.Conn
	secure   bool // TLS: what a failed write has sent is not known
	in       *bufio.Reader
	table    table

	slots   chan struct{}  // of the window: one for each submit whose answer is due
	rooms   chan struct{}  // one for each delivery that is not answered
	queue   chan delivery  // from read to deliver
	lates   chan Late      // from read to tell
	unbinds chan pdu.Frame // from read to serve: the SMSC's unbind

	writing sync.Mutex
	shut    sync.Once
	closing chan struct{} // closed: no more submits
	done    chan struct{} // closed: the session has ended
	cause   error         // why; written before done is closed
}

// serve keeps the session until it or ctx ends, and says why it ended.
func (s *session) serve(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(s.read)
	group.Go(s.keep)
	group.Go(func() { s.deliver(context.WithoutCancel(ctx)) })
	group.Go(func() { s.tell(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		s.unbind()
	case f := <-s.unbinds:
		s.unbound(f)
	case <-s.done:
	}
	group.Wait()
	return s.cause
}

// end ends the session at once. Submits whose answer is due have an unknown outcome then.
func (s *session) end(why error) {
	s.shut.Do(func() {
		s.cause = why
		close(s.done)
		s.table.fail(why)
		_ = s.conn.Close()
	})
}

func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// unbind ends the session from our side, when what is under way is done (SMPP 3.4 §4.2).
func (s *session) unbind() {
	s.drain()
	if r, err := s.ask(pdu.Unbind); err == nil {
		select {
		case <-r.answer: // or that none came, which comes to the same
		case f := <-s.unbinds: // both sides had the same thought
			s.respond(f, pdu.StatusOK, nil)
		}
	}
	s.end(errStopped)
}

// unbound ends it from the SMSC's.
func (s *session) unbound(f pdu.Frame) {
	s.drain()
	s.respond(f, pdu.StatusOK, nil)
	s.end(ErrUnbound)
}

// drain waits until all submits have their answer and all deliveries are answered, no longer than an answer may take. No
// new ones are begun.
func (s *session) drain() {
	close(s.closing)
	timer := time.NewTimer(s.cfg.ResponseTimeout)
	defer timer.Stop()
	for _, all := range []chan struct{}{s.slots, s.rooms} {
		for range cap(all) {
			select {
			case all <- struct{}{}:
			case <-timer.C:
				return
			case <-s.done:
				return
			}
		}
	}
}

// ask sends a request without a body.
func (s *session) ask(command pdu.Command) (*request, error) {
	r, err := s.table.add(command, s.cfg.ResponseTimeout, nil, func() {})
	if err != nil {
		return nil, err
	}
	if _, err := s.write(pdu.PDU{Command: command, Sequence: r.sequence}); err != nil {
		s.table.drop(r)
		return nil, err
	}
	return r, nil
}

// keep asks the SMSC whether it is there (SMPP 3.4 §4.11), and ends the session when it does not answer.
func (s *session) keep() {
	ticker := time.NewTicker(s.cfg.EnquireLink)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		}
		r, err := s.ask(pdu.EnquireLink)
		if err != nil {
			return // the session has ended
		}
		if a := <-r.answer; a.err != nil {
			s.end(a.err)
			return
		}
	}
}

// respond answers a request.
func (s *session) respond(to pdu.Frame, status Status, body pdu.Body) {
	_, _ = s.write(pdu.PDU{Command: to.Command.Response(), Status: status, Sequence: to.Sequence, Body: body})
}

// write sends a PDU. If it fails, left says whether a part of it may have been sent, and the session has ended unless the
// PDU could not be encoded.
func (s *session) write(p pdu.PDU) (left bool, err error) {
	b, err := p.Append(nil)
	if err != nil {
		return false, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.ended() {
		return false, s.cause
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.cfg.ResponseTimeout))
	n, err := s.conn.Write(b)
	if err == nil {
		return true, nil
	}
	err = fmt.Errorf("write %s: %w", p.Command, err)
	s.end(err)
	return n > 0 || s.secure, err
}
