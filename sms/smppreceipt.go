package sms

import (
	"context"
	"strconv"

	"m2mbridge/sms/smpp"
)

// receipt takes one. The SMSC sends it again if there is an error.
func (g *smppGateway) receipt(ctx context.Context, r smpp.Receipt) error {
	if g.options.Receive.Receipt == nil {
		return nil
	}
	if r.ID == "" {
		g.options.Log.Debug("receipt without an id", "gateway", g.name, "state", r.State.String())
		return nil
	}
	return g.options.Receive.Receipt(ctx, g.name, g.received(r))
}

// smppState is a state by SMPP's names (3.4 §5.2.28). What a receipt does not say leaves it open.
func smppState(s smpp.MessageState) ReceiptState {
	switch s {
	case smpp.StateDelivered:
		return Delivered
	case smpp.StateExpired:
		return ExpiredSMS
	case smpp.StateDeleted:
		return Deleted
	case smpp.StateUndeliverable:
		return Undelivered
	case smpp.StateAccepted:
		return AcceptedSMS
	case smpp.StateUnknown:
		return Unknown
	case smpp.StateRejected:
		return Rejected
	}
	return Enroute
}

// received has no time: an SMSC's is in a zone that it does not tell.
func (g *smppGateway) received(r smpp.Receipt) Receipt {
	state := smppState(r.State)
	if r.Intermediate {
		state = Enroute
	}
	code := r.Err
	if r.NetworkError.Network != 0 {
		code = strconv.Itoa(int(r.NetworkError.Code))
	}
	if !codeForm.MatchString(code) {
		code = "" // a text, which may say anything
	}
	return g.options.classed(Receipt{ID: r.ID, Forms: Forms(r.ID), To: digits(r.Source.Value), State: state, Class: state.Class(), Code: code})
}
