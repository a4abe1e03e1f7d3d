package pdu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// longest is the most octets of a C-octet string that is read, its NUL not counted. The specification's own limits are
// shorter, but there are SMSCs whose ids and addresses are longer.
const longest = 254

// reader takes one parameter after the other off a body. After the first that is wrong it gives zero values.
type reader struct {
	rest    []byte
	lenient bool // a response: it may end early, and its last string may lack its NUL

	field  string // the first that was wrong; empty: none
	status Status // what to answer
}

func (r *reader) fail(field string, s Status) {
	if r.field == "" {
		r.field, r.status = field, s
	}
	r.rest = nil
}

// cString is a C-octet string (SMPP 3.4 §3.1).
func (r *reader) cString(field string) string {
	end := bytes.IndexByte(r.rest, 0)
	switch {
	case r.field != "":
		return ""
	case end < 0 && r.lenient && len(r.rest) <= longest:
		s := string(r.rest)
		r.rest = nil
		return s
	case end < 0 || end > longest:
		r.fail(field, StatusInvCmdLen)
		return ""
	}
	s := string(r.rest[:end])
	r.rest = r.rest[end+1:]
	return s
}

func (r *reader) octet(field string) byte {
	b := r.octets(field, 1, StatusInvCmdLen)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// octets are the next n; s is what to answer if there are fewer.
func (r *reader) octets(field string, n int, s Status) []byte {
	if r.field != "" || len(r.rest) < n {
		r.fail(field, s)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// writer appends one parameter after the other. After the first that does not fit it appends nothing of use.
type writer struct {
	out []byte
	err error
}

// cString appends a C-octet string of at most limit octets, its NUL counted.
func (w *writer) cString(field, s string, limit int) {
	if len(s) >= limit && w.err == nil {
		w.err = fmt.Errorf("%s has %d octets, at most %d", field, len(s), limit-1)
	}
	if strings.IndexByte(s, 0) >= 0 && w.err == nil {
		w.err = fmt.Errorf("%s has a NUL", field)
	}
	w.out = append(append(w.out, s...), 0)
}

func (w *writer) octets(b ...byte) { w.out = append(w.out, b...) }

func (w *writer) uint16(v uint16) { w.out = binary.BigEndian.AppendUint16(w.out, v) }
