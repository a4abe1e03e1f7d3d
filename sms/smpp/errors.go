package smpp

import (
	"errors"
	"fmt"

	"m2mbridge/sms/smpp/pdu"
)

var (
	// ErrNotSent: not an octet of the message left. It comes with the reason: ErrNotBound, ErrThrottled, ErrInvalid, or the
	// error of a context that ended.
	ErrNotSent = errors.New("not sent")
	// ErrUnknown: the message was sent, wholly or partly, and no answer came: the SMSC may have it or not.
	ErrUnknown = errors.New("outcome unknown")

	// ErrNotBound: there is no session with the SMSC.
	ErrNotBound = errors.New("not bound")
	// ErrThrottled: the SMSC asked for a pause, which outlasts the context.
	ErrThrottled = errors.New("throttled")
	// ErrInvalid: the message cannot be expressed; it would fail each time.
	ErrInvalid = errors.New("invalid message")

	// ErrNoAnswer: a response did not come within Config.ResponseTimeout.
	ErrNoAnswer = errors.New("no answer in time")
	// ErrUnbound: the SMSC ended the session with unbind.
	ErrUnbound = errors.New("unbound by the SMSC")
	// ErrRunning: Run was called while it runs.
	ErrRunning = errors.New("already running")
)

// errStopped is of a session that ended because Run's context did.
var errStopped = errors.New("stopped")

// StatusError is a request that the SMSC refused.
type StatusError struct {
	Command pdu.Command // the request
	Status  Status
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s refused: %s", e.Command, e.Status) }

// Class says what to do about it, by the default table.
func (e *StatusError) Class() Class { return ClassOf(e.Status) }

// PartialError is a long message of which the SMSC has accepted the first parts only: the phone shows nothing, or a text
// with a gap. It does not unwrap: what is true of the part is not of the message.
type PartialError struct {
	IDs   []string // of the parts that were accepted, which are the first
	Parts int      // of the message
	Err   error    // of the part after them: a *StatusError, ErrNotSent or ErrUnknown. Those behind it were not sent.
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d of %d parts accepted: %v", len(e.IDs), e.Parts, e.Err)
}

// notSent is ErrNotSent with its reason.
func notSent(why error) error { return fmt.Errorf("%w: %w", ErrNotSent, why) }

// unknown is ErrUnknown with its reason.
func unknown(why error) error { return fmt.Errorf("%w: %w", ErrUnknown, why) }
