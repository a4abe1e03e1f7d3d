package api

import (
	"cmp"
	"fmt"
	"time"

	"m2mbridge/bridge/downlink"
)

// DownlinkSMS is how it stands with the attempts by SMS: those of an SMS, or those
// that wake the device of a downlink up.
type DownlinkSMS struct {
	State    string    `json:"state" enum:"due,submitting,accepted,refused,undelivered,unknown,taken,heard,over" doc:"due: the next attempt waits for its time. submitting: the gateway is being asked. accepted: the gateway has it, which is not that the device has. refused: not now. undelivered: a receipt says that it has not arrived, or the device did not acknowledge it. unknown: the gateway's answer was lost. taken: it arrived, and the device's acknowledgement is awaited. heard: it arrived, and the device that it is to wake up is awaited. over: no further attempt is made"`
	Attempts int       `json:"attempts" doc:"Those of which at least a byte may have left"`
	FirstAt  time.Time `json:"firstAt,omitzero" doc:"When the first one was made"`
	NextAt   time.Time `json:"nextAt,omitzero" doc:"When the next one is due; missing: none is, or one is under way."`
	LimitAt  time.Time `json:"limitAt,omitzero" doc:"Until when attempts are made"`
}

// DownlinkStep is one thing that happened to a downlink.
type DownlinkStep struct {
	At   time.Time `json:"at"`
	What string    `json:"what" example:"accepted" doc:"A state that it came into (queued, executing, succeeded, failed, expired, cancelled; executing again where only its cause changed), handed: it went to the device, or, of an attempt by SMS, the state of its event: accepted, temporary, permanent, unknown, throttled, unsent, what a receipt says, such as delivered or undelivered, and woke"`
	Text string    `json:"text"`
}

// States of downlink.SMSState, of lua/sms.lua.
const (
	smsDue        = "due"
	smsSubmitting = "submitting"
	smsAccepted   = "accepted"
	smsTaken      = "taken"
	smsHeard      = "heard"
	smsOver       = "over"
)

// nextAttempt is when the next attempt by SMS is due; zero where none is, or that
// is not known.
func nextAttempt(d *downlink.Downlink) time.Time {
	switch s := d.SMS; {
	case s.State == smsSubmitting, s.State == smsTaken, s.State == smsHeard, s.State == smsOver, !s.Next.Before(endOfSMS(d)):
		return time.Time{}
	default:
		return s.Next
	}
}

// endOfSMS is from when on no attempt is made.
func endOfSMS(d *downlink.Downlink) time.Time {
	if d.SMS.Limit.IsZero() || d.ExpiresAt.Before(d.SMS.Limit) {
		return d.ExpiresAt
	}
	return d.SMS.Limit
}

// smsReason goes on, behind reasonOf, with what an SMS waits for, or how it stands
// with waking the device up.
func (a *API) smsReason(d *downlink.Downlink) string {
	if !waitsForContact(d) || d.Channel != downlink.SMS && !d.Wake {
		return ""
	}
	if d.SMS == nil {
		d.SMS = &downlink.SMSState{State: smsDue}
	}
	text := smsAwaited(d, time.Now())
	if d.SMS.State == smsOver {
		return text
	}
	if d.SMS.State == smsHeard {
		return text
	}
	if d.Wake {
		text = "; and, to wake it up, for " + text
	}
	if d.SMS.State != smsSubmitting && a.smsReady != nil {
		if ready, why := a.smsReady(); !ready {
			text += "; the SMS gateway is not ready: " + cmp.Or(why, "it does not say why")
		}
	}
	return text
}

// smsAwaited is what is waited for, of an SMS or to wake a device up.
func smsAwaited(d *downlink.Downlink, now time.Time) string {
	s, next := d.SMS, nextAttempt(d)
	last := next.IsZero() && !s.Next.IsZero()
	switch {
	case s.State == smsOver:
		return "; no further SMS is to wake it up"
	case s.State == smsHeard:
		return fmt.Sprintf("; attempt %d of the SMS that is to wake it up has reached it, and no further one is made", s.Attempts)
	case s.State == smsSubmitting:
		return fmt.Sprintf("the outcome of attempt %d by SMS, which is under way", s.Attempts)
	case s.State == smsAccepted && d.Wake: // there may be no receipts
		return fmt.Sprintf("it to come after attempt %d by SMS", s.Attempts) + following(d, next, last)
	case s.State == smsAccepted:
		return fmt.Sprintf("the receipt of attempt %d by SMS", s.Attempts) + following(d, next, last)
	case last:
		return "its end at " + instant(endOfSMS(d)) + ": no attempt by SMS is left"
	}
	text := "its next attempt by SMS"
	if s.Attempts == 0 {
		text = "its first attempt by SMS"
	}
	switch late := now.Sub(next); {
	case next.IsZero(), late >= 0 && late < 10*time.Second: // it is about to be made
		return text
	case late > 0:
		return text + ", due since " + instant(next)
	}
	return text + " at " + instant(next)
}

// following says when another attempt is made.
func following(d *downlink.Downlink, next time.Time, last bool) string {
	switch {
	case last:
		return "; no attempt is left, and it ends at " + instant(endOfSMS(d))
	case next.IsZero():
		return ""
	}
	return "; the next attempt is at " + instant(next)
}
