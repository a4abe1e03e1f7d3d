package auth

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// record is what the registry holds of a device for verifying: the field auth of its hash, and, with the secrets
// opened, its entry in the cache. Its text is
//
//	matched TAB flags TAB revision TAB secret TAB secret { TAB label=value }
//
// where matched is one byte, 0, 1 or 2, so that a script can replace it; a secret is empty or since[.until[.after]]:form,
// the newest first; revision, since and until are Unix ms in base 36, after is a number of messages in base 36.
type record struct {
	exists   bool // false: there is no such device
	matched  byte // which of two secrets matched last, '0' none
	flags    flags
	revision int64 // when the device was modified; it grows with each change
	secrets  [2]storedSecret
	labels   []byte // label=value TAB label=value …
}

type storedSecret struct {
	since int64  // when it was set
	until int64  // of the older one: when it ends; 0: not by time
	after int64  // of the older one: it ends after so many messages with the newest; 0: not by number
	form  []byte // as vault stores it; empty: there is none
}

func (s *storedSecret) active(now int64) bool {
	return len(s.form) > 0 && (s.until == 0 || now < s.until)
}

type flags uint8

const (
	flagDisabled flags = 1 << iota
	flagUnsigned
	flagRequireToken
)

// flagLetters in the order of the bits.
const flagLetters = "dut"

var errRecord = errors.New("record damaged")

// parseRecord reads a text; the record's slices point into it.
func parseRecord(text []byte) (record, error) {
	rec := record{exists: true}
	head, rest, ok := cutTab(text)
	if !ok || len(head) != 1 || head[0] < '0' || head[0] > '2' {
		return rec, errRecord
	}
	rec.matched = head[0]
	head, rest, ok = cutTab(rest)
	for _, c := range head {
		bit := strings.IndexByte(flagLetters, c)
		if bit < 0 {
			return rec, errRecord // of a later version: rather no answer than a wrong one
		}
		rec.flags |= 1 << bit
	}
	head, rest, ok2 := cutTab(rest)
	rec.revision = parse36(head)
	if !ok || !ok2 || rec.revision < 0 {
		return rec, errRecord
	}
	for i := range rec.secrets {
		head, rest, ok = cutTab(rest)
		if !ok && i == 0 || !rec.secrets[i].parse(head) {
			return rec, errRecord
		}
	}
	rec.labels = rest
	return rec, nil
}

func (s *storedSecret) parse(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	head, form, ok := bytes.Cut(text, []byte{':'})
	since, rest, ends := bytes.Cut(head, []byte{'.'})
	s.since, s.form = parse36(since), form
	if ends {
		until, after, counts := bytes.Cut(rest, []byte{'.'})
		s.until = parse36(until)
		if counts {
			s.after = parse36(after)
		}
	}
	return ok && s.since >= 0 && s.until >= 0 && s.after >= 0 && len(form) > 0
}

func (s *storedSecret) append(dst []byte) []byte {
	if len(s.form) == 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, s.since, 36)
	if s.until != 0 || s.after != 0 {
		dst = strconv.AppendInt(append(dst, '.'), s.until, 36)
	}
	if s.after != 0 {
		dst = strconv.AppendInt(append(dst, '.'), s.after, 36)
	}
	return append(append(dst, ':'), s.form...)
}

// append writes the record's text.
func (rec *record) append(dst []byte) []byte {
	dst = append(dst, rec.matched, '\t')
	for i := range len(flagLetters) {
		if rec.flags&(1<<i) != 0 {
			dst = append(dst, flagLetters[i])
		}
	}
	dst = strconv.AppendInt(append(dst, '\t'), rec.revision, 36)
	for i := range rec.secrets {
		dst = rec.secrets[i].append(append(dst, '\t'))
	}
	if len(rec.labels) > 0 {
		dst = append(append(dst, '\t'), rec.labels...)
	}
	return dst
}

// open replaces the forms by plain ones, for the cache and for judging.
func (rec *record) open(id DeviceID, v vault) error {
	for i := range rec.secrets {
		s := &rec.secrets[i]
		if len(s.form) == 0 || bytes.HasPrefix(s.form, []byte(plainForm)) {
			continue
		}
		secret, err := v.open(id, string(s.form))
		if err != nil {
			return err
		}
		s.form = append([]byte(plainForm), secret...)
	}
	return nil
}

// sealed reports whether a secret is stored in another form than the plain one.
func (rec *record) sealed() bool {
	for _, s := range rec.secrets {
		if len(s.form) > 0 && !bytes.HasPrefix(s.form, []byte(plainForm)) {
			return true
		}
	}
	return false
}

// secret is the i-th one in plain, nil if there is none; the record has been opened.
func (rec *record) secret(i int) []byte {
	if len(rec.secrets[i].form) == 0 {
		return nil
	}
	return rec.secrets[i].form[len(plainForm):]
}

// active counts the secrets that are valid.
func (rec *record) active(now int64) (n int) {
	for i := range rec.secrets {
		if rec.secrets[i].active(now) {
			n++
		}
	}
	return n
}

func (rec *record) has(f flags) bool { return rec.flags&f != 0 }

func (rec *record) enabled() bool { return rec.exists && !rec.has(flagDisabled) }

// gone says why nothing of the device is accepted; nil if it is enabled.
func (rec *record) gone() error {
	switch {
	case !rec.exists:
		return ErrUnknown
	case rec.has(flagDisabled):
		return ErrDisabled
	}
	return nil
}

// labelMap gives the labels; nil if there are none.
func (rec *record) labelMap() map[string]string {
	if len(rec.labels) == 0 {
		return nil
	}
	labels := make(map[string]string)
	for pair := range strings.SplitSeq(string(rec.labels), "\t") {
		name, value, _ := strings.Cut(pair, "=")
		labels[name] = value
	}
	return labels
}

// hasLabel reports whether the device has the label with that value.
func (rec *record) hasLabel(name, value string) bool {
	for rest := rec.labels; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = cutTab(rest)
		if n, v, _ := bytes.Cut(pair, []byte{'='}); string(n) == name && string(v) == value {
			return true
		}
	}
	return false
}

// joinLabels is labelMap's inverse, in the order of the names.
func joinLabels(labels map[string]string) []byte {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if len(b) > 0 {
			b = append(b, '\t')
		}
		b = fmt.Appendf(b, "%s=%s", name, labels[name])
	}
	return b
}

func cutTab(b []byte) (head, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\t')
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// parse36 reads what strconv writes in base 36 of any number that is not negative; -1 if it is none.
func parse36(b []byte) int64 {
	if len(b) == 0 || len(b) > 13 {
		return -1
	}
	var n int64
	for _, c := range b {
		d := int64(c) - '0'
		if 'a' <= c && c <= 'z' {
			d = int64(c) - 'a' + 10
		}
		if d < 0 || d > 35 || c > '9' && c < 'a' {
			return -1
		}
		if n > (math.MaxInt64-d)/36 {
			return -1
		}
		n = n*36 + d
	}
	return n
}

// tidy takes out what is not valid any more, and closes the gap.
func (rec *record) tidy(now int64) {
	for i := range rec.secrets {
		if !rec.secrets[i].active(now) {
			rec.secrets[i] = storedSecret{}
		}
	}
	if len(rec.secrets[1].form) == 0 && rec.matched == '2' {
		rec.matched = '0'
	}
}
