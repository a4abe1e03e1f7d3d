package senml

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// space passes over white space: these four bytes and no others (RFC 8259 §2).
func (d *decoder) space() {
	for d.pos < len(d.body) {
		switch d.body[d.pos] {
		case ' ', '\n', '\r', '\t':
			d.pos++
		default:
			return
		}
	}
}

// peek is the byte at the place reached, 0 at the end of the body.
func (d *decoder) peek() byte {
	if d.pos < len(d.body) {
		return d.body[d.pos]
	}
	return 0
}

// next passes over white space and is the byte after it, 0 at the end of the body.
func (d *decoder) next() byte {
	if d.pos < len(d.body) && d.body[d.pos] > ' ' {
		return d.body[d.pos]
	}
	d.space()
	return d.peek()
}

// ahead says whether the word stands at the place reached.
func (d *decoder) ahead(word string) bool {
	return len(d.body)-d.pos >= len(word) && string(d.body[d.pos:d.pos+len(word)]) == word
}

// str reads the string whose opening quote is at the place reached. Without escapes it is a piece of the body, else it is
// written to the pack's scratch.
func (d *decoder) str() ([]byte, *Error) {
	b, start := d.body, d.pos+1
	for i := start; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			d.pos = i + 1
			return b[start:i:i], nil
		case c == '\\':
			return d.escaped(start, i)
		case c < ' ':
			return nil, d.control(i)
		case c >= utf8.RuneSelf:
			n, err := d.rune(i)
			if err != nil {
				return nil, err
			}
			i += n - 1
		}
	}
	return nil, d.unclosed()
}

// control is the error for a control character in a string, at offset i.
func (d *decoder) control(i int) *Error {
	return d.failAt(i, ReasonSyntax, "a control character (a line break?) in a string must be escaped (RFC 8259 §7)")
}

// rune is the length of the UTF-8 sequence at offset i.
func (d *decoder) rune(i int) (int, *Error) {
	r, n := utf8.DecodeRune(d.body[i:])
	switch {
	case r != utf8.RuneError || n > 1:
		return n, nil
	case !utf8.FullRune(d.body[i:]):
		return 0, d.cut()
	}
	return 0, d.failAt(i, ReasonUTF8, "the string is not valid UTF-8 (RFC 8259 §8.1)")
}

// escaped goes on with a string from its first backslash, at offset i.
func (d *decoder) escaped(start, i int) ([]byte, *Error) {
	b, p := d.body, d.pack
	p.scratch = slices.Grow(p.scratch, len(b)-start) // text is never longer than its escapes
	from := len(p.scratch)
	for run := start; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			p.scratch = append(p.scratch, b[run:i]...)
			d.pos = i + 1
			return p.scratch[from:len(p.scratch):len(p.scratch)], nil
		case c == '\\':
			p.scratch = append(p.scratch, b[run:i]...)
			n, err := d.escape(i)
			if err != nil {
				return nil, err
			}
			i += n
			run = i
		case c < ' ':
			return nil, d.control(i)
		case c >= utf8.RuneSelf:
			n, err := d.rune(i)
			if err != nil {
				return nil, err
			}
			i += n
		default:
			i++
		}
	}
	return nil, d.unclosed()
}

// escape writes the character of the escape at offset i to the scratch and gives the escape's length.
func (d *decoder) escape(i int) (int, *Error) {
	if i+1 >= len(d.body) {
		return 0, d.cut()
	}
	c := d.body[i+1]
	if c == 'u' {
		return d.escapeU(i)
	}
	if at := bytes.IndexByte([]byte(`"\/bfnrt`), c); at >= 0 {
		d.pack.scratch = append(d.pack.scratch, "\"\\/\b\f\n\r\t"[at])
		return 2, nil
	}
	return 0, d.failAt(i, ReasonSyntax, `this escape is none of \" \\ \/ \b \f \n \r \t \u (RFC 8259 §7)`)
}

// escapeU is escape for \uXXXX and for the two of them that make a surrogate pair.
func (d *decoder) escapeU(i int) (int, *Error) {
	r, err := d.hex4(i)
	if err != nil {
		return 0, err
	}
	n := 6
	if utf16.IsSurrogate(r) {
		low := rune(0)
		if i+7 < len(d.body) && d.body[i+6] == '\\' && d.body[i+7] == 'u' {
			if low, err = d.hex4(i + 6); err != nil {
				return 0, err
			}
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return 0, d.failAt(i, ReasonSurrogate, `this \u escape is half of a surrogate pair, its other half is missing (RFC 8259 §8.2)`)
		}
		n = 12
	}
	d.pack.scratch = utf8.AppendRune(d.pack.scratch, r)
	return n, nil
}

// hex4 is the number of the \uXXXX at offset i.
func (d *decoder) hex4(i int) (rune, *Error) {
	var r rune
	for j := i + 2; j < i+6; j++ {
		if j >= len(d.body) {
			return 0, d.cut()
		}
		switch c := d.body[j]; {
		case digit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, d.failAt(i, ReasonSyntax, `\u needs four hexadecimal digits (RFC 8259 §7)`)
		}
	}
	return r, nil
}
