package senml

import (
	"bytes"
	"strconv"
)

// AppendDownlink writes the pack as devices can read it and gives dst with it. It needs no Resolve; a relative time stays
// relative to the moment the device reads it. baseName is the device's base name in the device's own spelling: its parser
// compares byte for byte.
//
// KPN's device library reads a pack with a small parser that shapes the form: first a record of the base name alone, then in
// every record the name before the value, no white space, no escape that JSON does not demand, vd in base64's standard alphabet
// (without padding, as the library writes it itself), ThingsML's i_ left an i_, and unknown labels last, since it takes any
// label that begins with n for the name. A bn that is the device's in another spelling is put into the device's own, and names
// that spell the device's base name out, in a pack without bn, lose it; a bn that goes on after the device's (a gateway's
// child) becomes a base record of its own. Whether any other bn may be sent to this device is for the caller to know.
//
// Text beyond ASCII is written as UTF-8: that library loses bytes of it, but it cannot read \u escapes at all, and every other
// parser reads UTF-8, in fewer bytes.
func (p *Pack) AppendDownlink(dst []byte, baseName string) []byte {
	w := downlink{device: baseName}
	g := groups{records: p.Records}
	dst = append(dst, '[')
	dst = w.baseRecord(dst, true, nil)
	for r, from := g.next(); r != nil; r, from = g.next() {
		dst = w.record(dst, r, from)
	}
	return append(dst, ']')
}

// downlink holds what one record of the pack hands on to the next.
type downlink struct {
	device string // base name as the device spells it
	named  bool   // a bn is in force in the pack that came
	own    bool   // the bn in force in the pack that goes is the device's, with rest after it; else it is rest
	rest   []byte
}

// baseRecord writes a record with nothing but a base name, which is in force from there on.
func (w *downlink) baseRecord(dst []byte, own bool, rest []byte) []byte {
	w.own, w.rest = own, rest
	if dst[len(dst)-1] == '}' {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"bn":"`...)
	if own {
		dst = appendText(dst, w.device)
		if len(rest) > 0 && dst[len(dst)-1] != ':' {
			dst = append(dst, ':')
		}
	}
	dst = appendText(dst, rest)
	return append(dst, '"', '}')
}

func (w *downlink) record(dst []byte, r *Record, from []Record) []byte {
	if r.HasBaseName {
		w.named = len(r.BaseName) > 0
		own, rest := w.split(r.BaseName)
		if !w.named {
			own = true
		}
		if own != w.own || !bytes.Equal(rest, w.rest) {
			dst = w.baseRecord(dst, own, rest)
		}
	}
	dst = append(dst, ',', '{')
	dst = numberMember(dst, "bt", &r.BaseTime)
	dst = textMember(dst, "bu", r.BaseUnit, r.HasBaseUnit)
	dst = numberMember(dst, "bv", &r.BaseValue)
	dst = numberMember(dst, "bs", &r.BaseSum)
	dst = numberMember(dst, "bver", &r.BaseVersion)
	dst = w.name(dst, r)
	dst = textMember(dst, "u", r.Unit, r.HasUnit && !r.indexUnit)
	if r.Kind == Binary {
		dst = appendString(member(dst, "vd"), r.Text)
		for i := len(dst) - 1 - len(r.Text); i < len(dst); i++ {
			dst[i] = standardAlphabet(dst[i])
		}
	} else {
		dst = appendValue(dst, r)
	}
	dst = numberMember(dst, "s", &r.Sum)
	dst = numberMember(dst, "t", &r.Time)
	dst = numberMember(dst, "ut", &r.UpdateTime)
	dst = appendExtra(dst, from)
	return append(dst, '}')
}

// name writes the record's name, an empty one too: without it the device would take the name before for this value.
func (w *downlink) name(dst []byte, r *Record) []byte {
	if r.HasIndex {
		return strconv.AppendInt(member(dst, "i_"), int64(r.Index), 10)
	}
	name := r.Name
	if !w.named {
		if own, rest := w.split(name); own {
			name = rest
		}
	}
	return appendString(member(dst, "n"), name)
}

// split says whether a name is, or begins with, the device's base name, in any spelling of scheme and type and with or without
// its last colon, and gives what follows the colon.
func (w *downlink) split(name []byte) (own bool, rest []byte) {
	bare := len(w.device)
	if bare > 0 && w.device[bare-1] == ':' {
		bare--
	}
	if len(name) < bare || bare == 0 || !bytes.EqualFold(name[:bare], []byte(w.device[:bare])) {
		return false, name
	}
	switch rest = name[bare:]; {
	case len(rest) == 0:
		return true, nil
	case rest[0] == ':':
		return true, rest[1:]
	}
	return false, name
}
