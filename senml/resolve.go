package senml

import (
	"math"
	"time"
)

// absolute is the smallest time that is a Unix time; below it a time counts from now (RFC 8428 §4.5.3).
const absolute = 1 << 28

// base is the state of the base fields at a record.
type base struct {
	name, unit       []byte
	time, value, sum float64
	timeText         []byte // nil: no bt yet
	hasSum           bool
	version          int // 0: no bver yet
}

// take applies the record's base fields to the state, which holds for it and all that follow until replaced.
func (b *base) take(r *Record) {
	if r.HasBaseName {
		b.name = r.BaseName
	}
	if r.HasBaseUnit {
		b.unit = r.BaseUnit
	}
	if r.BaseTime.Present() {
		b.time, b.timeText = r.BaseTime.Value, r.BaseTime.Text
	}
	if r.BaseValue.Present() {
		b.value = r.BaseValue.Value
	}
	if r.BaseSum.Present() {
		b.sum, b.hasSum = r.BaseSum.Value, true
	}
	if r.BaseVersion.Present() {
		b.version = int(r.BaseVersion.Value)
	}
}

// at is the record's time, and whether it holds without now. A relative time is (now + bt) + t in this order, so that the
// normalised pack, whose bt is now + bt, gives the very same double.
func (b *base) at(r *Record, now float64) (t float64, fixed bool) {
	if sum := b.time + r.Time.Value; sum >= absolute {
		return sum, true
	}
	return now + b.time + r.Time.Value, false
}

// FixesTime says whether the pack's times hold without the time of receipt: each measurement's bt + t is absolute. Of a
// heartbeat its bt counts. It needs no Resolve.
func (p *Pack) FixesTime() bool {
	var b base
	for i := range p.Records {
		r := &p.Records[i]
		b.take(r)
		if !r.Measures() {
			continue
		}
		if _, fixed := b.at(r, 0); !fixed {
			return false
		}
	}
	return p.measurements > 0 || b.time >= absolute
}

// Newest is the newest time of the measurements in Unix seconds; of a heartbeat it is its base time. It needs Resolve.
func (p *Pack) Newest() float64 { return p.newest }

// Resolve checks what needs the base fields and the time of receipt (RFC 8428 §4.5, §4.6): every measurement's name, time,
// value and sum. An error is an *Error. The time of receipt counts in whole milliseconds.
func (p *Pack) Resolve(now time.Time) error {
	p.now = float64(now.UnixMilli()) / 1000
	p.newest = math.Inf(-1)
	var b base
	for i := range p.Records {
		r := &p.Records[i]
		b.take(r)
		if err := p.resolve(&b, r, i); err != nil {
			return err
		}
	}
	if p.measurements > 0 {
		return nil
	}
	if err := p.resolveTime(&b, &Record{}, len(p.Records)-1); err != nil { // a heartbeat's own time is its bt
		return err
	}
	return nil
}

func (p *Pack) resolve(b *base, r *Record, record int) *Error {
	if r.HasBaseName {
		if err := checkName(r.BaseName, "bn", true, record); err != nil {
			return err
		}
	}
	if !r.Measures() {
		return nil
	}
	if err := checkName(r.Name, "n", len(b.name) == 0, record); err != nil {
		return err
	}
	if len(b.name)+len(r.Name) == 0 {
		return unresolved(record, "", ReasonName, "the record has no name: neither n nor a bn before it (RFC 8428 §4.5.1)")
	}
	if err := p.resolveTime(b, r, record); err != nil {
		return err
	}
	if r.Kind == Number && math.IsInf(b.value+r.Value.Value, 0) {
		return unresolved(record, "v", ReasonRange, "bv + v is too large for a double (RFC 8428 §4.5.4)")
	}
	if math.IsInf(b.sum+r.Sum.Value, 0) {
		return unresolved(record, "s", ReasonRange, "bs + s is too large for a double (RFC 8428 §4.5.4)")
	}
	return nil
}

func (p *Pack) resolveTime(b *base, r *Record, record int) *Error {
	field := "bt"
	if r.Time.Present() {
		field = "t"
	}
	t, fixed := b.at(r, p.now)
	if math.IsInf(t, 1) {
		return unresolved(record, field, ReasonRange, "bt + t is too large for a double (RFC 8428 §4.5.3)")
	}
	if !fixed && !(t >= absolute) {
		return unresolved(record, field, ReasonTime, "the time, counted from now, lies before July 1978, the first that SenML can express (RFC 8428 §4.5.3)")
	}
	p.newest = max(p.newest, t)
	return nil
}

func unresolved(record int, field, reason, detail string) *Error {
	return &Error{Record: record, Field: field, Offset: -1, Reason: reason, Detail: detail}
}

// checkName checks a part of a name; initial says that the name begins with it (RFC 8428 §4.5.1).
func checkName(name []byte, field string, initial bool, record int) *Error {
	for _, c := range name {
		if !nameByte(c) {
			return unresolved(record, field, ReasonName, "a name has only A-Z a-z 0-9 - : . / _ in it (RFC 8428 §4.5.1)")
		}
	}
	if initial && len(name) > 0 && !alphanumeric(name[0]) {
		return unresolved(record, field, ReasonName, "a name begins with a letter or a digit (RFC 8428 §4.5.1)")
	}
	return nil
}

func alphanumeric(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }

func nameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '-' && c <= ':' || c == '_' // - . / 0 to 9 : are neighbours
}
