package smpp

import (
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// MessageState is what became of a message (SMPP 3.4 §5.2.28).
type MessageState byte

const (
	StateAbsent        MessageState = 0 // the receipt does not say, or not in a word that is known
	StateEnroute       MessageState = 1 // on its way
	StateDelivered     MessageState = 2 // to the phone
	StateExpired       MessageState = 3 // its validity period ended
	StateDeleted       MessageState = 4
	StateUndeliverable MessageState = 5
	StateAccepted      MessageState = 6 // read on the subscriber's behalf by customer service
	StateUnknown       MessageState = 7 // the SMSC does not know
	StateRejected      MessageState = 8
)

// Final reports whether no other state follows.
func (s MessageState) Final() bool {
	switch s {
	case StateDelivered, StateExpired, StateDeleted, StateUndeliverable, StateAccepted, StateRejected:
		return true
	}
	return false
}

func (s MessageState) String() string {
	if word := stat(s); word != "" {
		return word
	}
	return "absent"
}

// NetworkError is the TLV network_error_code (SMPP 3.4 §5.3.2.31).
type NetworkError struct {
	Network byte   // 1 ANSI-136, 2 IS-95, 3 GSM; 0: there was none
	Code    uint16 // the network's own; 3GPP TS 23.040 §9.2.3.15 or 29.002 for GSM
}

// Receipt is what an SMSC says of a message that was submitted.
type Receipt struct {
	ID           string       // of the message, as this SMSC spells it here; empty: it does not say
	State        MessageState // by the TLV message_state, or else by Stat
	Stat         string       // the word in the text, as it was
	Err          string       // the code in the text, as it was; what it means is the SMSC's own affair
	NetworkError NetworkError // by the TLV
	Intermediate bool         // an intermediate notification, and no delivery receipt (SMPP 3.4 §5.2.12)

	Source      Address // the phone that the message was for
	Destination Address // whom the message was from

	Submitted time.Time // zero: absent. In the SMSC's time zone, which it does not say, here given as UTC
	Done      time.Time // the same: when the state was reached

	UserMessageReference uint16 // Submit's, by the TLV; 0: none
	Text                 string // all of the receipt's text
}

// incoming is what a deliver_sm and a data_sm have in common.
type incoming struct {
	source, destination Address
	esm, coding         byte
	header              []byte // user data header, its length aside
	octets              []byte // of the message, the header aside
	tlvs                pdu.TLVs
}

func newIncoming(p pdu.PDU) incoming {
	var in incoming
	switch b := p.Body.(type) {
	case *pdu.Message:
		in = incoming{source: b.Source, destination: b.Destination, esm: b.ESMClass, coding: b.DataCoding, octets: b.ShortMessage, tlvs: b.TLVs}
	case *pdu.Data:
		in = incoming{source: b.Source, destination: b.Destination, esm: b.ESMClass, coding: b.DataCoding, tlvs: b.TLVs}
	}
	if len(in.octets) == 0 {
		in.octets, _ = in.tlvs.Octets(pdu.TagMessagePayload)
	}
	if n := 0; in.esm&esmUDHI != 0 && len(in.octets) > 0 {
		if n = int(in.octets[0]) + 1; n <= len(in.octets) {
			in.header, in.octets = in.octets[1:n], in.octets[n:]
		}
	}
	return in
}

// isReceipt goes by what only an SMSC can set: a phone's text may look like a receipt. Some SMSCs leave the message type out
// and have the TLVs.
func (in incoming) isReceipt() bool {
	switch in.esm & esmType {
	case esmReceipt, esmIntermediate:
		return true
	case 0:
		_, id := in.tlvs.CString(pdu.TagReceiptedMessageID)
		_, state := in.tlvs.Octet(pdu.TagMessageState)
		return id && state
	}
	return false
}

func (in incoming) receipt() *Receipt {
	text, isText := decodeText(in.coding, in.octets, Latin1)
	if !isText {
		text = latin1(in.octets)
	}
	r := parseReceipt(text)
	r.Source, r.Destination = in.source, in.destination
	r.Intermediate = in.esm&esmType == esmIntermediate
	if id, _ := in.tlvs.CString(pdu.TagReceiptedMessageID); id != "" {
		r.ID = id
	}
	if state, ok := in.tlvs.Octet(pdu.TagMessageState); ok && MessageState(state) <= StateRejected && state != 0 {
		r.State = MessageState(state)
	}
	r.UserMessageReference, _ = in.tlvs.Uint16(pdu.TagUserMessageReference)
	if code, _ := in.tlvs.Octets(pdu.TagNetworkErrorCode); len(code) == 3 {
		r.NetworkError = NetworkError{Network: code[0], Code: uint16(code[1])<<8 | uint16(code[2])}
	}
	return &r
}
