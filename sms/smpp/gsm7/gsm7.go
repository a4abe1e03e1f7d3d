// Package gsm7 turns text into the septets of the GSM 7-bit default alphabet with its extension table, and back (3GPP TS
// 23.038 §6.2.1, SMPP's data_coding 0). A septet is kept in an octet of its own, bit 7 clear, as most SMSCs take it; Pack
// puts eight of them into seven octets for those that want it so. It knows no national tables.
package gsm7

import (
	"strings"
	"unicode/utf8"
)

// Escape is the septet before one of the extension table.
const Escape = 0x1b

// basic is the default alphabet, in the order of the septets. Escape's place holds what stands for it where nothing
// follows: a space (23.038 §6.2.1 note 1).
const basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

// extension is the septet, behind Escape, of each character that the default alphabet lacks (23.038 §6.2.1.1).
func extension(r rune) (septet byte, ok bool) {
	switch r {
	case '\f':
		return 0x0a, true
	case '^':
		return 0x14, true
	case '{':
		return 0x28, true
	case '}':
		return 0x29, true
	case '\\':
		return 0x2f, true
	case '[':
		return 0x3c, true
	case '~':
		return 0x3d, true
	case ']':
		return 0x3e, true
	case '|':
		return 0x40, true
	case '€':
		return 0x65, true
	}
	return 0, false
}

const extended = "\f^{}\\[~]|€"

// Append appends the septets of one character, two for one of the extension table; false if it has none.
func Append(dst []byte, r rune) ([]byte, bool) {
	if s, ok := extension(r); ok {
		return append(dst, Escape, s), true
	}
	if s, ok := septet(r); ok {
		return append(dst, s), true
	}
	return dst, false
}

// septet is the place of a character in the default alphabet.
func septet(r rune) (byte, bool) {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', ' ' <= r && r <= '?' && r != '$':
		return byte(r), true // as in ASCII
	case r == utf8.RuneError:
		return 0, false
	}
	n := byte(0)
	for _, have := range basic {
		if have == r {
			return n, true
		}
		n++
	}
	return 0, false
}

// Encode gives the septets of a text; false if a character has none.
func Encode(text string) ([]byte, bool) {
	out := make([]byte, 0, len(text)+8)
	for _, r := range text {
		var ok bool
		if out, ok = Append(out, r); !ok {
			return nil, false
		}
	}
	return out, true
}

// Decode gives the text of septets. Behind an Escape what is not in the extension table is read as without, and a second
// Escape as a space (23.038 §6.2.1.1 note). An octet above 127 is no septet: U+FFFD.
func Decode(septets []byte) string {
	table := []rune(basic)
	var b strings.Builder
	for i := 0; i < len(septets); i++ {
		s := septets[i]
		if s == Escape && i+1 < len(septets) {
			if r, ok := afterEscape(septets[i+1]); ok {
				b.WriteRune(r)
				i++
				continue
			}
			if septets[i+1] != Escape {
				continue
			}
			i++
		}
		if int(s) >= len(table) {
			b.WriteRune(utf8.RuneError)
			continue
		}
		b.WriteRune(table[s])
	}
	return b.String()
}

func afterEscape(septet byte) (rune, bool) {
	for _, r := range extended {
		if s, _ := extension(r); s == septet {
			return r, true
		}
	}
	return 0, false
}
