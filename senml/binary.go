package senml

// readBinary reads vd: base64 with the URL alphabet and no padding (RFC 8428 §4.3). The KPN profile takes the standard
// alphabet and padding too; Text is in RFC 8428's form whatever was sent.
func (d *decoder) readBinary(f field, r *Record) *Error {
	start := d.pos
	var has bool
	if err := d.readText(f, &r.Text, &has); err != nil {
		return err
	}
	text, foreign := r.Text, false
	if d.Profile == KPN {
		text = unpad(text)
	}
	for _, c := range text {
		switch {
		case digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_':
		case d.Profile == KPN && (c == '+' || c == '/'):
			foreign = true
		case d.Profile == Strict && (c == '+' || c == '/' || c == '='):
			return d.failAt(start, ReasonBinary, "base64 takes the URL alphabet (- and _ for + and /) and no padding (RFC 8428 §5)")
		case c == '=':
			return d.failAt(start, ReasonBinary, "base64 has its = at the end only, up to a length of a multiple of four (RFC 4648 §4)")
		default:
			return d.failAt(start, ReasonBinary, "the value is not base64 (RFC 4648 §5)")
		}
	}
	if len(text)%4 == 1 {
		return d.failAt(start, ReasonBinary, "base64 is never of this length: characters are missing (RFC 4648 §4)")
	}
	if foreign {
		text = keep(d.pack, text)
		for i, c := range text {
			text[i] = urlAlphabet(c)
		}
	}
	r.Text = text
	return nil
}

// unpad cuts the padding off, if it is right: up to a length that is a multiple of four.
func unpad(text []byte) []byte {
	n := len(text)
	if n%4 != 0 {
		return text
	}
	for range 2 {
		if n > 0 && text[n-1] == '=' {
			n--
		}
	}
	return text[:n]
}

func urlAlphabet(c byte) byte {
	switch c {
	case '+':
		return '-'
	case '/':
		return '_'
	}
	return c
}

func standardAlphabet(c byte) byte {
	switch c {
	case '-':
		return '+'
	case '_':
		return '/'
	}
	return c
}
