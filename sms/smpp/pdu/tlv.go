package pdu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Tag is the tag of an optional parameter (SMPP 3.4 §5.3.2).
type Tag uint16

const (
	TagReceiptedMessageID   Tag = 0x001e // C-octet string
	TagUserMessageReference Tag = 0x0204 // 2 octets
	TagSARMsgRefNum         Tag = 0x020c // 2 octets
	TagSARTotalSegments     Tag = 0x020e // 1 octet
	TagSARSegmentSeqnum     Tag = 0x020f // 1 octet
	TagSCInterfaceVersion   Tag = 0x0210 // 1 octet
	TagNetworkErrorCode     Tag = 0x0423 // 3 octets: network, code
	TagMessagePayload       Tag = 0x0424 // octets
	TagMessageState         Tag = 0x0427 // 1 octet
)

// TLV is an optional parameter.
type TLV struct {
	Tag   Tag
	Value []byte
}

// TLVs are the optional parameters of a PDU in the order of the wire.
type TLVs []TLV

// Octet is the TLV of one octet.
func Octet(t Tag, v byte) TLV { return TLV{t, []byte{v}} }

// Uint16 is the TLV of two octets.
func Uint16(t Tag, v uint16) TLV { return TLV{t, binary.BigEndian.AppendUint16(nil, v)} }

// CString is the TLV of a C-octet string.
func CString(t Tag, s string) TLV { return TLV{t, append([]byte(s), 0)} }

// Octets are the value of the first parameter with the tag.
func (l TLVs) Octets(t Tag) (v []byte, ok bool) {
	for _, p := range l {
		if p.Tag == t {
			return p.Value, true
		}
	}
	return nil, false
}

// Octet is the value of a parameter of one octet; not ok if it is absent or of another length.
func (l TLVs) Octet(t Tag) (v byte, ok bool) {
	b, _ := l.Octets(t)
	if len(b) != 1 {
		return 0, false
	}
	return b[0], true
}

// Uint16 is the value of a parameter of two octets; not ok if it is absent or of another length.
func (l TLVs) Uint16(t Tag) (v uint16, ok bool) {
	b, _ := l.Octets(t)
	if len(b) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// CString is the value up to its NUL, or all of it where an SMSC left the NUL out.
func (l TLVs) CString(t Tag) (s string, ok bool) {
	b, ok := l.Octets(t)
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b), ok
}

// tlvs are all that is left. In a response what is cut short is as good as not there: the answer counts.
func (r *reader) tlvs() (list TLVs) {
	for len(r.rest) > 0 {
		if len(r.rest) < 4 {
			r.cut()
			return list
		}
		tag, length := Tag(binary.BigEndian.Uint16(r.rest)), int(binary.BigEndian.Uint16(r.rest[2:]))
		r.rest = r.rest[4:]
		if len(r.rest) < length {
			r.cut()
			return list
		}
		list = append(list, TLV{tag, r.rest[:length:length]})
		r.rest = r.rest[length:]
	}
	return list
}

// cut is of optional parameters that are cut short.
func (r *reader) cut() {
	if r.lenient {
		r.rest = nil
		return
	}
	r.fail("optional parameters", StatusInvOptParams)
}

func (w *writer) tlvs(list TLVs) {
	for _, p := range list {
		if len(p.Value) > math.MaxUint16 && w.err == nil {
			w.err = fmt.Errorf("optional parameter 0x%04x has %d octets", uint16(p.Tag), len(p.Value))
		}
		w.uint16(uint16(p.Tag))
		w.uint16(uint16(len(p.Value)))
		w.octets(p.Value...)
	}
}
