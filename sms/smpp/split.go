package smpp

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"m2mbridge/sms/smpp/gsm7"
)

// Long is how a message that is too long for one is sent.
type Long int

const (
	UDH     Long = iota // parts with a user data header, which every phone and most SMSCs know (3GPP TS 23.040 §9.2.3.24.1)
	SAR                 // parts with the TLVs sar_…, of which the SMSC makes the header (SMPP 3.4 §5.3.2.22 to §5.3.2.24)
	Payload             // one submit_sm with the TLV message_payload, which the SMSC cuts itself (SMPP 3.4 §5.3.2.32)
)

const (
	maxParts   = 255   // of a long message: their number is one octet
	maxPayload = 64000 // octets of a message_payload; the length has 16 bits, and the PDU should fit DefaultLimit
)

// octets of an 8-bit message and of a part of a long one.
const (
	wholeOctets = 140
	partOctets  = 134
)

// content is what is to be sent, cut where it is too long for one message.
type content struct {
	coding byte
	parts  [][]byte // septets are not packed yet
	all    []byte
}

// content is of the text or the octets of a message.
func (c Config) content(m Submit) (content, error) {
	switch {
	case m.Text != "" && m.Data != nil:
		return content{}, errors.New("both text and data")
	case m.Text == "" && len(m.Data) == 0:
		return content{}, errors.New("neither text nor data")
	case m.Text == "":
		return splitData(m.Data), nil
	case !utf8.ValidString(m.Text):
		return content{}, errors.New("text is not UTF-8")
	}
	for _, by := range c.Alphabet.coders() {
		if got, ok := splitText(m.Text, by); ok {
			return got, nil
		}
	}
	return content{}, errors.New("text cannot be encoded") // not reached: UTF-16 has every character
}

func splitData(b []byte) content {
	if len(b) <= wholeOctets {
		return content{coding: codingOctets, parts: [][]byte{b}, all: b}
	}
	return content{coding: codingOctets, parts: slices.Collect(slices.Chunk(b, partOctets)), all: b}
}

// splitText is not ok if there is a character that cannot be written.
func splitText(text string, by coder) (content, bool) {
	parts, ok := cut(text, by, by.whole)
	if !ok {
		return content{}, false
	}
	all := slices.Concat(parts...)
	if len(parts) > 1 {
		parts, _ = cut(text, by, by.part)
	}
	return content{coding: by.coding, parts: parts, all: all}, true
}

// cut begins a new part before the character that would make one longer than limit units, so that none is cut through, of
// an escape and its septet or of two surrogates.
func cut(text string, by coder, limit int) (parts [][]byte, ok bool) {
	var part []byte
	size := 0
	for _, r := range text {
		out, units := by.put(part, r)
		if units == 0 {
			return nil, false
		}
		if size+units > limit {
			parts = append(parts, part)
			out, units = by.put(nil, r)
			size = 0
		}
		part, size = out, size+units
	}
	return append(parts, part), true
}

// pack puts a part into the octets of the wire, behind a header of so many.
func (c Config) pack(coding byte, part []byte, header int) []byte {
	if coding != codingDefault || c.Alphabet != GSM7Packed {
		return part
	}
	return gsm7.Pack(part, (7-header*8%7)%7)
}

// checkSize says why a message is too long.
func (c Config) checkSize(got content) error {
	switch {
	case c.Long == Payload && len(got.all) > maxPayload:
		return fmt.Errorf("%d octets, at most %d", len(got.all), maxPayload)
	case c.Long != Payload && len(got.parts) > maxParts:
		return fmt.Errorf("%d parts, at most %d", len(got.parts), maxParts)
	}
	return nil
}
