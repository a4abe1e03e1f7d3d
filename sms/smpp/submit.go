package smpp

import (
	"context"
	"errors"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// Submit is a short message to send.
type Submit struct {
	Key string // the caller's own name of it, given back in Late; not sent

	Source      string // digits, a short code or up to 11 letters
	Destination string // digits, with or without +

	SourceType      *AddressType // nil: Config.SourceType
	DestinationType *AddressType // nil: Config.DestinationType

	Text string // GSM 7-bit where it can be, else UCS-2
	Data []byte // instead of Text: 8-bit octets

	ValidityPeriod       time.Duration // how long the SMSC tries, up to 30 days; 0: as long as it likes
	RegisteredDelivery   bool          // a receipt when it was delivered, and when it was given up
	Intermediate         bool          // notifications before that, too; few SMSCs send any
	UserMessageReference uint16        // the caller's number for it, which receipts may name; 0: none
}

// Late is the answer to a part of a message whose Submit gave up with ErrUnknown.
type Late struct {
	Key   string // Submit.Key
	Part  int    // from 1
	Parts int    // if there are more behind Part, they were not sent
	ID    string // the SMSC's id, if it accepted the part
	Err   error  // a *StatusError if it refused it; nil if not
}

// Submit sends a message, part for part, and gives the SMSC's id of each part: one, unless the message is long. It waits
// while the window is full or the SMSC throttles; ctx bounds the whole. It never sends anything twice, but for the second and
// further parts of a long message that the SMSC throttles. The package comment has the errors.
func (c *Client) Submit(ctx context.Context, m Submit) (ids []string, err error) {
	parts, err := c.encode(m)
	if err != nil {
		return nil, notSent(errors.Join(ErrInvalid, err))
	}
	for i, part := range parts {
		late := Late{Key: m.Key, Part: i + 1, Parts: len(parts)}
		id, err := c.sendAgain(ctx, part, late, i > 0)
		if err != nil && i > 0 {
			return ids, &PartialError{IDs: ids, Parts: len(parts), Err: err}
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// throttledTries is how often a part behind the first is sent to an SMSC that throttles: to give it up would leave a message
// cut short on the phone.
const throttledTries = 4

func (c *Client) sendAgain(ctx context.Context, m *pdu.Message, late Late, again bool) (id string, err error) {
	for try := 1; ; try++ {
		id, err = c.send(ctx, m, late)
		var refused *StatusError
		if !again || try == throttledTries || !errors.As(err, &refused) || refused.Class() != Throttled {
			return id, err
		}
	}
}

// send sends one part and waits for its answer.
func (c *Client) send(ctx context.Context, m *pdu.Message, late Late) (id string, err error) {
	_, s := c.current.get()
	if s == nil {
		return "", notSent(ErrNotBound)
	}
	if err := s.acquire(ctx); err != nil {
		return "", notSent(err)
	}
	sent := time.Now()
	r, err := s.table.add(pdu.SubmitSM, s.cfg.ResponseTimeout, &late, func() { <-s.slots })
	if err != nil {
		<-s.slots
		return "", notSent(errors.Join(ErrNotBound, err))
	}
	left, err := s.write(pdu.PDU{Command: pdu.SubmitSM, Sequence: r.sequence, Body: m})
	if err != nil {
		s.table.drop(r)
		if left {
			return "", unknown(err)
		}
		return "", notSent(errors.Join(ErrNotBound, err))
	}
	return s.await(ctx, r, sent)
}

// acquire takes a slot of the window, when the SMSC does not throttle.
func (s *session) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return ErrNotBound
		case <-s.done:
			return ErrNotBound
		}
		if s.isClosing() {
			<-s.slots
			return ErrNotBound
		}
		if s.throttle.left() <= 0 {
			return nil
		}
		<-s.slots // the window is free while nothing may be sent
		if err := s.throttle.wait(ctx, s.done); err != nil {
			return err
		}
	}
}

func (s *session) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// await waits for the answer to a submit.
func (s *session) await(ctx context.Context, r *request, sent time.Time) (id string, err error) {
	var a answer
	select {
	case a = <-r.answer:
	case <-ctx.Done():
		var ok bool
		if a, ok = s.table.leave(r); !ok {
			return "", unknown(ctx.Err())
		}
	}
	if a.err != nil {
		return "", unknown(a.err)
	}
	s.throttle.answered(sent, a.pdu.Status)
	return accepted(a.pdu)
}

// accepted is the id in an answer to a submit, or a *StatusError. An SMSC may accept a message without an id.
func accepted(p pdu.PDU) (id string, err error) {
	if p.Status != pdu.StatusOK || p.Command == pdu.GenericNack {
		return "", &StatusError{Command: pdu.SubmitSM, Status: p.Status}
	}
	if body, ok := p.Body.(*pdu.MessageResp); ok {
		id = body.MessageID
	}
	return id, nil
}
