package senml

import "bytes"

// groups are the pack's measurements, each with the base records before it melted into it. Base records after the last
// measurement mean nothing and are left out.
type groups struct {
	records []Record
	melted  Record
}

// next is the next measurement, nil after the last, and the records it is made of, itself the last of them.
func (g *groups) next() (r *Record, from []Record) {
	for i := range g.records {
		if !g.records[i].Measures() {
			continue
		}
		from, g.records = g.records[:i+1], g.records[i+1:]
		if len(from) == 1 {
			return &from[0], from
		}
		g.melt(from)
		return &g.melted, from
	}
	return nil, nil
}

// melt sets melted to the last of the records with the base fields of all; each field's last holds.
func (g *groups) melt(from []Record) {
	m := &g.melted
	*m = from[len(from)-1]
	for i := len(from) - 2; i >= 0; i-- {
		b := &from[i]
		if !m.HasBaseName && b.HasBaseName {
			m.BaseName, m.HasBaseName = b.BaseName, true
		}
		if !m.HasBaseUnit && b.HasBaseUnit {
			m.BaseUnit, m.HasBaseUnit = b.BaseUnit, true
		}
		inherit(&m.BaseTime, &b.BaseTime)
		inherit(&m.BaseValue, &b.BaseValue)
		inherit(&m.BaseSum, &b.BaseSum)
		inherit(&m.BaseVersion, &b.BaseVersion)
	}
}

func inherit(dst, from *Numeral) {
	if !dst.Present() {
		*dst = *from
	}
}

// appendExtra writes the unknown labels of the records that make one measurement; of several with one name the last holds.
func appendExtra(dst []byte, from []Record) []byte {
	for i := range from {
		for _, label := range from[i].Extra {
			if hasLabel(from[i+1:], label.Name) {
				continue
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, label.Name), ':')
			dst = appendCompact(dst, label.Raw)
		}
	}
	return dst
}

func hasLabel(records []Record, name []byte) bool {
	for i := range records {
		for j := range records[i].Extra {
			if bytes.Equal(records[i].Extra[j].Name, name) {
				return true
			}
		}
	}
	return false
}
