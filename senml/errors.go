package senml

import (
	"strconv"
	"strings"
)

// Reasons for which a pack is refused, in Error.Reason: stable words for logs, metrics and the rejects stream.
const (
	ReasonEmpty          = "empty"           // no bytes, or white space only
	ReasonNotJSON        = "not-json"        // another format altogether: XML, CBOR …
	ReasonBOM            = "bom"             // begins with a byte order mark
	ReasonTruncated      = "truncated"       // ends before its last bracket
	ReasonTrailing       = "trailing"        // bytes after its last bracket
	ReasonSyntax         = "syntax"          // not JSON in some other way
	ReasonNumber         = "number"          // not a JSON number: NaN, 01, .5 …
	ReasonUTF8           = "utf8"            // a string is not UTF-8
	ReasonSurrogate      = "surrogate"       // half of a surrogate pair
	ReasonDuplicate      = "duplicate-label" // a label twice in one object
	ReasonNotArray       = "not-array"       // JSON, but not an array
	ReasonNotObject      = "not-object"      // a record is not an object
	ReasonNoRecord       = "no-record"       // an empty array
	ReasonNoMeasurement  = "no-measurement"  // base fields only (Strict)
	ReasonTooMany        = "too-many"        // over MaxRecords or MaxLabels
	ReasonDepth          = "depth"           // over MaxDepth
	ReasonType           = "type"            // a field's value is of the wrong JSON type
	ReasonRange          = "range"           // a number, or a sum with its base field, is beyond a double
	ReasonNoValue        = "no-value"        // a record without value, sum or base field
	ReasonSeveralValues  = "several-values"  // a record with more than one of v, vb, vs, vd
	ReasonMustUnderstand = "must-understand" // an unknown label ending in _
	ReasonIndex          = "index"           // an i_ that KPN's table does not have
	ReasonBinary         = "binary"          // vd is not base64
	ReasonVersion        = "version"         // bver
	ReasonName           = "name"            // bn and n make no valid name
	ReasonTime           = "time"            // the time lies before 2^28, July 1978
)

// Error says why a pack is refused, in one line that a firmware engineer can act on. It holds no more of the body than the
// start of a label.
type Error struct {
	Record int    // from 0; -1: the pack as a whole
	Field  string // label of the field at fault, cut at 24 bytes; empty: the record as a whole
	Offset int    // in the body, from 0; -1: none
	Reason string // one of the Reason constants
	Detail string
}

// Error counts records from 1.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Record >= 0 {
		b.WriteString("record ")
		b.WriteString(strconv.Itoa(e.Record + 1))
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString("field ")
		b.WriteString(strconv.QuoteToASCII(e.Field))
		b.WriteString(": ")
	}
	b.WriteString(e.Detail)
	if e.Offset >= 0 {
		b.WriteString(", at offset ")
		b.WriteString(strconv.Itoa(e.Offset))
	}
	return b.String()
}

// maxField is how much of an unknown label an error repeats.
const maxField = 24

func shortLabel(label []byte) string {
	if len(label) > maxField {
		return string(label[:maxField]) + "..."
	}
	return string(label)
}

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
