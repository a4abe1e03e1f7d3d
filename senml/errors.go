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
