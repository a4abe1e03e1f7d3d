package senml

import (
	"strings"
	"testing"
)

// The line a firmware engineer reads in the HTTP 400, word for word, and the reason that is counted.
func TestErrorText(t *testing.T) {
	const cut = `the pack is cut off before its last "]" (was a buffer too small, or Content-Length too short?), at offset `
	for _, c := range []struct{ body, reason, want string }{
		{``, ReasonEmpty, `the body is empty`},
		{" \r\n", ReasonEmpty, `the body is white space only`},
		{"\xef\xbb\xbf[]", ReasonBOM, `the body begins with a byte order mark (EF BB BF), which JSON must not have (RFC 8259 §8.1)`},
		{`<sensml/>`, ReasonNotJSON, `the body is not JSON: it looks like XML, and only JSON packs are taken`},
		{"\x81\xa2", ReasonNotJSON, `the body is not JSON: it looks binary (CBOR?), and only JSON packs are taken`},
		{`hello`, ReasonNotJSON, `the body is not JSON: a pack begins with "["`},
		{`85A3216B`, ReasonNotArray, `the body looks like CBOR in hexadecimal, and only JSON packs are taken`},
		{`{"n":"a","v":1}`, ReasonNotArray, `the body is an object; a pack is an array of records, [{...}] (RFC 8428 §5)`},
		{`[]`, ReasonNoRecord, `the pack is an empty array: it has no record, at offset 1`},
		{`[-0]`, ReasonNotObject, `record 1: a record is an object {...}, not a number (RFC 8428 §5), at offset 1`},
		{`[[]]`, ReasonNotObject, `record 1: a record is an object {...}, not an array (RFC 8428 §5), at offset 1`},
		{`[x]`, ReasonSyntax, `record 1: a record {...} is due here, at offset 1`},
		{`[`, ReasonTruncated, `record 1: ` + cut + `1`},
		{`[{"n"`, ReasonTruncated, `record 1: ` + cut + `5`},
		{`[{"n";"a"}]`, ReasonSyntax, `record 1: ":" is due after the label, at offset 5`},
		{`[{"n":"a","v":1}{}]`, ReasonSyntax, `record 1: "," or "]" is due after the record's "}", at offset 16`},
		{`[{"n":"a","v":1;}]`, ReasonSyntax, `record 1: field "v": "," or a closing bracket is due after the value, at offset 15`},
		{`[null]`, ReasonNotObject, `record 1: a record is an object {...}, not null (RFC 8428 §5), at offset 1`},

		{`[{"n":"a","v":1}`, ReasonTruncated, `record 1: ` + cut + `16`},
		{`[{"n":"a","v":1},`, ReasonTruncated, `record 2: ` + cut + `17`},
		{`[{"n":"a","v":1`, ReasonTruncated, `record 1: field "v": ` + cut + `15`},
		{`[{"n":"a","v":-`, ReasonTruncated, `record 1: field "v": ` + cut + `15`},
		{`[{"n":"a","v":1.`, ReasonTruncated, `record 1: field "v": ` + cut + `16`},
		{`[{"n":"a","v":1e+`, ReasonTruncated, `record 1: field "v": ` + cut + `17`},
		{`[{"n":"a","vb":fal`, ReasonTruncated, `record 1: field "vb": ` + cut + `18`},
		{`[{"n":"a","vs":"\u00`, ReasonTruncated, `record 1: field "vs": ` + cut + `20`},
		{"[{\"n\":\"a\",\"vs\":\"\xe2\x82", ReasonTruncated, `record 1: field "vs": ` + cut + `18`},
		{`[{"n":"a","vs":"x}]`, ReasonTruncated, `record 1: field "vs": the string goes on to the end of the body: its closing " is missing, at offset 19`},
		{"[{\"n\":\"a\",\"v\":1}]\x00", ReasonTrailing, `a NUL byte follows the pack's last "]" (is a C string's end counted in Content-Length?), at offset 17`},
		{`[{"n":"a","v":1}]//x`, ReasonTrailing, `bytes follow the pack's last "]", at offset 17`},

		{`[{"n":"modus","vs":"say "hi""}]`, ReasonSyntax, `record 1: field "vs": text follows the string's closing quote: a " inside a string is written \" (RFC 8259 §7), at offset 25`},
		{`[{"n":"a","vs":"say ""}]`, ReasonSyntax, `record 1: field "vs": another string follows: is a "," missing, or a " inside a string not written \" (RFC 8259 §7)?, at offset 21`},
		{`[{"n":"a","vs":"a", b"}]`, ReasonSyntax, `record 1: a label in double quotes is due here (RFC 8259 §4); is a " inside the string before it not written \"?, at offset 20`},
		{`[{"n":"a","v":1,5}]`, ReasonSyntax, `record 1: a label in double quotes is due here (RFC 8259 §4); is the comma before it a decimal comma?, at offset 16`},
		{`[{n:"a"}]`, ReasonSyntax, `record 1: a label in double quotes is due here (RFC 8259 §4), at offset 2`},
		{`[{"n":"a","v":1,}]`, ReasonSyntax, `record 1: the "," before "}" must go, at offset 16`},
		{`[{"n":"a","v":1},]`, ReasonSyntax, `record 2: the "," before the last "]" must go, at offset 17`},
		{`[{"n":'a'}]`, ReasonSyntax, `record 1: field "n": strings take double quotes (RFC 8259 §7), at offset 6`},
		{`[{"n":a}]`, ReasonSyntax, `record 1: field "n": no JSON value begins here (a string without quotes?), at offset 6`},
		{`[{"n":"a","v":}]`, ReasonSyntax, `record 1: field "v": the value is missing, at offset 14`},
		{`[{"n":"a","vb":True}]`, ReasonSyntax, `record 1: field "vb": true and false are in lower case (RFC 8259 §3), at offset 15`},
		{"[{\"n\":\"a\",\"vs\":\"a\nb\"}]", ReasonSyntax, `record 1: field "vs": a control character (a line break?) in a string must be escaped (RFC 8259 §7), at offset 17`},
		{`[{"n":"a","vs":"\x"}]`, ReasonSyntax, `record 1: field "vs": this escape is none of \" \\ \/ \b \f \n \r \t \u (RFC 8259 §7), at offset 16`},
		{"[{\"n\":\"a\",\"vs\":\"a\xffb\"}]", ReasonUTF8, `record 1: field "vs": the string is not valid UTF-8 (RFC 8259 §8.1), at offset 17`},
		{`[{"n":"a","vs":"\ud800"}]`, ReasonSurrogate, `record 1: field "vs": this \u escape is half of a surrogate pair, its other half is missing (RFC 8259 §8.2), at offset 16`},
		{`[{"n":"a","v":1,"v":2}]`, ReasonDuplicate, `record 1: field "v": the label occurs twice in one object (RFC 8259 §4), at offset 20`},

		{`[{"n":"a","v":1},{"n":"b","v":2},{"n":"c","v":nan}]`, ReasonNumber, `record 3: field "v": NaN is not a JSON number (RFC 8259 §6), at offset 46`},
		{`[{"n":"a","v":-inf}]`, ReasonNumber, `record 1: field "v": Infinity is not a JSON number (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":01}]`, ReasonNumber, `record 1: field "v": a JSON number does not begin with a needless 0 (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":.5}]`, ReasonNumber, `record 1: field "v": a JSON number has a digit before its point (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":+5}]`, ReasonNumber, `record 1: field "v": a JSON number does not begin with + (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":1_000}]`, ReasonNumber, `record 1: field "v": this is not a JSON number (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":0x1F}]`, ReasonNumber, `record 1: field "v": this is not a JSON number (RFC 8259 §6), at offset 14`},
		{`[{"n":"a","v":1e309}]`, ReasonRange, `record 1: field "v": the number is too large for a double (RFC 8428 §5), at offset 14`},
		{`[{"n":"a","x":[1e309],"v":1}]`, ReasonRange, `record 1: field "x": the number is too large for a double (RFC 8428 §5), at offset 15`},
		{`[{"n":"a","v":"1"}]`, ReasonType, `record 1: field "v": a number is due here, not a string (RFC 8428 §5), at offset 14`},
		{`[{"n":null,"v":1}]`, ReasonType, `record 1: field "n": a string is due here, not null (RFC 8428 §5), at offset 6`},

		{`[{"bn":"a:"},{"n":"a"}]`, ReasonNoValue, `record 2: the record has no value (v, vb, vs or vd) and no sum (RFC 8428 §4.2), at offset 13`},
		{`[{"x":1}]`, ReasonNoValue, `record 1: the record has no value, no sum and no base field (RFC 8428 §4.2), at offset 1`},
		{`[{"n":"a","v":1,"vs":"x"}]`, ReasonSeveralValues, `record 1: field "vs": the record has a value already; it takes one of v, vb, vs, vd (RFC 8428 §4.2), at offset 21`},
		{`[{"n":"a","v":1,"x_":2}]`, ReasonMustUnderstand, `record 1: field "x_": a label ending in _ must be understood, and this one is not (RFC 8428 §4.4), at offset 21`},
		{`[{"i_":99,"v":1}]`, ReasonIndex, `record 1: field "i_": ThingsML has no measurement of this index; it knows -24 to 14, at offset 7`},
		{`[{"i_":1,"n":"a","v":1}]`, ReasonName, `record 1: the record has both n and i_; one of them names it, at offset 1`},
		{`[{"n":"a","vd":"A"}]`, ReasonBinary, `record 1: field "vd": base64 is never of this length: characters are missing (RFC 4648 §4), at offset 15`},
		{`[{"n":"a","vd":"A=B="}]`, ReasonBinary, `record 1: field "vd": base64 has its = at the end only, up to a length of a multiple of four (RFC 4648 §4), at offset 15`},
		{`[{"n":"a","bver":11,"v":1}]`, ReasonVersion, `record 1: field "bver": the version is newer than 10, which is what is understood here (RFC 8428 §4.4), at offset 17`},
		{`[{"n":"a","bver":0,"v":1}]`, ReasonVersion, `record 1: field "bver": the version is a positive integer (RFC 8428 §4.1), at offset 17`},
		{`[{"n":"a","bver":9.5,"v":1}]`, ReasonVersion, `record 1: field "bver": the version is a positive integer (RFC 8428 §4.1), at offset 17`},
		{`[{"n":"a","v":1},{"bver":5,"n":"b","v":1}]`, ReasonVersion, `record 2: field "bver": all records have one version, which is 10 before the first bver (RFC 8428 §4.4)`},

		{`[{"n":"a b","v":1}]`, ReasonName, `record 1: field "n": a name has only A-Z a-z 0-9 - : . / _ in it (RFC 8428 §4.5.1)`},
		{`[{"bn":"-a","v":1}]`, ReasonName, `record 1: field "bn": a name begins with a letter or a digit (RFC 8428 §4.5.1)`},
		{`[{"n":"_a","v":1}]`, ReasonName, `record 1: field "n": a name begins with a letter or a digit (RFC 8428 §4.5.1)`},
		{`[{"v":1}]`, ReasonName, `record 1: the record has no name: neither n nor a bn before it (RFC 8428 §4.5.1)`},
		{`[{"n":"a","t":-1e10,"v":1}]`, ReasonTime, `record 1: field "t": the time, counted from now, lies before July 1978, the first that SenML can express (RFC 8428 §4.5.3)`},
		{`[{"n":"a","bt":1e308,"t":1e308,"v":1}]`, ReasonRange, `record 1: field "t": bt + t is too large for a double (RFC 8428 §4.5.3)`},
		{`[{"n":"a","bv":1e308,"v":1e308}]`, ReasonRange, `record 1: field "v": bv + v is too large for a double (RFC 8428 §4.5.4)`},
		{`[{"n":"a","bs":-1e308,"s":-1e308}]`, ReasonRange, `record 1: field "s": bs + s is too large for a double (RFC 8428 §4.5.4)`},
	} {
		t.Run(c.body, func(t *testing.T) {
			err := refusal(c.body, Options{})
			if err == nil || err.Error() != c.want || err.Reason != c.reason {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// refusal is the error of decoding and resolving a body, nil if it is taken.
func refusal(body string, o Options) *Error {
	var p Pack
	err := p.Decode([]byte(body), o)
	if err == nil {
		err = p.Resolve(receipt)
	}
	if err == nil {
		return nil
	}
	return err.(*Error)
}

// A label of the body's choosing can neither fill the line nor break it, nor colour a terminal.
func TestErrorRepeatsLittle(t *testing.T) {
	for label, want := range map[string]string{
		"evil\\r\\nX: y\\u001b[31m_":     `field "evil\r\nX: y\x1b[31m_"`,
		"\\u00e9_":                       `field "\u00e9_"`,
		strings.Repeat("a", 10000) + "_": `field "aaaaaaaaaaaaaaaaaaaaaaaa..."`,
	} {
		err := refusal(`[{"`+label+`":1}]`, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 200 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What was read up to the error is kept, so that a refusal can be told whose it claims to be.
func TestErrorKeepsRecords(t *testing.T) {
	var p Pack
	err := p.Decode([]byte(`[{"bn":"urn:dev:IMEI:1:","n":"a","v":1},{"n":"b","v":`), Options{})
	if err == nil || len(p.Records) != 2 || string(p.Records[0].BaseName) != "urn:dev:IMEI:1:" {
		t.Errorf("records %v, error %v", p.Records, err)
	}
}
