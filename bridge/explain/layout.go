package explain

import "bytes"

// stripped adds the files whose line ends `curl -d @file` left out: the token
// was made over the file. A body that has line ends did not come that way.
func (b *bodies) stripped() {
	if bytes.ContainsAny(b.sent, "\r\n") || len(b.sent) > largeBody {
		return
	}
	for _, end := range []string{"\n", "\r\n"} {
		for _, l := range layouts() {
			b.addRare(l.lay(b.sent, end), "body-line-ends-stripped",
				"the file had line ends that curl -d strips: they were hashed but not sent", "send the file with curl --data-binary")
		}
	}
}

// layout is where the lines of a file end. Of blanks curl strips none, so that
// an indented file is one whose blanks are still there.
type layout struct {
	opening  bool // after the array's [
	records  bool // after the comma between records
	before   bool // before that comma instead
	closing  bool // before the array's ]
	indented bool // before each run of two blanks or more, or tabs, and before the array's ]
	trailing bool // after the array
}

// layouts are the usual ones, common ones first. A trailing line end alone is
// found among the ends.
func layouts() []layout {
	return []layout{
		{records: true, trailing: true},
		{records: true},
		{opening: true, records: true, closing: true, trailing: true},
		{opening: true, records: true, closing: true},
		{opening: true, closing: true, trailing: true},
		{opening: true, closing: true},
		{indented: true, trailing: true},
		{indented: true},
		{records: true, closing: true, trailing: true},
		{records: true, closing: true},
		{opening: true, records: true, trailing: true},
		{opening: true, records: true},
		{closing: true, trailing: true},
		{closing: true},
		{opening: true, trailing: true},
		{opening: true},
		{before: true, trailing: true},
		{before: true},
		{before: true, closing: true, trailing: true},
		{before: true, closing: true},
		{opening: true, before: true, closing: true, trailing: true},
		{opening: true, before: true, closing: true},
	}
}

// lay puts line ends into a body that has none.
func (l layout) lay(body []byte, end string) []byte {
	var out []byte
	var at scanner
	for i, c := range body {
		inString, depth := at.inString, at.depth
		at.step(c)
		if !inString && l.endsBefore(body, i, depth) {
			out = append(out, end...)
		}
		out = append(out, c)
		if !inString && (l.opening && c == '[' && depth == 0 || l.records && c == ',' && depth == 1) {
			out = append(out, end...)
		}
	}
	if l.trailing {
		out = append(out, end...)
	}
	return out
}

func (l layout) endsBefore(body []byte, i, depth int) bool {
	switch c := body[i]; {
	case c == ']' && depth == 1:
		return l.closing || l.indented
	case c == ',' && depth == 1:
		return l.before
	case l.indented && isBlank(c) && (i == 0 || !isBlank(body[i-1])):
		return c == '\t' || i+1 < len(body) && isBlank(body[i+1])
	}
	return false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// scanner knows where in a JSON text a byte stands.
type scanner struct {
	inString, escaped bool
	depth             int // of arrays and objects that are open
}

func (s *scanner) step(c byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.inString && c == '\\':
		s.escaped = true
	case c == '"':
		s.inString = !s.inString
	case s.inString:
	case c == '[' || c == '{':
		s.depth++
	case c == ']' || c == '}':
		s.depth--
	}
}
