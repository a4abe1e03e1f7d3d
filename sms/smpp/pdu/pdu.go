package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// PDU is one protocol data unit.
type PDU struct {
	Command  Command
	Status   Status
	Sequence uint32
	Body     Body // nil: a header only
}

// Body is the parameters behind a header: *Bind, *BindResp, *OutbindBody, *Message, *Data, *MessageResp or *Alert.
type Body interface {
	append(w *writer)
	decode(r *reader)
}

// ErrUnknownCommand is of a command_id that this package does not know; a generic_nack with ESME_RINVCMDID answers it
// (SMPP 3.4 §3.3).
var ErrUnknownCommand = errors.New("unknown command_id")

// DecodeError is of a body that cannot be read. Status is what to answer with.
type DecodeError struct {
	Command Command
	Status  Status
	Field   string // the parameter that was wrong
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("decode %s: %s: %s", e.Command, e.Field, e.Status)
}

// Decode reads the body. What it gives shares the frame's octets. The error is ErrUnknownCommand or a *DecodeError; the
// header is in the PDU all the same.
func (f Frame) Decode() (PDU, error) {
	p := PDU{Command: f.Command, Status: f.Status, Sequence: f.Sequence}
	body, known := newBody(f.Command)
	if !known {
		return p, fmt.Errorf("%w 0x%08x", ErrUnknownCommand, uint32(f.Command))
	}
	if body == nil {
		return p, nil // what may stand behind such a header means nothing
	}
	r := reader{rest: f.Body, lenient: f.Command.IsResponse()}
	body.decode(&r)
	if r.field != "" {
		return p, &DecodeError{Command: f.Command, Status: r.status, Field: r.field}
	}
	p.Body = body
	return p, nil
}

// newBody is the empty body of a command, nil if it has none.
func newBody(c Command) (b Body, known bool) {
	switch c {
	case BindTransceiver, BindReceiver, BindTransmitter:
		return new(Bind), true
	case BindTransceiver.Response(), BindReceiver.Response(), BindTransmitter.Response():
		return new(BindResp), true
	case SubmitSM, DeliverSM:
		return new(Message), true
	case DataSM:
		return new(Data), true
	case SubmitSM.Response(), DeliverSM.Response(), DataSM.Response():
		return new(MessageResp), true
	case AlertNotification:
		return new(Alert), true
	case Outbind:
		return new(OutbindBody), true
	case Unbind, Unbind.Response(), EnquireLink, EnquireLink.Response(), GenericNack:
		return nil, true
	}
	return nil, false
}

// Append appends the PDU to dst. An error says which parameter does not fit the specification's limit; dst is then as it
// was.
func (p PDU) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	w := writer{out: append(dst, make([]byte, headerLen)...)}
	if p.Body != nil {
		p.Body.append(&w)
	}
	if w.err != nil {
		return dst, fmt.Errorf("encode %s: %w", p.Command, w.err)
	}
	head := w.out[start:]
	binary.BigEndian.PutUint32(head[0:], uint32(len(head)))
	binary.BigEndian.PutUint32(head[4:], uint32(p.Command))
	binary.BigEndian.PutUint32(head[8:], uint32(p.Status))
	binary.BigEndian.PutUint32(head[12:], p.Sequence)
	return w.out, nil
}
