package senml

import (
	"crypto/sha256"
	"encoding/json"
	"testing"
)

// benchPack is the pack of DESIGN.md's measurements: 302 bytes, 8 records.
const benchPack = `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1700000000,"n":"temperature","u":"Cel","v":21.5},` +
	`{"n":"humidity","u":"%RH","v":47.25},{"n":"latitude","u":"lat","v":52.07},{"n":"longitude","u":"lon","v":4.31},` +
	`{"n":"b","u":"V","v":3.6},{"n":"open","vb":false},{"n":"modus","vs":"active"},{"n":"cnt","v":117}]`

func TestBenchPack(t *testing.T) {
	if len(benchPack) != 302 {
		t.Errorf("the benchmarks' pack has %d bytes, not 302", len(benchPack))
	}
	if p := mustDecode(t, benchPack); len(p.Records) != 8 {
		t.Errorf("the benchmarks' pack has %d records, not 8", len(p.Records))
	}
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(benchPack)
	var p Pack
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := p.Decode(body, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUplink is all that an uplink has done to its pack: read, checked, resolved, written for apps.
func BenchmarkUplink(b *testing.B) {
	body := []byte(benchPack)
	var p Pack
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Decode(body, Options{}); err != nil {
			b.Fatal(err)
		}
		if err := p.Resolve(receipt); err != nil {
			b.Fatal(err)
		}
		out = p.AppendNormalised(out[:0])
	}
}

// BenchmarkEncodingJSON is the standard library on the same pack, without any of the checks.
func BenchmarkEncodingJSON(b *testing.B) {
	body := []byte(benchPack)
	type record struct {
		BN               *string
		BT, BV, V, S, T  *float64
		N, U, VS, VD, BU *string
		VB               *bool
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		var pack []record
		if err := json.Unmarshal(body, &pack); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSHA256(b *testing.B) {
	body := []byte(benchPack)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		sha256.Sum256(body)
	}
}

func TestNoAllocations(t *testing.T) {
	escaped := `[{"\u0062n":"urn:dev:IMEI:356726104408422:"},{"i_":-24,"v":1,"x":{"a":[1,{"b":"\n"}]}},{"n":"b","vd":"+/+/"},{"n":"c","vs":"\u00e9"}]`
	for _, body := range []string{benchPack, escaped} {
		p, body, out := Pack{}, []byte(body), []byte(nil)
		if n := testing.AllocsPerRun(100, func() {
			if err := p.Decode(body, Options{}); err != nil {
				t.Fatal(err)
			}
			if err := p.Resolve(receipt); err != nil {
				t.Fatal(err)
			}
			p.FixesTime()
			out = p.AppendNormalised(out[:0])
			out = p.AppendDownlink(out[:0], testBaseName)
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, body)
		}
	}
}
