package smpp

import (
	"unicode/utf16"

	"m2mbridge/sms/smpp/gsm7"
)

// Alphabet is what an SMSC takes octets for whose data_coding is 0, its default alphabet (SMPP 3.4 §5.2.19).
type Alphabet int

const (
	GSM7       Alphabet = iota // the GSM 7-bit default alphabet, a septet in each octet
	GSM7Packed                 // the same, eight septets in seven octets
	Latin1                     // ISO 8859-1
	ASCII                      // ANSI X3.4
)

// Values of data_coding (SMPP 3.4 §5.2.19).
const (
	codingDefault = 0x00
	codingASCII   = 0x01
	codingLatin1  = 0x03
	codingOctets  = 0x04
	codingUCS2    = 0x08
)

// coder writes the characters of a text. Limits are in units: what a phone's message has 160, 140 and 70 of, or in the parts
// of a long one fewer, for their header of 6 octets (3GPP TS 23.040 §9.2.3.24.1).
type coder struct {
	coding byte
	whole  int // units in a message
	part   int // units in a part of a long one
	// put appends a character, and says how many units it takes; 0: it cannot be written.
	put func(dst []byte, r rune) (out []byte, units int)
}

// coders are those to try, in turn; the last can write everything.
func (a Alphabet) coders() []coder {
	put := putSeptets
	switch a {
	case Latin1:
		put = func(dst []byte, r rune) ([]byte, int) { return putOctet(dst, r, 0xff) }
	case ASCII:
		put = func(dst []byte, r rune) ([]byte, int) { return putOctet(dst, r, 0x7f) }
	}
	return []coder{
		{coding: codingDefault, whole: 160, part: 153, put: put},
		{coding: codingUCS2, whole: 70, part: 67, put: putUTF16},
	}
}

func putSeptets(dst []byte, r rune) ([]byte, int) {
	out, _ := gsm7.Append(dst, r)
	return out, len(out) - len(dst)
}

// putOctet is for SMSCs that translate to the GSM alphabet themselves: what that lacks they cannot, and what takes two
// septets there takes two units here.
func putOctet(dst []byte, r rune, last rune) ([]byte, int) {
	septets, ok := gsm7.Append(nil, r)
	if !ok || r > last {
		return dst, 0
	}
	return append(dst, byte(r)), len(septets)
}

// putUTF16 writes UTF-16, which is UCS-2 but for the surrogates that phones have long taken.
func putUTF16(dst []byte, r rune) ([]byte, int) {
	units := utf16.AppendRune(nil, r)
	for _, u := range units {
		dst = append(dst, byte(u>>8), byte(u))
	}
	return dst, len(units)
}
