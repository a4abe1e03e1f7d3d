package latest

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"m2mbridge/bridge/stream"
	"m2mbridge/senml"
)

// packs reads packs into devices. What Pack.Resolved tells it finds by itself
// in the records: most of what they say changes nothing, and should cost no
// memory. It is not for several goroutines.
type packs struct {
	pack senml.Pack
	body []byte
	name []byte
	said reading
}

// reading is a record with the base fields in force at it.
type reading struct {
	bn, bu     []byte
	bt, bv, bs float64
	hasSum     bool // there is a bs
	*senml.Record
}

// take merges an uplink into d and tells by how much that has grown. What is no
// pack says nothing.
func (k *packs) take(d *device, e *stream.Entry) (grown int) {
	k.body = append(k.body[:0], e.Fields.Text("pack")...)
	if k.pack.Decode(k.body, senml.Options{}) != nil {
		return 0
	}
	receipt := float64(e.At().UnixMilli()) / 1000
	k.said = reading{}
	for i := range k.pack.Records {
		k.said.next(&k.pack.Records[i])
		if !k.said.Measures() {
			continue
		}
		k.name = append(append(k.name[:0], k.said.bn...), k.said.Name...)
		name := k.name
		if own, ok := bytes.CutPrefix(name, d.base); ok && len(own) > 0 {
			name = own
		}
		grown += d.put(name, k.said.at(receipt), e.ID, &k.said)
	}
	if len(d.values) > 2*MaxNames {
		grown -= d.trim()
	}
	return grown
}

// next takes a record, whose base fields hold from then on (RFC 8428 §4.6).
func (s *reading) next(r *senml.Record) {
	s.Record = r
	if r.HasBaseName {
		s.bn = r.BaseName
	}
	if r.HasBaseUnit {
		s.bu = r.BaseUnit
	}
	if r.BaseTime.Present() {
		s.bt = r.BaseTime.Value
	}
	if r.BaseValue.Present() {
		s.bv = r.BaseValue.Value
	}
	if r.BaseSum.Present() {
		s.bs, s.hasSum = r.BaseSum.Value, true
	}
}

// at is the record's time in Unix µs, at most the receipt's. In a normalised
// pack every time is absolute.
func (s *reading) at(receipt float64) int64 {
	return int64(math.Round(max(min(s.bt+s.Time.Value, receipt), 0) * 1e6))
}

// set takes over what a record says.
func (v *value) set(s *reading) {
	v.kind, v.cut, v.text, v.sum = s.Kind, false, v.textOf(s), ""
	unit := s.bu
	if s.HasUnit {
		unit = s.Unit
	}
	v.unit = keep(v.unit, cut(unit, maxUnit))
	if s.Kind == senml.String || s.Kind == senml.Binary {
		v.cut = len(s.Text) > MaxText
	}
	if s.hasSum || s.Sum.Present() {
		v.sum = number("", s.bs, s.Sum)
	}
}

func (v *value) textOf(s *reading) string {
	switch s.Kind {
	case senml.Number:
		return number(v.text, s.bv, s.Value)
	case senml.Bool:
		return strconv.FormatBool(s.Bool)
	case senml.String, senml.Binary:
		return keep(v.text, cut(s.Text, MaxText))
	}
	return ""
}

// number is the text that it had, unless there is a base value to add.
func number(was string, base float64, n senml.Numeral) string {
	if base == 0 && n.Present() {
		return keep(was, n.Text)
	}
	return strconv.FormatFloat(base+n.Value, 'g', -1, 64)
}

// keep is text as a string, the one that it was if it is the same.
func keep(was string, text []byte) string {
	if string(text) == was {
		return was
	}
	return string(text)
}

// cut is the beginning of text, whole characters of it.
func cut(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
