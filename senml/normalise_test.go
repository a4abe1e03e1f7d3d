package senml

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func resolvedOf(p *Pack) []Resolved { return slices.Collect(p.Resolved()) }

func TestNormalise(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"no time: receipt", `[{"n":"a","v":1},{"n":"b","t":-60,"v":2}]`,
			`[{"bt":1764000000.25,"n":"a","v":1},{"n":"b","v":2,"t":-60}]`},
		{"own time", `[{"bn":"d:","bt":1600000000.000000,"n":"a","v":31.420000},{"n":"b","v":6e1}]`,
			`[{"bn":"d:","bt":1600000000.000000,"n":"a","v":31.420000},{"n":"b","v":6e1}]`},
		{"relative bt", `[{"bt":-10,"n":"a","v":1},{"n":"b","t":-1,"v":2}]`,
			`[{"bt":1763999990.25,"n":"a","v":1},{"n":"b","v":2,"t":-1}]`},
		{"absolute t without bt", `[{"n":"a","t":1.7e9,"v":1},{"n":"b","v":2},{"n":"c","t":1700000001,"v":3},{"n":"d","t":1700000001,"v":4}]`,
			`[{"bt":1.7e9,"n":"a","v":1},{"bt":1764000000.25,"n":"b","v":2},{"bt":1700000001,"n":"c","v":3},{"n":"d","v":4}]`},
		{"bt 0 is none", `[{"bt":0,"n":"a","v":1},{"n":"b","t":1700000000,"v":2}]`,
			`[{"bt":1764000000.25,"n":"a","v":1},{"bt":1700000000,"n":"b","v":2}]`},
		{"bt small, sum absolute", `[{"bt":268435450,"n":"a","t":10,"v":1},{"n":"b","t":11,"v":2}]`,
			`[{"bt":268435450,"n":"a","v":1,"t":10},{"n":"b","v":2,"t":11}]`},
		{"bt absolute, sum relative", `[{"bt":1700000000,"n":"a","v":1},{"n":"b","t":-1700000000,"v":2}]`,
			`[{"bt":1700000000,"n":"a","v":1},{"bt":3464000000.25,"n":"b","v":2,"t":-1700000000}]`},
		{"bt repeated", `[{"bt":1700000000,"n":"a","v":1},{"bt":1.7e9,"n":"b","v":2},{"bt":1700000001,"n":"c","v":3}]`,
			`[{"bt":1700000000,"n":"a","v":1},{"n":"b","v":2},{"bt":1700000001,"n":"c","v":3}]`},
		{"base record", `[{"bn":"d:","bt":1700000000,"bver":10},{"n":"a","v":1}]`,
			`[{"bn":"d:","bt":1700000000,"bver":10,"n":"a","v":1}]`},
		{"base records, the last field holds", `[{"bn":"d:","bu":"V","bv":1},{"bn":"e:","bs":2},{"bv":3,"n":"a","v":1}]`,
			`[{"bn":"e:","bt":1764000000.25,"bu":"V","bv":3,"bs":2,"n":"a","v":1}]`},
		{"base record at the end", `[{"n":"a","v":1},{"bn":"d:","x":1}]`, `[{"bt":1764000000.25,"n":"a","v":1}]`},
		{"order of fields", `[{"ut":5,"t":-1,"s":2,"vs":"x","u":"V","n":"a","bver":10,"bs":1,"bv":2,"bu":"A","bn":"d:"}]`,
			`[{"bn":"d:","bt":1764000000.25,"bu":"A","bv":2,"bs":1,"bver":10,"n":"a","u":"V","vs":"x","s":2,"t":-1,"ut":5}]`},
		{"unknown labels", `[{"x": { "a b" : [ 1.0, "c d", null ] },"n":"a","Bn":"e","v":1,"\u00e9\n":true}]`,
			`[{"bt":1764000000.25,"n":"a","v":1,"x":{"a b":[1.0,"c d",null]},"Bn":"e","é\n":true}]`},
		{"unknown labels of base records", `[{"bn":"d:","x":1,"y":1},{"bt":1700000000,"y":2,"z":2},{"z":3,"n":"a","v":1},{"n":"b","v":2}]`,
			`[{"bn":"d:","bt":1700000000,"n":"a","v":1,"x":1,"y":2,"z":3},{"n":"b","v":2}]`},
		{"binary", `[{"n":"a","vd":"+/++AA=="}]`, `[{"bt":1764000000.25,"n":"a","vd":"-_--AA"}]`},
		{"strings", `[{"n":"a","u":"","vs":"\u003c\u20ac\/\"\\\n\u0000\u001f\u007f"}]`,
			`[{"bt":1764000000.25,"n":"a","u":"","vs":"<€/\"\\\n\u0000\u001f` + "\x7f" + `"}]`},
		{"ThingsML", `[{"bn":"d:","i_":-24,"v":1},{"i_":13,"vb":true},{"i_":5,"u":"/","v":0.5}]`,
			`[{"bn":"d:","bt":1764000000.25,"n":"temperature","u":"Cel","v":1},{"n":"presence","vb":true},{"n":"batteryLevel","u":"/","v":0.5}]`},
		{"heartbeat", `[{"bn":"d:","bt":1700000000}]`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustDecode(t, c.body)
			got := string(p.AppendNormalised([]byte(">")))
			if got != ">"+c.want {
				t.Fatalf("got  %s\nwant >%s", got, c.want)
			}
			if c.want != "" {
				checkRoundTrip(t, p)
			}
		})
	}
}

// fataler is what of *testing.T a *rapid.T has too.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkRoundTrip makes sure that the normalised pack says what the pack says, at whatever time it is read.
func checkRoundTrip(t fataler, p *Pack) {
	t.Helper()
	text := p.AppendNormalised(nil)
	want := resolvedOf(p)
	if !json.Valid(text) {
		t.Fatalf("not JSON: %s", text)
	}
	for _, now := range []time.Time{receipt, time.UnixMilli(1e12), time.UnixMilli(4e12 + 1)} {
		var q Pack
		if err := q.Decode(text, Options{}); err != nil {
			t.Fatalf("decode normalised %s: %v", text, err)
		}
		if err := q.Resolve(now); err != nil {
			t.Fatalf("resolve normalised %s: %v", text, err)
		}
		if got := resolvedOf(&q); !slices.EqualFunc(got, want, sameResolved) {
			t.Fatalf("normalised %s\n got %+v\nwant %+v", text, got, want)
		}
		if !q.FixesTime() || q.Newest() != p.Newest() || !q.Records[0].BaseTime.Present() {
			t.Fatalf("normalised %s: times are not fixed", text)
		}
		if again := q.AppendNormalised(nil); string(again) != string(text) {
			t.Fatalf("normalised again\n got %s\nwant %s", again, text)
		}
	}
}

func TestNormaliseVectors(t *testing.T) {
	n := 0
	for _, v := range vectors(t) {
		var p Pack
		if p.Decode(v.bytes(t), Options{}) == nil && p.Resolve(receipt) == nil && p.Measurements() > 0 {
			t.Run(v.ID, func(t *testing.T) { checkRoundTrip(t, &p) })
			n++
		}
	}
	if n < 30 {
		t.Errorf("only %d vectors were taken", n)
	}
}

func TestFixesTime(t *testing.T) {
	for body, want := range map[string]bool{
		`[{"bt":1700000000,"n":"a","v":1},{"n":"b","t":5,"v":2}]`:         true,
		`[{"n":"a","t":1700000000,"v":1},{"n":"b","t":1700000001,"v":2}]`: true,
		`[{"n":"a","t":1700000000,"v":1},{"n":"b","v":2}]`:                false,
		`[{"n":"a","v":1},{"bt":1700000000,"n":"b","v":2}]`:               false,
		`[{"bt":-5,"n":"a","v":1}]`:                                       false,
		`[{"bt":268435450,"n":"a","t":10,"v":1}]`:                         true,
		`[{"bt":1700000000,"n":"a","t":-1700000000,"v":1}]`:               false,
		`[{"n":"a","t":268435456,"v":1}]`:                                 true,
		`[{"n":"a","t":268435455.9,"v":1}]`:                               false,
		`[{"bn":"a"}]`:                                                    false,
		`[{"bn":"a","bt":1700000000}]`:                                    true,
	} {
		if got := mustDecode(t, body).FixesTime(); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestNewest(t *testing.T) {
	for body, want := range map[string]float64{
		`[{"bt":1700000000,"n":"a","t":7,"v":1},{"n":"b","t":5,"v":2}]`: 1700000007,
		`[{"n":"a","t":-5,"v":1}]`:                                      1763999995.25,
		`[{"bn":"a"}]`:                                                  1764000000.25,
		`[{"bn":"a","bt":1700000000}]`:                                  1700000000,
	} {
		if got := mustDecode(t, body).Newest(); got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	p := mustDecode(t, `[{"bn":"urn:dev:IMEI:356726104408422:"}]`)
	if p.Measurements() != 0 || len(resolvedOf(p)) != 0 {
		t.Errorf("%d measurements: %v", p.Measurements(), resolvedOf(p))
	}
}

// The caller's base names, filled in or respelt, are those that are checked and written.
func TestReplacedBaseName(t *testing.T) {
	var p Pack
	if err := p.Decode([]byte(`[{"n":"a","v":1},{"bn":"URN:DEV:imei:1","n":"b","v":2}]`), Options{}); err != nil {
		t.Fatal(err)
	}
	p.Records[0].BaseName, p.Records[0].HasBaseName = []byte("urn:dev:IMEI:1:"), true
	p.Records[1].BaseName = []byte("urn:dev:IMEI:1:")
	if err := p.Resolve(receipt); err != nil {
		t.Fatal(err)
	}
	const want = `[{"bn":"urn:dev:IMEI:1:","bt":1764000000.25,"n":"a","v":1},{"bn":"urn:dev:IMEI:1:","n":"b","v":2}]`
	if got := string(p.AppendNormalised(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.Records[1].BaseName = []byte("urn dev")
	if err := p.Resolve(receipt); err == nil || err.(*Error).Reason != ReasonName {
		t.Errorf("a bad base name set by the caller: %v", err)
	}
}

// A sum is bs + s, and bs alone is one (RFC 8428 §4.5.4); a text has no sum with bv.
func TestBaseSumAndValue(t *testing.T) {
	got := resolvedOf(mustDecode(t, `[{"bs":10,"bv":100,"n":"a","v":1,"s":2},{"n":"b","vs":"x"},{"n":"c","s":1}]`))
	for i, want := range []Resolved{{Kind: Number, Number: 101, Sum: 12}, {Kind: String, Text: "x", Sum: 10}, {Sum: 11}} {
		g := got[i]
		if g.Kind != want.Kind || g.Number != want.Number || g.Text != want.Text || g.Sum != want.Sum || !g.HasSum {
			t.Errorf("record %d: %+v", i+1, g)
		}
	}
}

func TestResolvedStops(t *testing.T) {
	n := 0
	for range mustDecode(t, `[{"n":"a","v":1},{"n":"b","v":2}]`).Resolved() {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d measurements after break", n)
	}
}
