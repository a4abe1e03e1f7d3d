package senml

import "iter"

// Resolved is a measurement with the base fields applied (RFC 8428 §4.6). It holds on to nothing of the pack.
type Resolved struct {
	Name          string
	Time          float64 // Unix seconds
	Unit          string  // empty: none
	Kind          Kind    // None: a sum only
	Number        float64 // Kind Number
	Bool          bool    // Kind Bool
	Text          string  // Kind String, or base64 in the URL alphabet for Kind Binary
	Sum           float64
	HasSum        bool
	UpdateTime    float64 // seconds
	HasUpdateTime bool
	Version       int
}

// Resolved are the measurements in the pack's order. It needs Resolve.
func (p *Pack) Resolved() iter.Seq[Resolved] {
	return func(yield func(Resolved) bool) {
		var b base
		for i := range p.Records {
			r := &p.Records[i]
			b.take(r)
			if r.Measures() && !yield(b.resolved(r, p.now)) {
				return
			}
		}
	}
}

// plus adds a base value; without one a value of minus zero stays what it is.
func plus(base, value float64) float64 {
	if base == 0 {
		return value
	}
	return base + value
}

func (b *base) resolved(r *Record, now float64) Resolved {
	m := Resolved{
		Name: string(b.name) + string(r.Name), Unit: string(b.unit), Kind: r.Kind, Bool: r.Bool, Text: string(r.Text),
		Sum: plus(b.sum, r.Sum.Value), HasSum: b.hasSum || r.Sum.Present(),
		UpdateTime: r.UpdateTime.Value, HasUpdateTime: r.UpdateTime.Present(), Version: 10,
	}
	m.Time, _ = b.at(r, now)
	if r.HasUnit {
		m.Unit = string(r.Unit)
	}
	if r.Kind == Number {
		m.Number = plus(b.value, r.Value.Value)
	}
	if b.version != 0 {
		m.Version = b.version
	}
	return m
}
