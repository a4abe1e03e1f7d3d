package senml

import "strconv"

// decoder reads one body into a pack. Its methods read at pos and leave pos after what they read.
type decoder struct {
	Options
	pack   *Pack
	body   []byte
	pos    int
	record int    // being read, for errors; -1: none
	label  []byte // of the field being read, for errors; nil: none

	seen    field // fields of the record being read
	labels  int   // where its labels begin in the pack's
	melting int   // unknown labels of the base records since the last measurement

	version      int  // bver in force
	versionFixed bool // by a bver or a measurement: it may not change any more
}

// Decode reads a body and checks all that can be checked without the time of receipt; an error is an *Error. On an error
// Records holds what was read up to it, the faulty record included: enough to tell whose pack it claims to be, good for
// nothing else.
func (p *Pack) Decode(body []byte, o Options) error {
	p.reset()
	d := decoder{Options: o.withDefaults(), pack: p, body: body, record: -1, version: 10}
	if err := d.decode(); err != nil {
		return err
	}
	return nil
}

func (d *decoder) decode() *Error {
	if d.next() != '[' {
		return d.notArray()
	}
	d.pos++
	if d.next() == ']' {
		return d.fail(ReasonNoRecord, "the pack is an empty array: it has no record")
	}
	for {
		if err := d.readRecord(); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.pos++
			continue
		case ']':
			d.pos++
			return d.end()
		}
		if d.pos == len(d.body) {
			return d.cut()
		}
		return d.fail(ReasonSyntax, `"," or "]" is due after the record's "}"`)
	}
}

// end is after the pack's last bracket.
func (d *decoder) end() *Error {
	d.record = -1
	switch c := d.next(); {
	case d.pos < len(d.body) && c == 0:
		return d.fail(ReasonTrailing, `a NUL byte follows the pack's last "]" (is a C string's end counted in Content-Length?)`)
	case d.pos < len(d.body):
		return d.fail(ReasonTrailing, `bytes follow the pack's last "]"`)
	case d.Profile == Strict && d.pack.measurements == 0:
		return d.failAt(-1, ReasonNoMeasurement, "the pack has base fields only, no measurement (RFC 8428 §4.2)")
	}
	return nil
}

// readRecord reads one record and checks it by itself.
func (d *decoder) readRecord() *Error {
	p := d.pack
	d.record++
	if d.next() != '{' {
		return d.notObject()
	}
	if len(p.Records) == d.MaxRecords {
		return d.fail(ReasonTooMany, "the pack has more than "+strconv.Itoa(d.MaxRecords)+" records")
	}
	p.Records = append(p.Records, Record{})
	r := &p.Records[len(p.Records)-1]
	start := d.pos
	d.seen, d.labels = 0, len(p.labels)
	if err := d.readFields(r); err != nil {
		return err
	}
	r.Extra = p.labels[d.labels:len(p.labels):len(p.labels)]
	return d.check(r, start)
}

// readFields reads the members of the record whose brace is at the place reached.
func (d *decoder) readFields(r *Record) *Error {
	d.pos++
	if d.next() == '}' {
		d.pos++
		return nil
	}
	for {
		label, err := d.readLabel()
		if err != nil {
			return err
		}
		d.label = label
		if err := d.readField(r, label); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.label = nil
			d.pos++
		case '}':
			d.label = nil
			d.pos++
			return nil
		default:
			return d.notEnded()
		}
	}
}

// readLabel reads a member's label and its colon, up to the value.
func (d *decoder) readLabel() ([]byte, *Error) {
	if d.next() != '"' {
		return nil, d.noLabel()
	}
	label, err := d.str()
	if err != nil {
		return nil, err
	}
	if d.next() != ':' {
		if d.pos >= len(d.body) {
			return nil, d.cut()
		}
		return nil, d.fail(ReasonSyntax, `":" is due after the label`)
	}
	d.pos++
	d.space()
	return label, nil
}
