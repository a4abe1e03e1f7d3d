package senml

import "strconv"

// field is a set of the fields that RFC 8428 defines, and i_.
type field uint16

const (
	fieldBN field = 1 << iota
	fieldBT
	fieldBU
	fieldBV
	fieldBS
	fieldBVer
	fieldN
	fieldU
	fieldV
	fieldVB
	fieldVS
	fieldVD
	fieldS
	fieldT
	fieldUT
	fieldI
)

// readField reads the value of the field with this label (RFC 8428 §4.3).
func (d *decoder) readField(r *Record, label []byte) *Error {
	switch string(label) {
	case "n":
		return d.readText(fieldN, &r.Name, &r.HasName)
	case "u":
		return d.readText(fieldU, &r.Unit, &r.HasUnit)
	case "v":
		return d.readValue(r, fieldV, Number)
	case "vb":
		return d.readValue(r, fieldVB, Bool)
	case "vs":
		return d.readValue(r, fieldVS, String)
	case "vd":
		return d.readValue(r, fieldVD, Binary)
	case "s":
		return d.readNumber(fieldS, &r.Sum)
	case "t":
		return d.readNumber(fieldT, &r.Time)
	case "ut":
		return d.readNumber(fieldUT, &r.UpdateTime)
	case "bn":
		return d.readText(fieldBN, &r.BaseName, &r.HasBaseName)
	case "bt":
		return d.readNumber(fieldBT, &r.BaseTime)
	case "bu":
		return d.readText(fieldBU, &r.BaseUnit, &r.HasBaseUnit)
	case "bv":
		return d.readNumber(fieldBV, &r.BaseValue)
	case "bs":
		return d.readNumber(fieldBS, &r.BaseSum)
	case "bver":
		return d.readVersion(r)
	case "i_":
		if d.Profile == KPN {
			return d.readIndex(r)
		}
	}
	return d.readUnknown(label)
}

// once notes that the record has the field and refuses it the second time.
func (d *decoder) once(f field) *Error {
	if d.seen&f != 0 {
		return d.twice()
	}
	d.seen |= f
	return nil
}

func (d *decoder) twice() *Error {
	return d.fail(ReasonDuplicate, "the label occurs twice in one object (RFC 8259 §4)")
}

func (d *decoder) readText(f field, dst *[]byte, has *bool) (err *Error) {
	if err := d.once(f); err != nil {
		return err
	}
	if d.peek() != '"' {
		return d.wrongType("a string")
	}
	*has = true
	*dst, err = d.str()
	return err
}

func (d *decoder) readNumber(f field, dst *Numeral) *Error {
	if err := d.once(f); err != nil {
		return err
	}
	if c := d.peek(); !digit(c) && c != '-' {
		return d.wrongType("a number")
	}
	return d.number(dst)
}

// readValue reads v, vb, vs or vd, of which a record has one (RFC 8428 §4.2).
func (d *decoder) readValue(r *Record, f field, kind Kind) *Error {
	if r.Kind != None && d.seen&f == 0 {
		return d.fail(ReasonSeveralValues, "the record has a value already; it takes one of v, vb, vs, vd (RFC 8428 §4.2)")
	}
	r.Kind = kind
	switch kind {
	case Number:
		return d.readNumber(f, &r.Value)
	case Bool:
		return d.readBool(f, &r.Bool)
	case String:
		var has bool
		return d.readText(f, &r.Text, &has)
	}
	return d.readBinary(f, r)
}

func (d *decoder) readBool(f field, dst *bool) *Error {
	if err := d.once(f); err != nil {
		return err
	}
	switch {
	case d.ahead("true"):
		*dst = true
		d.pos += len("true")
	case d.ahead("false"):
		d.pos += len("false")
	default:
		return d.wrongType("true or false")
	}
	return nil
}

// readVersion reads bver: a positive integer, at most 10, which is RFC 8428 (§4.1, §4.4). JSON has no integers: 10.0 is one.
func (d *decoder) readVersion(r *Record) *Error {
	start := d.pos
	if err := d.readNumber(fieldBVer, &r.BaseVersion); err != nil {
		return err
	}
	switch v := r.BaseVersion.Value; {
	case v < 1 || v != float64(int64(v)):
		return d.failAt(start, ReasonVersion, "the version is a positive integer (RFC 8428 §4.1)")
	case v > 10:
		return d.failAt(start, ReasonVersion, "the version is newer than 10, which is what is understood here (RFC 8428 §4.4)")
	}
	return nil
}

// readIndex reads i_ and takes the name and the unit it stands for from KPN's table.
func (d *decoder) readIndex(r *Record) *Error {
	start := d.pos
	var n Numeral
	if err := d.readNumber(fieldI, &n); err != nil {
		return err
	}
	if n.Value != float64(int8(n.Value)) || !inThingsML(int(n.Value)) {
		return d.failAt(start, ReasonIndex, "ThingsML has no measurement of this index; it knows "+
			strconv.Itoa(thingsMLFirst)+" to "+strconv.Itoa(thingsMLFirst+len(thingsML)-1))
	}
	r.HasIndex, r.Index = true, int8(n.Value)
	return nil
}
