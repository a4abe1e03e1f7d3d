package senml

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// seed adds every body that the tests know.
func seed(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.bytes(f))
	}
	for _, body := range deviceBodies(f) {
		f.Add(body)
	}
	f.Add([]byte(benchPack))
	f.Add([]byte(` [ { "bn" : "d:" , "x" : { "y" : [ 1 , -0.5e-3 , null , "\ud83d\ude00" ] } } , { "n" : "a" , "vb" : true } ] `))
	f.Add([]byte(`[{"bt":-5,"n":"a","t":1700000000,"v":1},{"bn":"","x":1,"y":2},{"x":3,"i_":5,"s":2,"bs":1e300}]`))
}

// malformed are the reasons that say that a body is not well-formed, as opposed to not SenML.
var malformed = []string{ReasonEmpty, ReasonNotJSON, ReasonBOM, ReasonTruncated, ReasonTrailing, ReasonSyntax, ReasonNumber,
	ReasonUTF8, ReasonSurrogate, ReasonDuplicate}

// FuzzDecode holds the reader against the standard library's, made strict: what is taken is well-formed and read alike, and
// what is called malformed is.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		var p Pack // used before, as in the bridge: nothing of one body shows in the next
		_ = p.Decode([]byte(benchPack), Options{})
		err := p.Decode(body, Options{})
		if !bytes.Equal(before, body) {
			t.Fatalf("the body was changed: %q", before)
		}
		strictly := new(Pack).Decode(body, Options{Profile: Strict})
		if err == nil {
			if !wellFormed(body) {
				t.Fatalf("taken, but not well-formed: %q", body)
			}
			compareRecords(t, body, &p)
			_ = p.Resolve(receipt)
			return
		}
		if strictly == nil {
			t.Fatalf("taken in the strict profile only: %q: %v", body, err)
		}
		e := err.(*Error)
		if slices.Contains(malformed, e.Reason) && wellFormed(body) {
			t.Fatalf("well-formed, but refused as %s: %q", e.Reason, body)
		}
		if text := e.Error(); strings.ContainsAny(text, "\r\n\x1b") || !utf8.ValidString(text) || len(text) > 300 {
			t.Fatalf("not one short line: %q", text)
		}
	})
}

// wellFormed is strict JSON (RFC 8259) by means of encoding/json and of what it leaves out.
func wellFormed(body []byte) bool {
	if !json.Valid(body) || !utf8.Valid(body) || loneSurrogate(body) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if repeats(d) {
		return false
	}
	_, err := d.Token()
	return err == io.EOF
}

// repeats says whether the next value of valid JSON has an object with a member twice.
func repeats(d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return true
	}
	if token != json.Delim('{') && token != json.Delim('[') {
		return false
	}
	seen := map[string]bool{}
	for d.More() {
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil || seen[key.(string)] {
				return true
			}
			seen[key.(string)] = true
		}
		if repeats(d) {
			return true
		}
	}
	_, err = d.Token()
	return err != nil
}

// loneSurrogate says whether valid JSON has a \u escape of half a surrogate pair.
func loneSurrogate(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++
		if body[i] != 'u' {
			continue
		}
		r := escapedUnit(body[i-1:])
		i += 4
		if !utf16.IsSurrogate(r) {
			continue
		}
		if utf16.DecodeRune(r, escapedUnit(body[i+1:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escapedUnit is the number of the \uXXXX that the text begins with, 0 if it begins otherwise.
func escapedUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	var s string
	if json.Unmarshal([]byte(`"0x`+string(text[2:6])+`"`), &s) != nil {
		return 0
	}
	var r rune
	for _, c := range strings.ToLower(s[2:]) {
		r = r<<4 | rune(strings.IndexRune("0123456789abcdef", c))
	}
	return r
}

// compareRecords holds each field of a taken body against encoding/json's reading of it.
func compareRecords(t *testing.T, body []byte, p *Pack) {
	t.Helper()
	var want []map[string]json.RawMessage
	if err := json.Unmarshal(body, &want); err != nil || len(want) != len(p.Records) {
		t.Fatalf("%d records of %d: %v", len(p.Records), len(want), err)
	}
	for i := range p.Records {
		if got := fieldsOf(&p.Records[i], want[i]); len(want[i]) != got {
			t.Fatalf("record %d: %d fields read as they are, of %d: %q", i+1, got, len(want[i]), body)
		}
	}
}

// fieldsOf is how many of the labels of a record are in it with their value.
func fieldsOf(r *Record, want map[string]json.RawMessage) int {
	n := 0
	for _, label := range r.Extra {
		if bytes.Equal(want[string(label.Name)], label.Raw) {
			n++
		}
	}
	for label, raw := range want {
		var s string
		isText := json.Unmarshal(raw, &s) == nil
		numbers := map[string]Numeral{"bt": r.BaseTime, "bv": r.BaseValue, "bs": r.BaseSum, "bver": r.BaseVersion,
			"v": r.Value, "s": r.Sum, "t": r.Time, "ut": r.UpdateTime}
		texts := map[string]struct {
			has  bool
			text []byte
		}{
			"bn": {r.HasBaseName, r.BaseName}, "bu": {r.HasBaseUnit, r.BaseUnit}, "n": {r.HasName && !r.HasIndex, r.Name},
			"u": {r.HasUnit && !r.indexUnit, r.Unit}, "vs": {r.Kind == String, r.Text},
		}
		switch {
		case label == "vb" && r.Kind == Bool && string(raw) == map[bool]string{true: "true", false: "false"}[r.Bool],
			label == "vd" && r.Kind == Binary && isText && strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(s), "=") == string(r.Text),
			label == "i_" && r.HasIndex,
			numbers[label].Present() && string(numbers[label].Text) == string(raw),
			texts[label].has && isText && string(texts[label].text) == s:
			n++
		}
	}
	return n
}

// FuzzNormalise: what apps get says what the device sent, whenever they read it; what a device gets is a pack too.
func FuzzNormalise(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var p, q Pack
		if p.Decode(body, Options{}) != nil || p.Resolve(receipt) != nil {
			return
		}
		if err := q.Decode(p.AppendDownlink(nil, testBaseName), Options{MaxRecords: 2100}); err != nil {
			t.Fatalf("downlink of %q: %v", body, err)
		}
		if p.Measurements() == 0 {
			return
		}
		checkRoundTrip(t, &p)
		text := p.AppendNormalised(nil)
		if bytes.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("more than a line: %q", text)
		}
		if err := q.Decode(text, Options{}); err != nil {
			t.Fatal(err)
		}
		if got, want := extrasOf(&q), extrasOf(&p); !slices.Equal(got, want) {
			t.Fatalf("unknown labels of %q:\n got %q\nwant %q", body, got, want)
		}
	})
}

// extrasOf are the unknown labels of each measurement, those of the base records before it among them, sorted.
func extrasOf(p *Pack) []string {
	var all []string
	merged := map[string]string{}
	for i := range p.Records {
		r := &p.Records[i]
		for _, label := range r.Extra {
			var compact bytes.Buffer
			if err := json.Compact(&compact, label.Raw); err != nil {
				return []string{err.Error()}
			}
			merged[string(label.Name)] = compact.String()
		}
		if !r.Measures() {
			continue
		}
		var labels []string
		for name, value := range merged {
			labels = append(labels, name+"="+value)
		}
		slices.Sort(labels)
		all = append(all, strings.Join(labels, "\n"))
		clear(merged)
	}
	return all
}
