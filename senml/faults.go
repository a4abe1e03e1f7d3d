package senml

import (
	"bytes"
	"strings"
)

// fail is an error at the place reached.
func (d *decoder) fail(reason, detail string) *Error { return d.failAt(d.pos, reason, detail) }

func (d *decoder) failAt(offset int, reason, detail string) *Error {
	return &Error{Record: d.record, Field: shortLabel(d.label), Offset: offset, Reason: reason, Detail: detail}
}

// cut is the error for a body that ends too early.
func (d *decoder) cut() *Error {
	return d.failAt(len(d.body), ReasonTruncated,
		`the pack is cut off before its last "]" (was a buffer too small, or Content-Length too short?)`)
}

// unclosed is the error for a string that the body ends in.
func (d *decoder) unclosed() *Error {
	if d.before(len(d.body)) != ']' {
		return d.cut()
	}
	return d.failAt(len(d.body), ReasonTruncated, `the string goes on to the end of the body: its closing " is missing`)
}

// wrongType is the error for a value that is not what the field needs: a well-formed one of another type, or none at all.
func (d *decoder) wrongType(want string) *Error {
	if got := d.typeAhead(); got != "" {
		return d.fail(ReasonType, want+" is due here, not "+got+" (RFC 8428 §5)")
	}
	return d.noValue()
}

// typeAhead names the JSON type of the value at the place reached; empty: none begins there.
func (d *decoder) typeAhead() string {
	switch c := d.peek(); {
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case d.ahead("true"), d.ahead("false"):
		return "a boolean"
	case d.ahead("null"):
		return "null"
	case c >= '0' && c <= '9':
		return "a number"
	case c == '-' && !d.notFinite(d.pos+1):
		return "a number"
	}
	return ""
}

// noValue is the error where a value is due and none begins.
func (d *decoder) noValue() *Error {
	switch c := d.peek(); {
	case d.pos >= len(d.body):
		return d.cut()
	case c == '-' || c == '+' || c == '.' || d.notFinite(d.pos):
		return d.badNumber(d.pos)
	case c == '\'':
		return d.fail(ReasonSyntax, "strings take double quotes (RFC 8259 §7)")
	case d.partLiteral():
		return d.cut()
	case d.ahead("True"), d.ahead("False"), d.ahead("TRUE"), d.ahead("FALSE"):
		return d.fail(ReasonSyntax, "true and false are in lower case (RFC 8259 §3)")
	case c == ',' || c == '}' || c == ']':
		return d.fail(ReasonSyntax, "the value is missing")
	}
	return d.fail(ReasonSyntax, "no JSON value begins here (a string without quotes?)")
}

// partLiteral says whether the body ends in the middle of a literal.
func (d *decoder) partLiteral() bool {
	rest := string(d.body[d.pos:min(d.pos+5, len(d.body))])
	return strings.HasPrefix("true", rest) || strings.HasPrefix("false", rest) || strings.HasPrefix("null", rest)
}

// badNumber is the error for a number beginning at start that RFC 8259 §6 does not know.
func (d *decoder) badNumber(start int) *Error {
	at := start
	if at < len(d.body) && (d.body[at] == '-' || d.body[at] == '+') {
		at++
	}
	detail := "this is not a JSON number (RFC 8259 §6)"
	switch {
	case d.notFinite(at) && d.body[at]|0x20 == 'n':
		detail = "NaN is not a JSON number (RFC 8259 §6)"
	case d.notFinite(at):
		detail = "Infinity is not a JSON number (RFC 8259 §6)"
	case d.body[start] == '+':
		detail = "a JSON number does not begin with + (RFC 8259 §6)"
	case at < len(d.body) && d.body[at] == '.':
		detail = "a JSON number has a digit before its point (RFC 8259 §6)"
	case at+1 < len(d.body) && d.body[at] == '0' && digit(d.body[at+1]):
		detail = "a JSON number does not begin with a needless 0 (RFC 8259 §6)"
	}
	return d.failAt(start, ReasonNumber, detail)
}

// notFinite says whether the C library's text for a number that is none (nan, inf, in any case) stands at offset i.
func (d *decoder) notFinite(i int) bool {
	if i+3 > len(d.body) {
		return false
	}
	word := [3]byte{d.body[i] | 0x20, d.body[i+1] | 0x20, d.body[i+2] | 0x20}
	return word == [3]byte{'n', 'a', 'n'} || word == [3]byte{'i', 'n', 'f'}
}

// notArray is the error for a body that does not begin as a pack does.
func (d *decoder) notArray() *Error {
	rest := d.body[d.pos:]
	switch c := d.peek(); {
	case len(d.body) == 0:
		return d.failAt(-1, ReasonEmpty, "the body is empty")
	case len(rest) == 0:
		return d.failAt(-1, ReasonEmpty, "the body is white space only")
	case bytes.HasPrefix(rest, []byte("\xef\xbb\xbf")):
		return d.failAt(-1, ReasonBOM, "the body begins with a byte order mark (EF BB BF), which JSON must not have (RFC 8259 §8.1)")
	case c == '<':
		return d.failAt(-1, ReasonNotJSON, "the body is not JSON: it looks like XML, and only JSON packs are taken")
	case c >= 0x80:
		return d.failAt(-1, ReasonNotJSON, "the body is not JSON: it looks binary (CBOR?), and only JSON packs are taken")
	case hexCBOR(rest):
		return d.failAt(-1, ReasonNotArray, "the body looks like CBOR in hexadecimal, and only JSON packs are taken")
	case d.typeAhead() != "":
		return d.failAt(-1, ReasonNotArray, "the body is "+d.typeAhead()+"; a pack is an array of records, [{...}] (RFC 8428 §5)")
	}
	return d.failAt(-1, ReasonNotJSON, `the body is not JSON: a pack begins with "["`)
}

// hexCBOR recognises the first byte of a CBOR array (80 to 9f) and nothing but hexadecimal digits after it, which is how KPN's
// device library can write a pack.
func hexCBOR(b []byte) bool {
	if len(b) < 4 || len(b)%2 != 0 || b[0] != '8' && b[0] != '9' {
		return false
	}
	for _, c := range b {
		if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// notObject is the error where a record is due and none begins.
func (d *decoder) notObject() *Error {
	switch got := d.typeAhead(); {
	case d.pos >= len(d.body):
		return d.cut()
	case got != "":
		return d.fail(ReasonNotObject, "a record is an object {...}, not "+got+" (RFC 8428 §5)")
	case d.peek() == ']':
		return d.fail(ReasonSyntax, `the "," before the last "]" must go`)
	}
	return d.fail(ReasonSyntax, "a record {...} is due here")
}

// notEnded is the error where a comma or closing bracket is due after a value.
func (d *decoder) notEnded() *Error {
	switch {
	case d.pos >= len(d.body):
		return d.cut()
	case d.before(d.pos) == '"' && d.peek() != '"':
		return d.fail(ReasonSyntax, `text follows the string's closing quote: a " inside a string is written \" (RFC 8259 §7)`)
	case d.before(d.pos) == '"':
		return d.fail(ReasonSyntax, `another string follows: is a "," missing, or a " inside a string not written \" (RFC 8259 §7)?`)
	}
	return d.fail(ReasonSyntax, `"," or a closing bracket is due after the value`)
}

// noLabel is the error where a label is due and none begins.
func (d *decoder) noLabel() *Error {
	const due = "a label in double quotes is due here (RFC 8259 §4)"
	if d.pos >= len(d.body) {
		return d.cut()
	}
	c, before := d.peek(), d.before(d.pos)
	if before == ',' {
		before = d.before(bytes.LastIndexByte(d.body[:d.pos], ','))
		switch {
		case c == '}':
			return d.fail(ReasonSyntax, `the "," before "}" must go`)
		case digit(c) && digit(before):
			return d.fail(ReasonSyntax, due+"; is the comma before it a decimal comma?")
		case before == '"':
			return d.fail(ReasonSyntax, due+`; is a " inside the string before it not written \"?`)
		}
	}
	return d.fail(ReasonSyntax, due)
}

// before is the last byte before offset i that is not white space.
func (d *decoder) before(i int) byte {
	text := bytes.TrimRight(d.body[:i], " \t\r\n")
	return text[len(text)-1]
}
