package texter

import (
	"context"
	"strconv"
	"strings"

	"m2mbridge/bridge/downlink"
	"m2mbridge/sms"
)

// Receipt is told of each receipt, as sms.Receive has it: it is kept when it returns nil, else the gateway should tell it again.
func (t *Texter) Receipt(ctx context.Context, gateway string, r sms.Receipt) error {
	p, ok, err := t.find(ctx, gateway, &r)
	if err != nil {
		return err
	}
	if ok {
		return t.apply(ctx, p, &r)
	}
	if err := t.park(ctx, gateway, &r); err != nil {
		return err
	}
	if p, ok, err = t.find(ctx, gateway, &r); err != nil {
		return err
	}
	if !ok {
		t.metrics.parked.Inc()
		return nil
	}
	if err := t.apply(ctx, p, &r); err != nil {
		return err
	}
	return t.unpark(ctx, gateway, &r)
}

// apply tells the downlink. Told twice it counts once.
func (t *Texter) apply(ctx context.Context, p part, r *sms.Receipt) error {
	state := downlink.SMSReceipt{Number: p.attempt, Part: p.part, Parts: p.parts, State: string(r.State), Text: textOf(r)}
	switch r.State {
	case sms.Delivered, sms.Enroute, sms.AcceptedSMS:
	default:
		state.Final, state.Permanent = true, r.Class == sms.Permanent
	}
	fresh, err := t.cfg.Downlinks.Receipt(ctx, p.downlink, state)
	if err == nil && fresh {
		t.metrics.receipts.WithLabelValues(string(r.State)).Inc()
		t.cfg.Log.Debug("receipt of an SMS", "downlink", p.downlink, "attempt", strconv.Itoa(p.attempt), "state", string(r.State))
	}
	return err
}

// textOf is what a receipt says, for people.
func textOf(r *sms.Receipt) string {
	text := "its receipt says " + strings.ToLower(string(r.State))
	if strings.Trim(r.Code, "0") != "" {
		text += ", error " + r.Code
	}
	if !r.At.IsZero() {
		text += ", at " + r.At.UTC().Format("2006-01-02T15:04:05Z")
	}
	return text
}
