package smpp

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"m2mbridge/sms/smpp/pdu"
)

// FuzzSession is bound to an SMSC that sends arbitrary octets and then ends the connection. Whatever they are, the session
// ends, and its callbacks are given nothing but what Decode could read.
func FuzzSession(f *testing.F) {
	for _, p := range []pdu.PDU{
		{Command: pdu.SubmitSM.Response(), Sequence: 1, Body: &pdu.MessageResp{MessageID: "1A2B"}},
		{Command: pdu.GenericNack, Status: pdu.StatusInvCmdID, Sequence: 1},
		{Command: pdu.DeliverSM, Sequence: 7, Body: &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)}},
		{Command: pdu.DeliverSM, Sequence: 8, Body: &pdu.Message{ESMClass: 0x40, DataCoding: 8, ShortMessage: []byte("\x05\x00\x03\x01\x02\x01\x04\x1f")}},
		{Command: pdu.DataSM, Sequence: 9, Body: &pdu.Data{TLVs: append(sar(1, 2, 1), pdu.TLV{Tag: pdu.TagMessagePayload, Value: []byte("hi")})}},
		{Command: pdu.EnquireLink, Sequence: 10},
		{Command: pdu.Unbind, Sequence: 11},
		{Command: pdu.AlertNotification, Sequence: 12, Body: &pdu.Alert{}},
	} {
		b, err := p.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		client := encoder(t, func(c *Config) {
			c.Receipt = func(_ context.Context, r Receipt) error {
				if r.State > StateRejected {
					t.Errorf("%+v", r)
				}
				return nil
			}
			c.Message = func(context.Context, Inbound) error { return errors.New("not taken") }
		})
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() {
			_, _ = far.Write(octets)
			_ = far.Close()
		}()
		if err := newSession(client, near).serve(t.Context()); err == nil {
			t.Error("the session ended without a reason")
		}
	})
}
