package senml

import "bytes"

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
