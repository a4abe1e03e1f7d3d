package smpp

import (
	"errors"
	"fmt"
	"io"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// read takes in what the SMSC sends until the session ends.
func (s *session) read() {
	defer close(s.queue)
	defer close(s.lates)
	for {
		f, err := pdu.Read(s.in, s.cfg.MaxPDU)
		if err != nil {
			s.broken(f, err)
			return
		}
		s.take(f)
	}
}

// broken ends the session when nothing more can be read. Behind a length that is out of bounds the SMSC is told so (SMPP 3.4
// §4.3).
func (s *session) broken(f pdu.Frame, err error) {
	if errors.Is(err, pdu.ErrLength) {
		s.nack(f, pdu.StatusInvCmdLen)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the SMSC")
	}
	s.end(fmt.Errorf("read: %w", err))
}

// take is one PDU.
func (s *session) take(f pdu.Frame) {
	switch {
	case f.Command.IsResponse():
		s.answered(f)
	case f.Command == pdu.EnquireLink:
		s.respond(f, pdu.StatusOK, nil)
	case f.Command == pdu.DeliverSM, f.Command == pdu.DataSM:
		s.received(f)
	case f.Command == pdu.Unbind:
		select {
		case s.unbinds <- f:
		default: // it was told already
		}
	case f.Command == pdu.AlertNotification, f.Command == pdu.Outbind:
		// Neither has a response (SMPP 3.4 §4.12.1, §4.1.7).
	default:
		s.nack(f, pdu.StatusInvCmdID)
	}
}

// answered is a response. What cannot be read of it is left out: its status is what counts.
func (s *session) answered(f pdu.Frame) {
	p, _ := f.Decode()
	late := s.table.answered(p)
	if late == nil {
		return
	}
	late.ID, late.Err = accepted(p)
	s.throttle.answered(time.Now(), p.Status)
	select {
	case s.lates <- *late:
	default: // Config.Late has the limit
	}
}

// nack refuses what has no response of its own (SMPP 3.4 §4.3).
func (s *session) nack(f pdu.Frame, status Status) {
	_, _ = s.write(pdu.PDU{Command: pdu.GenericNack, Status: status, Sequence: f.Sequence})
}
