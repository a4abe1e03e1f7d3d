package smpp

import (
	"context"
	"errors"

	"m2mbridge/sms/smpp/pdu"
)

// queueLimit is how many deliveries may wait for their turn; the SMSC is to send further ones later.
const queueLimit = 100

// delivery is a deliver_sm or data_sm: a receipt or a message.
type delivery struct {
	frame   pdu.Frame
	receipt *Receipt
	message *Inbound
}

// received queues a delivery, or refuses it when too many wait or it cannot be read.
func (s *session) received(f pdu.Frame) {
	p, err := f.Decode()
	if err != nil {
		var bad *pdu.DecodeError
		errors.As(err, &bad) // the command is known
		s.respond(f, bad.Status, &pdu.MessageResp{})
		return
	}
	select {
	case s.rooms <- struct{}{}:
		d := delivery{frame: f}
		in := newIncoming(p)
		if in.isReceipt() {
			d.receipt = in.receipt()
		} else {
			d.message = in.message(s.cfg.Alphabet)
		}
		s.queue <- d
	default:
		s.respond(f, pdu.StatusMsgQFul, &pdu.MessageResp{})
	}
}

// deliver hands deliveries to the callbacks and answers each when it was taken. What is left when the session ends was not
// answered: the SMSC sends it again.
func (s *session) deliver(ctx context.Context) {
	for d := range s.queue {
		if s.ended() {
			continue
		}
		status := pdu.StatusOK
		if err := s.call(ctx, d); err != nil {
			status = pdu.StatusTAppn
		}
		s.respond(d.frame, status, &pdu.MessageResp{})
		<-s.rooms
	}
}

func (s *session) call(ctx context.Context, d delivery) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallbackTimeout)
	defer cancel()
	switch {
	case d.receipt != nil && s.cfg.Receipt != nil:
		return s.cfg.Receipt(ctx, *d.receipt)
	case d.message != nil && s.cfg.Message != nil:
		return s.cfg.Message(ctx, *d.message)
	}
	return nil
}

// tell hands late answers to Config.Late, those that wait when the session ends too.
func (s *session) tell(ctx context.Context) {
	for l := range s.lates {
		if s.cfg.Late != nil {
			s.callLate(ctx, l)
		}
	}
}

func (s *session) callLate(ctx context.Context, l Late) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallbackTimeout)
	defer cancel()
	s.cfg.Late(ctx, l)
}
