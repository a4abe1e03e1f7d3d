package smpp

import (
	"strings"
	"unicode/utf16"

	"m2mbridge/sms/smpp/gsm7"
	"m2mbridge/sms/smpp/pdu"
)

// Inbound is a message from a phone, or a part of one: parts are not put together.
type Inbound struct {
	Source      Address // the phone
	Destination Address // as 5277
	Text        string  // empty if Data is no text
	Data        []byte  // as it came, the header aside
	Header      []byte  // user data header, its length aside; nil: none
	DataCoding  byte    // SMPP 3.4 §5.2.19
	ESMClass    byte    // SMPP 3.4 §5.2.12: acknowledgements of a phone's user have a message type of their own
	Part        Part    // by Header or by the TLVs sar_…
}

// Part is which part of a long message one is; all zero: it is no part.
type Part struct {
	Reference uint16 // the same in all parts
	Number    byte   // from 1
	Of        byte
}

func (in incoming) message(a Alphabet) *Inbound {
	m := &Inbound{
		Source: in.source, Destination: in.destination, Data: in.octets, Header: in.header, DataCoding: in.coding, ESMClass: in.esm,
		Part: in.part(),
	}
	octets := in.octets
	if a == GSM7Packed && in.coding == codingDefault {
		header := 0
		if in.header != nil {
			header = len(in.header) + 1
		}
		octets, a = gsm7.Unpack(octets, (7-header*8%7)%7), GSM7
	}
	m.Text, _ = decodeText(in.coding, octets, a)
	return m
}

func (in incoming) part() Part {
	reference, ok := in.tlvs.Uint16(pdu.TagSARMsgRefNum)
	of, ok2 := in.tlvs.Octet(pdu.TagSARTotalSegments)
	number, ok3 := in.tlvs.Octet(pdu.TagSARSegmentSeqnum)
	if ok && ok2 && ok3 {
		return Part{Reference: reference, Number: number, Of: of}
	}
	return headerPart(in.header)
}

// headerPart looks for the element of a header that tells of parts (3GPP TS 23.040 §9.2.3.24.1, §9.2.3.24.8).
func headerPart(h []byte) Part {
	for len(h) >= 2 && len(h) >= 2+int(h[1]) {
		id, v := h[0], h[2:2+int(h[1])]
		switch {
		case id == 0x00 && len(v) == 3:
			return Part{Reference: uint16(v[0]), Of: v[1], Number: v[2]}
		case id == 0x08 && len(v) == 4:
			return Part{Reference: uint16(v[0])<<8 | uint16(v[1]), Of: v[2], Number: v[3]}
		}
		h = h[2+int(h[1]):]
	}
	return Part{}
}

// decodeText is not ok if the octets are no text.
func decodeText(coding byte, octets []byte, a Alphabet) (text string, ok bool) {
	switch coding {
	case codingDefault:
		if a == GSM7 || a == GSM7Packed {
			return gsm7.Decode(octets), true
		}
		return latin1(octets), true
	case codingASCII, codingLatin1:
		return latin1(octets), true
	case codingUCS2:
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}

func latin1(octets []byte) string {
	var b strings.Builder
	for _, c := range octets {
		b.WriteRune(rune(c))
	}
	return b.String()
}
