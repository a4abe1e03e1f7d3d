package uplink

import (
	"errors"
	"fmt"
	"time"

	"m2mbridge/senml"
)

// Outcome is what became of an uplink.
type Outcome uint8

// The outcomes. Stored, Repeated and Heartbeat are the only ones that may be
// acknowledged; Unavailable alone means that the device should send again.
const (
	Unavailable  Outcome = iota // Redis cannot store it, or did not say in time
	Stored                      // in the stream
	Repeated                    // the same bytes were stored before
	Heartbeat                   // base fields only: authentic, nothing to store
	BadPack                     // not a SenML pack, or not one of this device
	TokenMissing                // no message token where one is needed
	Forbidden                   // token wrong, device unknown or disabled
	Unknown                     // device unknown, where the operator reveals it
	RateLimited                 // over the device's rate
)

var outcomeNames = [...]string{"unavailable", "stored", "repeated", "heartbeat", "bad-pack", "token-missing", "forbidden", "unknown", "rate-limited"}

// String is the outcome as metrics and logs name it.
func (o Outcome) String() string { return outcomeNames[o] }

// Accepted tells whether the device may be told that all is well.
func (o Outcome) Accepted() bool { return o == Stored || o == Repeated || o == Heartbeat }

// Verdict is the answer to an uplink.
type Verdict struct {
	Outcome    Outcome
	Reason     string        // short stable code of a refusal, as in the rejects stream
	Detail     string        // one line for the device's engineer; never a secret, a token or the body
	StreamID   string        // id in the uplinks stream when Stored
	RetryAfter time.Duration // RateLimited and Unavailable: when to try again
	Downlink   *Downlink     // what goes to the device in the answer; nil: nothing
	observed   bool          // OnceObserve: stored although a repeat
}

// Refusal is the error of a step that refuses an uplink.
type Refusal struct {
	Outcome    Outcome
	Reason     string
	Detail     string
	RetryAfter time.Duration
	cause      error
	public     string // Detail without what it repeats of the body; "": it repeats nothing
}

func (r *Refusal) Error() string {
	if r.cause != nil {
		return fmt.Sprintf("%s: %v", r.Detail, r.cause)
	}
	return r.Detail
}

func (r *Refusal) Unwrap() error { return r.cause }

func refusal(o Outcome, reason, detail string) *Refusal {
	return &Refusal{Outcome: o, Reason: reason, Detail: detail}
}

// recordRefusal names the record (counted from 1 in the text) and field at fault.
func recordRefusal(i int, field, reason, detail string) *Refusal {
	return refusal(BadPack, reason, fmt.Sprintf("record %d: field %q %s", i+1, field, detail))
}

// packRefusal turns an error of the SenML core into a refusal.
func packRefusal(err error) *Refusal {
	r := &Refusal{Outcome: BadPack, Reason: "senml", Detail: err.Error(), cause: err}
	var e *senml.Error
	if errors.As(err, &e) {
		r.Reason, r.cause = "senml-"+e.Reason, nil
		if !senmlLabel(e.Field) {
			public := *e
			public.Field = "..."
			r.public = public.Error()
		}
	}
	return r
}
