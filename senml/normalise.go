package senml

import (
	"math"
	"strconv"
)

// AppendNormalised writes the pack as apps get it and gives dst with it. It needs Resolve, and tells the same whenever it is
// read: every time in it is absolute.
//
// One measurement in is one record out, in order, with the text of its numbers as the device wrote it. Base fields stand
// first, those of base records in the measurement after them (as KPN Things writes packs since December 2022); bt is always in
// the first record, and again where another is needed: the time of receipt for a record without bt, the text of an absolute t
// for one that has only that, now + bt for a bt that counts from now. vd is in base64's URL alphabet without padding (RFC 8428
// §5). Unknown labels stand last, their values as they came but for the white space in them. The pack is compact JSON on one
// line. A heartbeat has nothing to tell apps: dst is given back as it is.
func (p *Pack) AppendNormalised(dst []byte) []byte {
	if p.measurements == 0 {
		return dst
	}
	n := normaliser{now: p.now, out: math.NaN()}
	g := groups{records: p.Records}
	dst = append(dst, '[')
	for r, from := g.next(); r != nil; r, from = g.next() {
		if dst[len(dst)-1] == '}' {
			dst = append(dst, ',')
		}
		dst = n.record(dst, r, from)
	}
	return append(dst, ']')
}

// normaliser holds what one record of the normalised pack hands on to the next.
type normaliser struct {
	base
	now float64
	out float64 // bt in force in the normalised pack; NaN: none yet
}

func (n *normaliser) record(dst []byte, r *Record, from []Record) []byte {
	n.take(r)
	dst = append(dst, '{')
	dst = textMember(dst, "bn", r.BaseName, r.HasBaseName)
	dst, keepsTime := n.baseTime(dst, r)
	dst = textMember(dst, "bu", r.BaseUnit, r.HasBaseUnit)
	dst = numberMember(dst, "bv", &r.BaseValue)
	dst = numberMember(dst, "bs", &r.BaseSum)
	dst = numberMember(dst, "bver", &r.BaseVersion)
	dst = textMember(dst, "n", r.Name, r.HasName)
	dst = textMember(dst, "u", r.Unit, r.HasUnit)
	dst = appendValue(dst, r)
	dst = numberMember(dst, "s", &r.Sum)
	if keepsTime {
		dst = numberMember(dst, "t", &r.Time)
	}
	dst = numberMember(dst, "ut", &r.UpdateTime)
	dst = appendExtra(dst, from)
	return append(dst, '}')
}

// baseTime writes the bt that the record's time needs, if it is not in force already. keepsTime: the record's t goes with it.
func (n *normaliser) baseTime(dst []byte, r *Record) (_ []byte, keepsTime bool) {
	_, fixed := n.at(r, n.now)
	need, text := n.now+n.time, []byte(nil)
	switch {
	case fixed && n.time == 0:
		need, text = r.Time.Value, r.Time.Text
	case fixed:
		need, text = n.time, n.timeText
	}
	if need != n.out {
		n.out = need
		dst = member(dst, "bt")
		if text != nil {
			dst = append(dst, text...)
		} else {
			dst = strconv.AppendFloat(dst, need, 'f', -1, 64) // as many digits as it takes to read back the same
		}
	}
	return dst, !fixed || n.time != 0
}

// appendValue writes the record's value, if it has one.
func appendValue(dst []byte, r *Record) []byte {
	switch r.Kind {
	case Number:
		return append(member(dst, "v"), r.Value.Text...)
	case Bool:
		if r.Bool {
			return append(member(dst, "vb"), "true"...)
		}
		return append(member(dst, "vb"), "false"...)
	case String:
		return appendString(member(dst, "vs"), r.Text)
	case Binary:
		return appendString(member(dst, "vd"), r.Text)
	}
	return dst
}
