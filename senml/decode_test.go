package senml

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecodeKeepsNumberText(t *testing.T) {
	p := mustDecode(t, `[{"bn":"a:","bt":1.6595711995E9,"n":"a","v":31.420000,"ut":6e1},{"n":"b","t":-0.5,"s":12345678901234567890123}]`)
	a, b := p.Records[0], p.Records[1]
	for _, c := range []struct {
		got  Numeral
		text string
		want float64
	}{
		{a.BaseTime, "1.6595711995E9", 1659571199.5},
		{a.Value, "31.420000", 31.42},
		{a.UpdateTime, "6e1", 60},
		{b.Time, "-0.5", -0.5},
		{b.Sum, "12345678901234567890123", 12345678901234567890123},
	} {
		if string(c.got.Text) != c.text || c.got.Value != c.want {
			t.Errorf("%s is %s %v", c.text, c.got.Text, c.got.Value)
		}
	}
	if a.Time.Present() || b.Value.Present() {
		t.Error("an absent number is present")
	}
}

// Each number has the value that strconv gives it, however it is written.
func TestNumberValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?(e[+-]?[0-9]{1,3})?`).Draw(t, "text")
		want, err := strconv.ParseFloat(text, 64)
		var p Pack
		got := p.Decode([]byte(`[{"n":"a","v":`+text+`}]`), Options{})
		if err != nil {
			if got == nil || got.(*Error).Reason != ReasonRange {
				t.Fatalf("beyond a double: %v", got)
			}
			return
		}
		if got != nil || math.Float64bits(p.Records[0].Value.Value) != math.Float64bits(want) {
			t.Fatalf("%v, want %v; %v", p.Records[0].Value.Value, want, got)
		}
	})
}

func TestDecodeStrings(t *testing.T) {
	p := mustDecode(t, `[{"n":"a","u":"\u20ac","vs":"\"\\\/\b\f\n\r\t\u0000\u00E9\uD83D\ude00€x"}]`)
	if got := string(p.Records[0].Text); got != "\"\\/\b\f\n\r\t\x00é😀€x" {
		t.Errorf("vs is %q", got)
	}
	if got := string(p.Records[0].Unit); got != "€" {
		t.Errorf("u is %q", got)
	}
}

// A pack's strings do not run into one another when their owner appends to them.
func TestDecodedSlicesHaveNoRoom(t *testing.T) {
	p := mustDecode(t, `[{"bn":"\u0061:","n":"\u0062","v":1,"x":1,"y":2},{"n":"\u0063","v":1}]`)
	r := &p.Records[0]
	r.BaseName = append(r.BaseName, "zzz"...)
	r.Name = append(r.Name, "zzz"...)
	r.Extra = append(r.Extra, Label{})
	if string(p.Records[1].Name) != "c" || string(r.Extra[1].Name) != "y" {
		t.Errorf("records became %+v", p.Records)
	}
	body := []byte(`[{"bn":"a:","n":"b","v":1}]`)
	if err := p.Decode(body, Options{}); err != nil {
		t.Fatal(err)
	}
	_ = append(p.Records[0].BaseName, "zzz"...)
	if string(body) != `[{"bn":"a:","n":"b","v":1}]` {
		t.Errorf("the body became %s", body)
	}
}

// The body is what the token is a hash of: it is never written to.
func TestDecodeLeavesBodyAlone(t *testing.T) {
	for _, v := range vectors(t) {
		body := v.bytes(t)
		before := string(body)
		var p Pack
		if p.Decode(body, Options{}) == nil && p.Resolve(receipt) == nil {
			p.AppendDownlink(p.AppendNormalised(nil), testBaseName)
		}
		if string(body) != before {
			t.Errorf("%s: the body was changed", v.ID)
		}
	}
}

func TestLimits(t *testing.T) {
	records := func(n int) string { return `[` + strings.Repeat(`{"n":"a","v":1},`, n-1) + `{"n":"a","v":1}]` }
	labels := func(prefix string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%s%d":%d,`, prefix, i, i)
		}
		return b.String()
	}
	nested := func(n int) string {
		return `[{"n":"a","v":1,"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}]`
	}
	object := func(n int) string {
		return `[{"n":"a","v":1,"x":{` + strings.TrimSuffix(labels("x", n), ",") + `}}]`
	}
	for _, c := range []struct {
		name, good, bad string
		options         Options
		reason          string
	}{
		{"records", records(1000), records(1001), Options{}, ReasonTooMany},
		{"records, option", records(2), records(3), Options{MaxRecords: 2}, ReasonTooMany},
		{"depth", nested(16), nested(17), Options{}, ReasonDepth},
		{"depth, option", nested(1), nested(2), Options{MaxDepth: 1}, ReasonDepth},
		{"labels", `[{` + labels("x", 64) + `"n":"a","v":1}]`, `[{` + labels("x", 65) + `"n":"a","v":1}]`, Options{}, ReasonTooMany},
		{"labels of melted records", `[{` + labels("x", 63) + `"bn":"a"},{"x":1,"v":1},{"y":1,"v":2}]`,
			`[{` + labels("x", 63) + `"bn":"a"},{"x":1,"y":1,"v":1}]`, Options{}, ReasonTooMany},
		{"labels of two melted records", `[{` + labels("x", 40) + `"bn":"a"},{` + labels("x", 20) + `"v":1},{` + labels("x", 40) + `"bn":"a"},{"v":1}]`,
			`[{` + labels("x", 40) + `"bn":"a"},{` + labels("x", 40) + `"bn":"a"},{"v":1}]`, Options{}, ReasonTooMany},
		{"members", object(64), object(65), Options{}, ReasonTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := refusal(c.good, c.options); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			if err := refusal(c.bad, c.options); err == nil || err.Reason != c.reason {
				t.Errorf("over the limit: %v", err)
			}
		})
	}
}

// The largest bodies that there are, of the costliest kinds, take no time to speak of.
func TestHostileBodies(t *testing.T) {
	const size = 64 << 10
	var labels strings.Builder
	for i := range 64 {
		fmt.Fprintf(&labels, `"label%02d":1,`, i)
	}
	begin := time.Now()
	for _, c := range []struct{ name, body, reason string }{
		{"open arrays", `[{"x":` + strings.Repeat("[", size), ReasonTruncated},
		{"open objects", `[{"x":` + strings.Repeat(`{"a":`, size/5), ReasonTruncated},
		{"digits", `[{"n":"a","v":1` + strings.Repeat("0", size) + `}]`, ReasonRange},
		{"exponent", `[{"n":"a","v":1e` + strings.Repeat("9", size) + `}]`, ReasonRange},
		{"tiny exponent", `[{"n":"a","v":1e-` + strings.Repeat("9", size) + `}]`, ""},
		{"backslashes", `[{"n":"a","vs":"` + strings.Repeat(`\\`, size/2) + `"}]`, ""},
		{"quotes", strings.Repeat(`"`, size), ReasonNotArray},
		{"white space", strings.Repeat(` `, size), ReasonEmpty},
		{"records", `[` + strings.Repeat(`{"bn":"a"},`, size/11), ReasonTooMany},
		{"labels", `[` + strings.Repeat(`{`+labels.String()+`"n":"a","v":1},`, 70) + `{"n":"a","v":1}]`, ""},
	} {
		if got := reasonOf(t, []byte(c.body), Options{MaxDepth: 1 << 20}); got != c.reason {
			t.Errorf("%s: reason %q, want %q", c.name, got, c.reason)
		}
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestDuplicates(t *testing.T) {
	for _, body := range []string{
		`[{"n":"a","\u006e":"b","v":1}]`,
		`[{"n":"a","v":1,"x":1,"x":1}]`,
		`[{"n":"a","v":1,"x":1,"\u0078":1}]`,
		`[{"n":"a","v":1,"x":{"y":1,"y":1}}]`,
		`[{"n":"a","v":1,"x":[{"z":{"y":1,"y":1}}]}]`,
		`[{"n":"a","vd":"AA","vd":"AA"}]`,
		`[{"i_":1,"i_":1,"v":1}]`,
		`[{"bver":10,"bver":10,"n":"a","v":1}]`,
	} {
		if err := refusal(body, Options{}); err == nil || err.Reason != ReasonDuplicate {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{
		`[{"n":"a","v":1,"x":{"y":1},"y":{"y":{"y":1}}},{"n":"a","v":1,"x":1}]`,
		`[{"n":"a","v":1,"N":1,"V":1,"X":1,"x":1}]`,
	} {
		if err := refusal(body, Options{}); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestVersion(t *testing.T) {
	for body, version := range map[string]int{
		`[{"n":"a","v":1}]`:                                     10,
		`[{"n":"a","v":1},{"bver":10,"n":"b","v":1}]`:           10,
		`[{"bver":10.0,"n":"a","v":1}]`:                         10,
		`[{"bn":"a"},{"bver":5,"v":1},{"bver":5,"v":1}]`:        5,
		`[{"bn":"a","bver":5},{"v":1},{"bt":1700000000}]`:       5,
		`[{"bn":"a","bver":5},{"bver":6},{"v":1}]`:              0,
		`[{"bn":"a","v":1},{"bver":9}]`:                         0,
		`[{"n":"a","v":1,"bver":1e0},{"bver":1,"n":"a","v":1}]`: 1,
	} {
		var p Pack
		err := p.Decode([]byte(body), Options{})
		if version == 0 {
			if err == nil || err.(*Error).Reason != ReasonVersion {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		p = *mustDecode(t, body)
		for m := range p.Resolved() {
			if m.Version != version {
				t.Errorf("%s: version %d", body, m.Version)
			}
		}
	}
}

func TestBinary(t *testing.T) {
	for _, c := range []struct{ sent, kpn, strict string }{
		{"aGkgCg", "aGkgCg", "aGkgCg"},
		{"-_-_", "-_-_", "-_-_"},
		{"+/++AA", "-_--AA", ""},
		{"aGkgCg==", "aGkgCg", ""},
		{"aGkgCg=", "", ""},
		{"aGkg====", "", ""},
		{"A===", "", ""},
		{"AA=A", "", ""},
		{"A A", "", ""},
		{`\u002b\u002f+\/`, "-_-_", ""},
	} {
		body := `[{"n":"a","vd":"` + c.sent + `"}]`
		for profile, want := range []string{c.kpn, c.strict} {
			var p Pack
			err := p.Decode([]byte(body), Options{Profile: Profile(profile)})
			switch {
			case want == "" && (err == nil || err.(*Error).Reason != ReasonBinary):
				t.Errorf("%s, profile %d: %v", body, profile, err)
			case want != "" && (err != nil || string(p.Records[0].Text) != want):
				t.Errorf("%s, profile %d: %s, %v", body, profile, p.Records[0].Text, err)
			}
		}
	}
}

func TestThingsML(t *testing.T) {
	p := mustDecode(t, string(deviceBodies(t)["c1-thingsml-5rec"]))
	want := []string{"humidity %RH", "power W", "pressure Pa", "temperature Cel", "breadth m"}
	for i, r := range p.Records {
		if got := string(r.Name) + " " + string(r.Unit); got != want[i] || !r.HasIndex || !r.HasName || !r.HasUnit {
			t.Errorf("record %d: %s %+v", i+1, got, r)
		}
	}
	p = mustDecode(t, `[{"bu":"K","i_":-24,"u":"Far","v":1},{"i_":14,"v":2},{"i_":0,"v":3}]`)
	for i, want := range []string{"Far", "K", "rad"} { // the record's own, bu where the table has none, the table's
		if got := resolvedOf(p)[i].Unit; got != want {
			t.Errorf("record %d: unit %q, want %q", i+1, got, want)
		}
	}
	for _, index := range []string{"-25", "15", "0.5", "1e300", "-128.5", "300"} {
		if err := refusal(`[{"i_":`+index+`,"v":1}]`, Options{}); err == nil || err.Reason != ReasonIndex {
			t.Errorf("index %s: %v", index, err)
		}
	}
}

// Bytes that other readers take for white space or let pass.
func TestNotWellFormed(t *testing.T) {
	good := []string{
		" \t\r\n[ \t\r\n{ \t\r\n\"n\" \t\r\n: \t\r\n\"a\" \t\r\n, \t\r\n\"v\" : 1 \t\r\n} \t\r\n] \t\r\n",
		"[{\"n\":\"a\",\"vs\":\"\x7f\u2028\"}]",
	}
	for _, body := range good {
		if err := refusal(body, Options{}); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
	for _, space := range []string{"\f", "\v", "\x00", "\u00a0", "\u2028", "\ufeff", "\x1f", "/**/"} {
		for i := range len(good[0]) {
			if good[0][i] == '\r' {
				body := good[0][:i] + space + good[0][i:]
				if err := refusal(body, Options{}); err == nil || !slices.Contains(malformed, err.Reason) {
					t.Errorf("%q: %v", body, err)
				}
			}
		}
	}
	for c := range byte(' ') {
		if err := refusal("[{\"n\":\"a\",\"vs\":\""+string(rune(c))+"\"}]", Options{}); err == nil || err.Reason != ReasonSyntax {
			t.Errorf("control character %d in a string: %v", c, err)
		}
		if err := refusal("[{\"n\":\"a\",\"vs\":\"\\n"+string(rune(c))+"\"}]", Options{}); err == nil || err.Reason != ReasonSyntax {
			t.Errorf("control character %d after an escape: %v", c, err)
		}
	}
}

// Nothing of one body is left for the next.
func TestReuse(t *testing.T) {
	var p Pack
	var room int
	for i := range 10 {
		if err := p.Decode([]byte(`[{"n":"\u0061","v":1,"x":{"y":1},"z":2}]`), Options{}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			room = cap(p.labels)
		}
	}
	if cap(p.labels) != room {
		t.Errorf("room for labels grew from %d to %d", room, cap(p.labels))
	}
	if err := p.Decode([]byte(`[{"bn":"b"}]`), Options{}); err != nil || p.Measurements() != 0 || len(p.Records) != 1 {
		t.Errorf("%d measurements, %d records: %v", p.Measurements(), len(p.Records), err)
	}
	if r := p.Records[0]; r.HasName || r.Kind != None || r.Value.Present() || len(r.Extra) > 0 {
		t.Errorf("left over: %+v", r)
	}
}
