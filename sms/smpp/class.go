package smpp

import (
	"slices"

	"m2mbridge/sms/smpp/pdu"
)

// Status is a command_status; its String is the name in SMPP 3.4 §5.1.3, as ESME_RINVDSTADR.
type Status = pdu.Status

// ParseStatus is the status of a name, in any case, with or without ESME_.
func ParseStatus(name string) (Status, bool) { return pdu.ParseStatus(name) }

// Class is what a status means for a message.
type Class int

const (
	Temporary Class = iota // it may be accepted later
	Permanent              // it will be refused each time
	Throttled              // it may be accepted after a pause, and so may all others
)

func (c Class) String() string {
	switch c {
	case Permanent:
		return "permanent"
	case Throttled:
		return "throttled"
	}
	return "temporary"
}

// ClassOf is the class of a status where nobody knows the SMSC better. What the specification does not name, as all from
// 0x400 on that SMSCs define themselves, is temporary.
func ClassOf(s Status) Class {
	switch {
	case s == pdu.StatusThrottled:
		return Throttled
	case slices.Contains(permanent, s):
		return Permanent
	}
	return Temporary
}

// Classes is the default class of each status that the specification names, ESME_ROK aside: a map of its own for the
// caller to change.
func Classes() map[Status]Class {
	table := make(map[Status]Class)
	for _, s := range pdu.Statuses() {
		if s != pdu.StatusOK {
			table[s] = ClassOf(s)
		}
	}
	return table
}

// permanent are the statuses that speak of the message. Those that speak of the account, its originator or its settings (0x0a, 0x0e,
// 0x0f, 0x15, 0x53) are no fault of the message, and a validity (0x62) is another with each attempt. That a queue is full (0x14) is
// with most SMSCs said of one destination: no reason to leave the others waiting.
var permanent = []Status{
	0x01, 0x02, 0x03, // lengths, command
	0x06, 0x07, // priority flag, registered delivery
	0x0b, 0x0c, // destination, message id
	0x11, 0x13, // cancel, replace
	0x33, 0x34, 0x40, 0x42, 0x43, 0x44, // destinations, lists, esm_class
	0x48, 0x49, 0x50, 0x51, 0x54, 0x55, // TON and NPI, replace flag, messages
	0x61, 0x63, // schedule, default message
	0x65, 0x66, 0x67, // permanent and refused by the application, query
	0xc0, 0xc1, 0xc2, 0xc3, 0xc4, // optional parameters
}
