package bridge_test

import (
	"context"
	"time"

	"pgregory.net/rapid"

	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/due"
	"m2mbridge/bridge/uplink"
)

// modelStep is the shortest step of the model's schedule.
const modelStep = time.Minute

// texted is an attempt by SMS that a gateway took.
type texted struct {
	it        *item
	number    int
	delivered bool
}

// meets gives what is to be told how a new uplink of the device was judged: one that is accepted ends the SMS that are to wake it up.
func (w *world) meets(d *modelDevice) func(uplink.Verdict) {
	w.follow()
	var woken *item
	for _, it := range w.made {
		if it.device == d && it.state == downlink.Executing && it.draft.Wake && it.generation == d.generation {
			woken = it
		}
	}
	return func(v uplink.Verdict) {
		if woken != nil && (v.Outcome == uplink.Stored || v.Outcome == uplink.Heartbeat) {
			woken.woken = true
		}
	}
}

// text makes the attempts by SMS that are due, with one outcome or another.
func (w *world) text(t *rapid.T) {
	n := w.anyNode(t)
	w.quiet()
	for _, batch := range n.downlinks.SMSDue(modelLease).Claim(context.Background(), due.Ask{Partition: 0, N: 2}, due.Ask{Partition: 1, N: 2}) {
		for _, c := range batch.Claims {
			if a, ok := w.beginSMS(n, c); ok {
				w.endSMS(t, n, a)
			}
		}
	}
	w.follow()
}

func (w *world) beginSMS(n *modelNode, c due.Claim) (downlink.SMSAttempt, bool) {
	for range 5 { // an answer may be lost
		a, ok, err := n.downlinks.BeginSMS(context.Background(), c)
		if err != nil {
			continue
		}
		w.follow()
		it := w.byID[c.ID]
		bad := func(why string) { w.Fatalf("attempt %d of %s, which is %s: %s", a.Number, c.ID, it.state, why) }
		switch {
		case !ok:
		case it.state != downlink.Executing:
			bad("it is not its turn")
		case it.woken:
			bad("its device has come")
		case it.generation != it.device.generation:
			bad("its device was removed")
		case it.hopeless || it.draft.Channel == downlink.SMS && it.confirmed && !it.draft.Ack:
			bad("no further one makes sense")
		case it.draft.Channel != downlink.SMS && !it.draft.Wake:
			bad("it is none")
		case w.clock.now().Before(it.restsUntil):
			bad("it follows the one before too closely: it rests until " + it.restsUntil.String())
		}
		return a, ok
	}
	w.Fatalf("node %d cannot begin an SMS", n.number)
	return downlink.SMSAttempt{}, false
}

// endSMS is what becomes of an attempt.
func (w *world) endSMS(t *rapid.T, n *modelNode, a downlink.SMSAttempt) {
	it := w.byID[a.ID]
	ends := []downlink.SMSOutcome{
		{}, // nobody knows: the node is gone
		{End: downlink.SMSAccepted, Receipts: true}, {End: downlink.SMSAccepted, Receipts: true}, {End: downlink.SMSAccepted},
		{End: downlink.SMSTemporary}, {End: downlink.SMSPermanent}, {End: downlink.SMSUnknown},
		{End: downlink.SMSUnsent, Pause: time.Second}, {End: downlink.SMSThrottled, Pause: time.Second},
	}
	o := ends[rapid.IntRange(0, len(ends)-1).Draw(t, "outcome")]
	sms := it.draft.Channel == downlink.SMS
	switch {
	case o.End == "": // it is not sent again blindly, as soon as the claim is over
		it.restsUntil = w.clock.now().Add(modelLease + modelStep/2)
		if rapid.Bool().Draw(t, "another looks") {
			w.move(modelLease + time.Second)
			w.text(t)
		}
		return
	case o.End == downlink.SMSPermanent:
		it.hopeless = true
	case o.End == downlink.SMSAccepted && o.Receipts:
		w.texts = append(w.texts, &texted{it: it, number: a.Number})
	case o.End == downlink.SMSAccepted && sms:
		w.delivered(it)
	}
	if o.Pause == 0 {
		it.restsUntil = w.clock.now().Add(modelStep / 2)
	}
	o.Text = "the model says so"
	for range 5 {
		if _, err := n.downlinks.EndSMS(context.Background(), a.ID, a.Number, o); err == nil {
			return
		}
	}
	w.Fatalf("node %d cannot end an SMS", n.number)
}

// delivered: the device has an SMS, which may be the downlink.
func (w *world) delivered(it *item) {
	if it.draft.Channel != downlink.SMS {
		return
	}
	it.confirmed = true
	if it.draft.Ack && !it.state.Final() && it.taken.IsZero() {
		it.taken = w.clock.now()
	}
}

// receipt is one of an SMS, of whichever attempt, and perhaps not the first.
func (w *world) receipt(t *rapid.T) {
	if len(w.texts) == 0 {
		return
	}
	w.quiet()
	one := rapid.SampledFrom(w.texts).Draw(t, "text")
	r := downlink.SMSReceipt{Number: one.number, Part: 1, Parts: 1, State: rapid.SampledFrom([]string{"DELIVERED", "UNDELIVERED", "ENROUTE"}).Draw(t, "says")}
	switch {
	case r.State == "DELIVERED" && !one.delivered:
		one.delivered = true
		w.delivered(one.it)
	case r.State == "UNDELIVERED":
		r.Final = true
	}
	for range 5 {
		if _, err := w.anyNode(t).downlinks.Receipt(context.Background(), one.it.id, r); err == nil {
			w.follow()
			return
		}
	}
	w.Fatalf("the receipt of an SMS cannot be told")
}
