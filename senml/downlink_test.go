package senml

import (
	"bytes"
	"strings"
	"testing"
)

func downlinkOf(t testing.TB, body, baseName string) string {
	t.Helper()
	var p Pack
	if err := p.Decode([]byte(body), Options{}); err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	return string(p.AppendDownlink(nil, baseName))
}

// WIRE.md's table of what devices read, row by row.
func TestDownlink(t *testing.T) {
	const bn, base = testBaseName, `{"bn":"` + testBaseName + `"}`
	for _, c := range []struct{ name, body, baseName, want string }{
		{"base record first", `[{"bn":"` + bn + `","n":"interval","v":60}]`, bn, `[` + base + `,{"n":"interval","v":60}]`},
		{"no bn", `[{"n":"interval","v":60}]`, bn, `[` + base + `,{"n":"interval","v":60}]`},
		{"empty bn", `[{"bn":"","n":"interval","v":60}]`, bn, `[` + base + `,{"n":"interval","v":60}]`},
		{"n before v", `[{"v":60,"t":5,"n":"interval","u":"s"}]`, bn, `[` + base + `,{"n":"interval","u":"s","v":60,"t":5}]`},
		{"n even if empty", `[{"bn":"` + bn + `","v":60}]`, bn, `[` + base + `,{"n":"","v":60}]`},
		{"bn without colon", `[{"bn":"urn:dev:IMEI:` + testIMEI + `","n":"a","v":1}]`, bn, `[` + base + `,{"n":"a","v":1}]`},
		{"device without colon", `[{"bn":"` + bn + `","n":"a","v":1}]`, strings.TrimSuffix(bn, ":"),
			`[{"bn":"urn:dev:IMEI:` + testIMEI + `"},{"n":"a","v":1}]`},
		{"bn in another case", `[{"bn":"` + bn + `","n":"a","v":1}]`, "URN:DEV:imei:" + testIMEI + ":",
			`[{"bn":"URN:DEV:imei:` + testIMEI + `:"},{"n":"a","v":1}]`},
		{"resolved names", `[{"n":"` + bn + `interval","v":60},{"n":"URN:dev:IMEI:` + testIMEI + `:b","v":1}]`, bn,
			`[` + base + `,{"n":"interval","v":60},{"n":"b","v":1}]`},
		{"a name that repeats bn means what it says", `[{"bn":"` + bn + `","n":"` + bn + `a","v":1}]`, bn, `[` + base + `,{"n":"` + bn + `a","v":1}]`},
		{"white space", " [ { \"n\" : \"a\" ,\n \"v\" : 6e1 , \"x\" : [ 1 , 2 ] } ] ", bn, `[` + base + `,{"n":"a","v":6e1,"x":[1,2]}]`},
		{"no HTML escape", `[{"n":"url","vs":"http:\/\/h/?a=1\u0026b=\u003c2>"}]`, bn, `[` + base + `,{"n":"url","vs":"http://h/?a=1&b=<2>"}]`},
		{"UTF-8", `[{"n":"a","vs":"\u20ac"}]`, bn, `[` + base + `,{"n":"a","vs":"€"}]`},
		{"short escapes", `[{"n":"a","vs":"\u0022\u005c\u000a\u0009\u0001"}]`, bn, `[` + base + `,{"n":"a","vs":"\"\\\n\t\u0001"}]`},
		{"vd in the standard alphabet", `[{"n":"a","vd":"-_--AA"},{"n":"b","vd":"-_--AA=="},{"n":"c_-","vd":""}]`, bn,
			`[` + base + `,{"n":"a","vd":"+/++AA"},{"n":"b","vd":"+/++AA"},{"n":"c_-","vd":""}]`},
		{"ThingsML stays", `[{"i_":-24,"v":20},{"i_":-24,"u":"K","v":20}]`, bn, `[` + base + `,{"i_":-24,"v":20},{"i_":-24,"u":"K","v":20}]`},
		{"labels like names last", `[{"note":"x","n":"a","v":1}]`, bn, `[` + base + `,{"n":"a","v":1,"note":"x"}]`},
		{"other base fields", `[{"bn":"` + bn + `","bv":20,"x":1},{"bu":"V"},{"n":"a","v":1},{"n":"b","v":2}]`, bn,
			`[` + base + `,{"bu":"V","bv":20,"n":"a","v":1,"x":1},{"n":"b","v":2}]`},
		{"bn repeated", `[{"bn":"` + bn + `","n":"a","v":1},{"bn":"` + bn + `","n":"b","v":2}]`, bn, `[` + base + `,{"n":"a","v":1},{"n":"b","v":2}]`},
		{"a gateway's child and back", `[{"bn":"` + bn + `c1:","n":"a","v":1},{"n":"b","v":2},{"bn":"` + bn + `","n":"c","v":3}]`, bn,
			`[` + base + `,{"bn":"` + bn + `c1:"},{"n":"a","v":1},{"n":"b","v":2},` + base + `,{"n":"c","v":3}]`},
		{"a child, device without colon", `[{"bn":"` + bn + `c1:","n":"a","v":1}]`, strings.TrimSuffix(bn, ":"),
			`[{"bn":"urn:dev:IMEI:` + testIMEI + `"},{"bn":"` + bn + `c1:"},{"n":"a","v":1}]`},
		{"another IMEI that begins alike", `[{"bn":"urn:dev:IMEI:` + testIMEI + `9:","n":"a","v":1}]`, bn,
			`[` + base + `,{"bn":"urn:dev:IMEI:` + testIMEI + `9:"},{"n":"a","v":1}]`},
		{"base names only", `[{"bn":"` + bn + `"}]`, bn, `[` + base + `]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := downlinkOf(t, c.body, c.baseName); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// KPN's fixture of a downlink, byte for byte.
func TestDownlinkFixture(t *testing.T) {
	const want = `[{"bn":"` + testBaseName + `"},{"n":"url","vs":"http://h/f.bin"},{"n":"token","vs":"0a"}]`
	if got := downlinkOf(t, `[{"n":"url","vs":"http://h/f.bin"},{"n":"token","vs":"0a"}]`, testBaseName); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever pack an app sends, what leaves begins with "[", has no white space between tokens, and means the same.
func TestDownlinkVectors(t *testing.T) {
	for _, v := range vectors(t) {
		var p, q Pack
		if p.Decode(v.bytes(t), Options{}) != nil || p.Resolve(receipt) != nil || !v.Own {
			continue
		}
		text := p.AppendDownlink(nil, testBaseName)
		if !bytes.HasPrefix(text, []byte(`[{"bn":"`+testBaseName+`"}`)) {
			t.Errorf("%s: %s", v.ID, text)
		}
		if err := q.Decode(text, Options{}); err != nil {
			t.Fatalf("%s: %s: %v", v.ID, text, err)
		}
		if err := q.Resolve(receipt); err != nil {
			t.Fatalf("%s: %s: %v", v.ID, text, err)
		}
		got, want := resolvedOf(&q), resolvedOf(&p)
		for i := range want {
			// A record before the first bn is the device's own in a downlink.
			want[i].Name = testBaseName + strings.TrimPrefix(want[i].Name, testBaseName)
			if got[i] != want[i] {
				t.Errorf("%s:\n got %+v\nwant %+v", v.ID, got[i], want[i])
			}
		}
	}
}
