package senml

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawPack draws a body of records that are well-formed and mostly make a valid pack: any mix of base records and measurements,
// of absolute, relative and crossing times, of escapes, white space and unknown labels.
func drawPack(t *rapid.T) string {
	records := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 6).Draw(t, "records")
	return "[" + strings.Join(records, ",") + "]"
}

func drawRecord(t *rapid.T) string {
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?([eE][+-]?[0-9])?`)
	times := rapid.OneOf(number, rapid.SampledFrom([]string{"0", "-0.0", "1700000000", "1.7e9", "-1700000000", "1600000000.125", "268435450", "-60", "1.7e+09"}))
	text := rapid.SampledFrom([]string{`""`, `"V"`, `"\u20ac"`, `"€"`, `"\\\"\/\n\u0000"`, `"\ud83d\ude00"`})
	value := rapid.OneOf(number, text, rapid.SampledFrom([]string{"true", "null", `{"a" : [ 1, {} ]}`, `[ ]`}))
	var fields []string
	add := func(label string, of *rapid.Generator[string]) {
		if rapid.Bool().Draw(t, label) {
			fields = append(fields, `"`+label+`":`+of.Draw(t, label))
		}
	}
	for _, label := range []string{"bv", "bs"} {
		add(label, number)
	}
	add("bt", times)
	add("bu", text)
	add("bn", rapid.SampledFrom([]string{`"d:"`, `"e\u003a"`, `"` + testBaseName + `"`}))
	add("x", value)
	add("y", value)
	if kind := rapid.SampledFrom([]string{"", "v", "vs", "vb", "vd", "s"}).Draw(t, "kind"); kind != "" {
		fields = append(fields, `"`+kind+`": `+map[string]*rapid.Generator[string]{
			"v": number, "s": number, "vs": text,
			"vb": rapid.SampledFrom([]string{"true", "false"}), "vd": rapid.SampledFrom([]string{`""`, `"+/=="`, `"-_-_"`, `"AA"`}),
		}[kind].Draw(t, kind))
		add("u", text)
		add("t", times)
		add("ut", number)
		if rapid.Bool().Draw(t, "index") {
			fields = append(fields, `"i_":`+rapid.SampledFrom([]string{"-24", "0", "14"}).Draw(t, "i_"))
		} else {
			fields = append(fields, `"n":"n"`)
		}
	}
	return "{" + strings.Join(rapid.Permutation(fields).Draw(t, "order"), " , ") + "}"
}

func TestNormaliseProperty(t *testing.T) {
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		var p Pack
		now := time.UnixMilli(rapid.Int64Range(1e12, 3e12).Draw(t, "now"))
		if p.Decode([]byte(drawPack(t)), Options{}) != nil || p.Resolve(now) != nil || p.Measurements() == 0 {
			return
		}
		taken++
		checkRoundTrip(t, &p)
	})
	if taken < 20 {
		t.Errorf("only %d packs drawn were valid", taken)
	}
}
