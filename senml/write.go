package senml

import (
	"bytes"
	"math"
	"strconv"
)

// member appends a comma, unless the object just began, and the label, which needs no escape.
func member(dst []byte, label string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, label...)
	return append(dst, '"', ':')
}

func numberMember(dst []byte, label string, n *Numeral) []byte {
	if !n.Present() {
		return dst
	}
	return append(member(dst, label), n.Text...)
}

func textMember(dst []byte, label string, text []byte, has bool) []byte {
	if !has {
		return dst
	}
	return appendString(member(dst, label), text)
}

// appendFloat writes a double so that it reads back the same, without an exponent where that is short.
func appendFloat(dst []byte, f float64) []byte {
	if math.Abs(f) < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

// appendString writes a JSON string with only the escapes that JSON demands (RFC 8259 §7), the short ones where there are.
func appendString[T string | []byte](dst []byte, text T) []byte {
	return append(appendText(append(dst, '"'), text), '"')
}

// appendText is appendString without the quotes.
func appendText[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789abcdef"
	run := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[run:i]...)
		run = i + 1
		if at := bytes.IndexByte([]byte("\"\\\b\f\n\r\t"), c); at >= 0 {
			dst = append(dst, '\\', `"\bfnrt`[at])
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, text[run:]...)
}

// appendCompact writes JSON that Decode has checked, without the white space between its tokens.
func appendCompact(dst, raw []byte) []byte {
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			dst = append(dst, c)
			i++
		case !quoted && c <= ' ':
			continue
		}
		dst = append(dst, raw[i])
	}
	return dst
}

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
