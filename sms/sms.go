// Package sms brings short messages to devices: gateways that submit them (package smpp's, an operator's HTTP API, and loopback for
// development), the schedule by which one is tried again, and what became of each attempt.
//
// It knows no Redis and no downlinks: whoever submits keeps the schedule and what the outcomes mean. A [Gateway] says of each
// attempt one of four things, and never more than it knows: accepted, refused, not sent, or unknown.
package sms

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Message is one attempt to bring an SMS to a device.
type Message struct {
	ID       string        // whose attempt it is
	Attempt  int           // from 1
	Device   string        // for logs
	To       string        // MSISDN: E.164 digits without a sign
	From     string        // originator: a short code, a number, or up to 11 letters and digits
	Text     string        // characters; or
	Data     []byte        // octets
	Validity time.Duration // after which the SMSC gives up; 0: its own default
}

// Accepted is what a gateway gives for a message it took.
type Accepted struct {
	IDs      []string // the SMSC's, of each part, in the form that Receipt.Forms has them; none where it gives none
	Receipts bool     // receipts will tell of each part whether it arrived; else there is nothing more to know
	Note     string   // what a person should know of it, "" nothing
}

// Gateway submits messages. Run is called once, blocks until ctx ends, and returns nil then; Submit may be called by many at once.
type Gateway interface {
	// Name tells gateways apart where ids are kept, and is shown to people.
	Name() string
	Run(ctx context.Context) error
	// Submit makes one attempt. Its error is or wraps a *Refusal, ErrNotSent or ErrUnknown.
	Submit(ctx context.Context, m Message) (Accepted, error)
	// Ready tells whether it would take a message now, and a channel that is closed when that has changed; nil: it never does.
	Ready() (bool, <-chan struct{})
}

// Naming is what a gateway is besides that names its messages itself; find out with [As].
type Naming interface {
	// IDs are those that a message will be accepted under, known before it is submitted; none where the SMSC gives them.
	IDs(m Message) []string
}

var (
	// ErrNotSent: not a byte of it left. It was no attempt.
	ErrNotSent = errors.New("sms not sent")
	// ErrUnknown: it may have been accepted, and may not.
	ErrUnknown = errors.New("outcome of the sms unknown")
)

// Class is what a refusal means for the next attempt.
type Class string

// The classes.
const (
	Temporary Class = "temporary" // the next attempt is made when it is due
	Permanent Class = "permanent" // none is made
	Throttled Class = "throttled" // it was none: the gateway is to be left alone for a while
)

// Refusal is the gateway's no.
type Refusal struct {
	Class Class
	Code  string        // as the gateway names it: ESME_RINVDSTADR, 404
	Text  string        // for people, without the number or the text of the SMS; may be ""
	After time.Duration // of Throttled: how long it asks to be left alone; 0: it does not say
}

func (r *Refusal) Error() string {
	if r.Text == "" {
		return fmt.Sprintf("refused (%s): %s", r.Class, r.Code)
	}
	return fmt.Sprintf("refused (%s): %s, %s", r.Class, r.Code, r.Text)
}

// ReceiptState is what a receipt says of a message.
type ReceiptState string

// The states of receipts. The first two leave it open.
const (
	Enroute     ReceiptState = "ENROUTE"
	AcceptedSMS ReceiptState = "ACCEPTED"
	Delivered   ReceiptState = "DELIVERED"
	Undelivered ReceiptState = "UNDELIVERED" // the SMSC has given up
	ExpiredSMS  ReceiptState = "EXPIRED"     // its validity is over
	Deleted     ReceiptState = "DELETED"
	Rejected    ReceiptState = "REJECTED"
	Unknown     ReceiptState = "UNKNOWN"
)

var receiptStates = []ReceiptState{Enroute, AcceptedSMS, Delivered, Undelivered, ExpiredSMS, Deleted, Rejected, Unknown}

// Class is what a state means for the next attempt, where neither the gateway nor the user says otherwise: only a message that was
// rejected will be so again. It is "" of a state that is open or good.
func (s ReceiptState) Class() Class {
	switch s {
	case Undelivered, ExpiredSMS, Deleted, Unknown:
		return Temporary
	case Rejected:
		return Permanent
	}
	return ""
}

// Receipt tells of a message that was accepted before, or perhaps not yet answered for.
type Receipt struct {
	ID    string   // the SMSC's, as it stands there
	Forms []string // how the same id may have been written when the message was accepted, the likeliest first, as Forms gives them
	To    string   // MSISDN that it went to, digits; "" the receipt does not say
	State ReceiptState
	Class Class     // of a state that is final and not Delivered: whether a further attempt makes sense
	Code  string    // the network's error; "" or "0…" none
	At    time.Time // when it came to that state, by the SMSC; zero: it does not say
}

// Receive takes what a gateway tells by itself. An error of either has the gateway tell it again, where it can.
type Receive struct {
	Receipt func(ctx context.Context, gateway string, r Receipt) error
	// Late is the answer to a message whose outcome was unknown.
	Late func(ctx context.Context, gateway string, m Message, a Accepted, err error)
}
