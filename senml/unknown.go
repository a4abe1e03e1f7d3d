package senml

import (
	"bytes"
	"strconv"
)

// readUnknown reads a label that is not RFC 8428's: ignored and kept, unless it ends in _ (RFC 8428 §4.4).
func (d *decoder) readUnknown(label []byte) *Error {
	if len(label) > 0 && label[len(label)-1] == '_' {
		return d.fail(ReasonMustUnderstand, "a label ending in _ must be understood, and this one is not (RFC 8428 §4.4)")
	}
	p := d.pack
	for i := range p.labels[d.labels:] {
		if bytes.Equal(p.labels[d.labels+i].Name, label) {
			return d.twice()
		}
	}
	if d.melting+len(p.labels)-d.labels == d.MaxLabels {
		return d.fail(ReasonTooMany, "the record has more than "+strconv.Itoa(d.MaxLabels)+" unknown labels")
	}
	start := d.pos
	if err := d.skip(0); err != nil {
		return err
	}
	p.labels = append(p.labels, Label{Name: label, Raw: d.body[start:d.pos:d.pos]})
	return nil
}

// skip passes over the value at the place reached, which is depth objects and arrays deep, with every check that a value here
// gets. Its numbers too must be doubles: apps that read the label's value would stumble over them.
func (d *decoder) skip(depth int) *Error {
	switch c := d.peek(); {
	case c == '"':
		_, err := d.str()
		return err
	case c == '{' || c == '[':
		if depth == d.MaxDepth {
			return d.fail(ReasonDepth, "objects and arrays are nested more than "+strconv.Itoa(d.MaxDepth)+" deep")
		}
		if c == '{' {
			return d.skipObject(depth + 1)
		}
		return d.skipArray(depth + 1)
	case digit(c) || c == '-':
		var n Numeral
		return d.number(&n)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if d.ahead(word) {
			d.pos += len(word)
			return nil
		}
	}
	return d.noValue()
}

func (d *decoder) skipArray(depth int) *Error {
	d.pos++
	if d.next() == ']' {
		d.pos++
		return nil
	}
	for {
		d.space()
		if err := d.skip(depth); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.pos++
		case ']':
			d.pos++
			return nil
		default:
			return d.notEnded()
		}
	}
}

func (d *decoder) skipObject(depth int) *Error {
	p := d.pack
	first := len(p.members)
	defer func() { p.members = p.members[:first] }()
	d.pos++
	if d.next() == '}' {
		d.pos++
		return nil
	}
	for {
		name, err := d.readLabel()
		if err != nil {
			return err
		}
		if err := d.member(first, name); err != nil {
			return err
		}
		if err := d.skip(depth); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.pos++
		case '}':
			d.pos++
			return nil
		default:
			return d.notEnded()
		}
	}
}

// member notes a member of the object whose members begin at first, and refuses it the second time.
func (d *decoder) member(first int, name []byte) *Error {
	p := d.pack
	for _, other := range p.members[first:] {
		if bytes.Equal(other, name) {
			return d.twice()
		}
	}
	if len(p.members)-first == d.MaxLabels {
		return d.fail(ReasonTooMany, "an object has more than "+strconv.Itoa(d.MaxLabels)+" members")
	}
	p.members = append(p.members, name)
	return nil
}
