package pdu

import "fmt"

// Command is a command_id (SMPP 3.4 §5.1.2.1).
type Command uint32

const (
	BindReceiver      Command = 0x00000001
	BindTransmitter   Command = 0x00000002
	SubmitSM          Command = 0x00000004
	DeliverSM         Command = 0x00000005
	Unbind            Command = 0x00000006
	BindTransceiver   Command = 0x00000009
	Outbind           Command = 0x0000000b
	EnquireLink       Command = 0x00000015
	AlertNotification Command = 0x00000102
	DataSM            Command = 0x00000103
	GenericNack       Command = 0x80000000
)

// responseBit is set in the command_id of a response (SMPP 3.4 §5.1.2.1).
const responseBit = 0x80000000

// Response is the command that answers c.
func (c Command) Response() Command { return c | responseBit }

// IsResponse reports whether c answers another command.
func (c Command) IsResponse() bool { return c&responseBit != 0 }

// String is the name in the specification, or the number.
func (c Command) String() string {
	if c == GenericNack {
		return "generic_nack"
	}
	name := c.request()
	if name == "" {
		return fmt.Sprintf("0x%08x", uint32(c))
	}
	if c.IsResponse() {
		name += "_resp"
	}
	return name
}

func (c Command) request() string {
	switch c &^ responseBit {
	case BindReceiver:
		return "bind_receiver"
	case BindTransmitter:
		return "bind_transmitter"
	case SubmitSM:
		return "submit_sm"
	case DeliverSM:
		return "deliver_sm"
	case Unbind:
		return "unbind"
	case BindTransceiver:
		return "bind_transceiver"
	case Outbind:
		return "outbind"
	case EnquireLink:
		return "enquire_link"
	case AlertNotification:
		return "alert_notification"
	case DataSM:
		return "data_sm"
	}
	return ""
}
