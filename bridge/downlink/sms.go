package downlink

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
)

// checkSMS holds what a draft says of SMS against its channel.
func (s *Service) checkSMS(d *Draft) error {
	bad := func(text string) error { return fmt.Errorf("%w: %s", ErrInvalid, text) }
	has := 0
	for _, there := range []bool{len(d.Pack) > 0, d.Text != "", len(d.Data) > 0} {
		if there {
			has++
		}
	}
	switch sms := d.Channel == SMS; {
	case s.cfg.SMS == nil && sms:
		return bad("channel: this bridge sends no SMS (--sms off)")
	case s.cfg.SMS == nil && d.Wake:
		return bad("wake: this bridge sends no SMS (--sms off), and so cannot wake a device up")
	case sms && d.Wake:
		return bad("wake: an SMS needs none: it is for what goes over http, mqtt or any")
	case sms && has != 1:
		return bad("text: an SMS has one of text, data and pack")
	case !sms && d.Text != "":
		return bad("text: only an SMS has text; over " + string(d.Channel) + " it is a pack")
	case !sms && len(d.Data) > 0:
		return bad("data: only an SMS has data; over " + string(d.Channel) + " it is a pack")
	case sms && d.Ack && len(d.Pack) == 0:
		return bad("ack: a device can acknowledge a pack only, in which the id of the downlink is")
	case !utf8.ValidString(d.Text):
		return bad("text: it is not valid UTF-8")
	case d.Text != "":
		return s.checkParts(d.Text, nil, "text")
	case len(d.Data) > 0:
		return s.checkParts("", d.Data, "data")
	}
	return nil
}

// MaxParts is how long an SMS may be, in parts as the network carries them.
const MaxParts = 10

func (s *Service) checkParts(text string, data []byte, field string) error {
	parts, err := s.cfg.SMS(text, data)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, field, err)
	}
	if parts > MaxParts {
		return fmt.Errorf("%w: %s: it is %d SMS long, more than %d", ErrInvalid, field, parts, MaxParts)
	}
	return nil
}

// SMSKind is what an SMS holds.
type SMSKind string

// The kinds.
const (
	SMSPack SMSKind = "pack"
	SMSText SMSKind = "text"
	SMSData SMSKind = "data"
	SMSWake SMSKind = "wake" // whatever wakes the device up
)

// SMSAttempt is one attempt by SMS, begun.
type SMSAttempt struct {
	ID       string
	Device   auth.DeviceID
	Number   int    // of the attempt, from 1
	MSISDN   string // where it goes
	Kind     SMSKind
	Content  string
	Validity time.Duration // until the next attempt, or the end
}

// BeginSMS begins the attempt that a claim of due.SMS is for; ok is false if none is to be made now. Its outcome is to be told with
// EndSMS within the claim's lease, else nobody knows what became of it. Asked again for the same claim it gives the same attempt.
func (s *Service) BeginSMS(ctx context.Context, c due.Claim) (a SMSAttempt, ok bool, err error) {
	reply, err := s.do(ctx, c.Partition, "begin", c.ID, c.Lease, s.cfg.Schedule)
	if err != nil {
		return a, false, err
	}
	words, err := reply.StringSlice()
	if err != nil || len(words) == 0 {
		return a, false, err
	}
	if len(words) != 5 {
		return a, false, fmt.Errorf("%w: begin SMS: %d words", ErrUnavailable, len(words))
	}
	a = SMSAttempt{ID: c.ID, Device: auth.DeviceID(c.Data), MSISDN: words[1], Kind: SMSKind(words[2]), Content: words[3]}
	a.Number, err = strconv.Atoi(words[0])
	ms, err2 := strconv.ParseFloat(words[4], 64)
	if err := errors.Join(err, err2); err != nil {
		return a, false, fmt.Errorf("%w: begin SMS: %w", ErrUnavailable, err)
	}
	a.Validity = time.Duration(ms) * time.Millisecond
	s.cfg.Note(a.Device, a.ID+" goes by SMS, attempt "+strconv.Itoa(a.Number))
	return a, true, nil
}

// SMSEnd is how an attempt by SMS has ended.
type SMSEnd string

// The ends. Of the last two nothing counts as an attempt.
const (
	SMSAccepted  SMSEnd = "accepted"
	SMSTemporary SMSEnd = "temporary" // refused; the next attempt is made when it is due
	SMSPermanent SMSEnd = "permanent" // refused, and none is made
	SMSUnknown   SMSEnd = "unknown"
	SMSThrottled SMSEnd = "throttled"
	SMSUnsent    SMSEnd = "unsent"
)

// SMSOutcome is what became of an attempt.
type SMSOutcome struct {
	End      SMSEnd
	Text     string        // by what one knows, for people; no number and nothing of the text
	Receipts bool          // of one that was accepted: receipts will tell of it
	Pause    time.Duration // of one that was none: until the next
}

// EndSMS tells what became of an attempt. It is false if that means nothing any more. It may be told again.
func (s *Service) EndSMS(ctx context.Context, id string, number int, o SMSOutcome) (bool, error) {
	return s.tellSMS(ctx, id, "outcome", number, string(o.End), o.Text, flag(o.Receipts), o.Pause.Milliseconds(), s.cfg.AckWait.Milliseconds(), s.cfg.Schedule)
}

// SMSReceipt is what the SMSC says of a part of an attempt.
type SMSReceipt struct {
	Number      int    // of the attempt
	Part, Parts int    // from 1
	State       string // DELIVERED, or another one in capitals
	Final       bool   // of another one: the SMSC has given up
	Permanent   bool   // and no further attempt makes sense
	Text        string // for people
}

// Receipt tells it. It is false if it was told before, or is of nothing. It may be told again.
func (s *Service) Receipt(ctx context.Context, id string, r SMSReceipt) (bool, error) {
	class := ""
	switch {
	case r.Permanent:
		class = "permanent"
	case r.Final:
		class = "temporary"
	}
	return s.tellSMS(ctx, id, "receipt", r.Number, r.Part, r.Parts, r.State, class, r.Text, s.cfg.AckWait.Milliseconds(), s.cfg.Schedule)
}

func (s *Service) tellSMS(ctx context.Context, id, op string, args ...any) (bool, error) {
	p, ok := s.partitionOf(id)
	if !ok {
		return false, nil
	}
	reply, err := s.do(ctx, p, op, append([]any{id}, args...)...)
	if err != nil {
		return false, err
	}
	n, err := reply.Int()
	return n == 1, err
}

// SMSDue is the set of the next attempts by SMS, for a worker.
func (s *Service) SMSDue(lease time.Duration) *due.Set {
	return due.NewSet(due.Config{Client: s.cfg.Client, Keys: s.cfg.Keys, Kind: due.SMS, Lease: lease, Horizon: maxTTL, Clock: s.cfg.Now})
}
