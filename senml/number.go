package senml

import (
	"math"
	"strconv"
)

func digit(c byte) bool { return c >= '0' && c <= '9' }

// decimal is a number as it is read: mantissa × 10^exponent.
type decimal struct {
	mantissa uint64
	exponent int
	long     bool // the mantissa has more digits than fit
}

// digits reads digits from offset i into the mantissa and gives the offset after them.
func (n *decimal) digits(b []byte, i int) int {
	for ; i < len(b) && digit(b[i]); i++ {
		if n.mantissa > (math.MaxUint64-9)/10 {
			n.long = true
			continue
		}
		n.mantissa = n.mantissa*10 + uint64(b[i]-'0')
	}
	return i
}

// number reads the number at the place reached, which is a digit or a minus sign (RFC 8259 §6). Its value must be a finite
// double (RFC 8428 §5).
func (d *decoder) number(dst *Numeral) *Error {
	b, i := d.body, d.pos
	var n decimal
	negative := b[i] == '-'
	if negative {
		i++
	}
	first := i
	i = n.digits(b, i)
	if i == first {
		return d.numberEnds(i)
	}
	if b[first] == '0' && i > first+1 {
		return d.badNumber(d.pos)
	}
	if i < len(b) && b[i] == '.' {
		point := i
		if i = n.digits(b, i+1); i == point+1 {
			return d.numberEnds(i)
		}
		n.exponent = point + 1 - i
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		var err *Error
		if i, err = d.exponent(&n, i); err != nil {
			return err
		}
	}
	if i < len(b) && (digit(b[i]) || b[i] == '.' || b[i] == '-' || b[i] == '+' || b[i] == '_' || b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z') {
		return d.badNumber(d.pos)
	}
	return d.numeral(dst, &n, negative, i)
}

// exponent reads the exponent whose e is at offset i and gives the offset after it.
func (d *decoder) exponent(n *decimal, i int) (int, *Error) {
	b := d.body
	if b[i] == 'E' && d.Profile == Strict {
		return 0, d.failAt(i, ReasonNumber, "the e of an exponent must be in lower case (RFC 8428 §5)")
	}
	i++
	sign := 1
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		if b[i] == '-' {
			sign = -1
		}
		i++
	}
	first, e := i, 0
	for ; i < len(b) && digit(b[i]); i++ {
		e = min(e*10+int(b[i]-'0'), 1e5) // beyond any double; strconv decides from the text
	}
	if i == first {
		return 0, d.numberEnds(i)
	}
	n.exponent += sign * e
	return i, nil
}

// numberEnds is the error for a number that breaks off at offset i, where a digit is due.
func (d *decoder) numberEnds(i int) *Error {
	if i >= len(d.body) {
		return d.cut()
	}
	return d.badNumber(d.pos)
}

// pow10 are the powers of ten that are exact doubles.
var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// numeral sets dst to the number that ends at offset end.
func (d *decoder) numeral(dst *Numeral, n *decimal, negative bool, end int) *Error {
	text := d.body[d.pos:end:end]
	var value float64
	if !n.long && n.mantissa < 1<<53 && -len(pow10) < n.exponent && n.exponent < len(pow10) {
		// Both are exact doubles, so one operation rounds once and correctly.
		value = float64(n.mantissa)
		if n.exponent < 0 {
			value /= pow10[-n.exponent]
		} else {
			value *= pow10[n.exponent]
		}
		if negative {
			value = -value
		}
	} else {
		var err error
		if value, err = strconv.ParseFloat(string(text), 64); err != nil {
			return d.fail(ReasonRange, "the number is too large for a double (RFC 8428 §5)")
		}
	}
	d.pos = end
	*dst = Numeral{Text: text, Value: value}
	return nil
}
