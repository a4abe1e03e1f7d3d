package latest

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"m2mbridge/bridge/stream"
	"m2mbridge/senml"
)

// A value is stored as <time> <stream id> <JSON>: the time in 16 digits of Unix
// µs, so that a script can compare it as text, and what is left as SenML has
// it, {"u":"Cel","v":21.5}, with "cut":true where its text went on.

// stored is the JSON.
type stored struct {
	Unit   string          `json:"u"`
	Number json.RawMessage `json:"v"`
	Bool   json.RawMessage `json:"vb"`
	Text   json.RawMessage `json:"vs"`
	Data   json.RawMessage `json:"vd"`
	Sum    json.RawMessage `json:"s"`
	Cut    bool            `json:"cut"`
}

var labels = [...]string{senml.Number: "v", senml.Bool: "vb", senml.String: "vs", senml.Binary: "vd"}

// textSize is what a value takes as it is stored beside its texts, about.
const textSize = 64

// append writes v as it is stored.
func (v *value) append(dst []byte) []byte {
	dst = appendTime(dst, v.us)
	dst = append(append(append(dst, ' '), v.id.String()...), " {"...)
	member := func(label, text string) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(append(dst, '"'), label...), `":`...), text...)
	}
	if v.unit != "" {
		member("u", quote(v.unit))
	}
	switch v.kind {
	case senml.String, senml.Binary:
		member(labels[v.kind], quote(v.text))
	case senml.Number, senml.Bool:
		member(labels[v.kind], v.text)
	}
	if v.sum != "" {
		member("s", v.sum)
	}
	if v.cut {
		member("cut", "true")
	}
	return append(dst, '}')
}

// appendTime writes 16 digits.
func appendTime(dst []byte, us int64) []byte {
	for least := int64(1e15); us < least && least > 1; least /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, us, 10)
}

// quote is s as JSON. Most texts need no escape.
func quote(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			text, _ := json.Marshal(s) // a string cannot fail
			return string(text)
		}
	}
	return `"` + s + `"`
}

// parse reads what append wrote. It is not ok for what is none.
func parse(name, text string) (v Value, ok bool) {
	at, rest, _ := strings.Cut(text, " ")
	id, rest, _ := strings.Cut(rest, " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return v, false
	}
	if _, err := stream.ParseID(id); err != nil {
		return v, false
	}
	var s stored
	if err := json.Unmarshal([]byte(rest), &s); err != nil {
		return v, false
	}
	v = Value{Name: name, Unit: s.Unit, Sum: s.Sum, Cut: s.Cut, Time: time.UnixMicro(us).UTC(), ID: id}
	switch {
	case s.Number != nil:
		v.Kind, v.Value = KindNumber, s.Number
	case s.Bool != nil:
		v.Kind, v.Value = KindBoolean, s.Bool
	case s.Text != nil:
		v.Kind, v.Value = KindString, s.Text
	case s.Data != nil:
		v.Kind, v.Value = KindData, s.Data
	}
	return v, true
}
