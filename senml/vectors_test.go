package senml

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testIMEI     = "356726104408422"
	testBaseName = "urn:dev:IMEI:" + testIMEI + ":"
)

// receipt is the time of receipt in tests, chosen so that receipt + 1 and the like are exact doubles.
var receipt = time.UnixMilli(1_764_000_000_250)

// vector is a line of testdata/senml.jsonl.
type vector struct {
	ID      string           `json:"id"`
	Format  string           `json:"fmt"`
	Expect  string           `json:"expect"`
	Why     string           `json:"why"`
	Body    string           `json:"body"`
	Hex     string           `json:"hex"`
	Own     bool             `json:"own"`
	Records []expectedRecord `json:"records"`
}

// expectedRecord is a resolved record of a vector.
type expectedRecord struct {
	N  string          `json:"n"`
	T  json.RawMessage `json:"t"`
	U  string          `json:"u"`
	V  *float64        `json:"v"`
	VB *bool           `json:"vb"`
	VS *string         `json:"vs"`
	VD *string         `json:"vd"`
	S  *float64        `json:"s"`
	UT *float64        `json:"ut"`
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	if v.Hex != "" {
		return unhex(t, v.Hex)
	}
	return []byte(strings.NewReplacer("@BN@", testBaseName, "@IMEI@", testIMEI).Replace(v.Body))
}

func vectors(t testing.TB) []vector {
	t.Helper()
	file, err := os.Open("testdata/senml.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []vector
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil || len(all) != 100 {
		t.Fatalf("read %d vectors: %v", len(all), err)
	}
	return all
}

// otherJudge are vectors that must be refused, for a reason that is not in the pack: which device it is for. The bridge's
// uplink path refuses them, with what this package tells it of the first record.
var otherJudge = map[string]string{
	"bn-foreign-13":  "a base name without a device id is a valid name; auth.ParseBaseName refuses it",
	"bn-foreign-15":  "a base name with a 16-digit IMEI is a valid name; auth.ParseBaseName refuses it",
	"bn-second-only": "the first record has no bn, Record.HasBaseName; over MQTT the login gives it",
	"n-escape":       "bn lacks its last colon and n goes on where it stops: Record.BaseName, HasName and Name show both",
}

// kpnTakes are vectors that the KPN profile takes on purpose, though RFC 8428 refuses them.
var kpnTakes = map[string]string{
	"vd-std-alphabet": "KPN's device library sends vd in the standard alphabet",
}

// strictDiffers are the vectors on which the Strict profile decides otherwise than KPN.
var strictDiffers = map[string]string{
	"vd-std-alphabet": ReasonBinary,
	"upper-E":         ReasonNumber,
}

// eitherTaken says what we chose where a vector leaves it open.
var eitherTaken = map[string]bool{
	"dup-key-case":    true,  // Bn is an unknown label, as labels are case-sensitive
	"upper-E":         true,  // KPN Things itself writes 1.6595711995E9
	"far-past":        false, // resolved times lie in 2^28 and later
	"bom":             false, // RFC 8259 §8.1 forbids to send it; its bytes are part of the token's hash, so the sender must know
	"bn-foreign-1":    true,  // another spelling of the same device
	"bn-foreign-3":    true,
	"bn-foreign-7":    true, // only characters that names may have
	"cbor-label-text": false,
}

func TestVectors(t *testing.T) {
	differing := map[string]string{}
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			kpn, strict := resolveVector(t, v, KPN), resolveVector(t, v, Strict)
			if want := v.taken(t); (kpn == nil) != want {
				t.Errorf("taken in the KPN profile: %v, want %v (%s); error: %v", kpn == nil, want, v.Why, kpn)
			}
			if (kpn == nil) != (strict == nil) {
				differing[v.ID] = strict.Reason
			}
		})
	}
	if len(differing) != len(strictDiffers) {
		t.Errorf("profiles differ on %v, want %v", differing, strictDiffers)
	}
	for id, reason := range strictDiffers {
		if differing[id] != reason {
			t.Errorf("%s: strict reason %q, want %q", id, differing[id], reason)
		}
	}
}

// taken says whether the KPN profile must take the vector.
func (v vector) taken(t *testing.T) bool {
	t.Helper()
	_, other := otherJudge[v.ID]
	_, lenient := kpnTakes[v.ID]
	switch {
	case v.Format != "json":
		return false
	case v.Expect == "either":
		taken, known := eitherTaken[v.ID]
		if !known {
			t.Errorf("no choice is written down for an open vector")
		}
		return taken
	case v.Expect == "invalid" && (other || lenient):
		return true
	}
	return v.Expect == "valid"
}

// resolveVector decodes and resolves a vector, and compares what comes of it with the expected records.
func resolveVector(t *testing.T, v vector, profile Profile) *Error {
	t.Helper()
	var p Pack
	err := p.Decode(v.bytes(t), Options{Profile: profile})
	if err == nil {
		err = p.Resolve(receipt)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Reason == "" || strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("not a one-line *Error with a reason: %#v", err)
		}
		if v.Format != "json" && !strings.Contains(err.Error(), "not JSON") {
			t.Errorf("%s body: error does not say that it is not JSON: %v", v.Format, err)
		}
		return e
	}
	if _, other := otherJudge[v.ID]; !other && v.Records != nil {
		compareVector(t, v, slices.Collect(p.Resolved()))
	}
	return nil
}

// compareVector compares measurements with a vector's, which are in chronological order.
func compareVector(t *testing.T, v vector, got []Resolved) {
	t.Helper()
	slices.SortStableFunc(got, func(a, b Resolved) int { return cmp.Compare(a.Time, b.Time) })
	if len(got) != len(v.Records) {
		t.Fatalf("%d records, want %d", len(got), len(v.Records))
	}
	for i, want := range v.Records {
		if expected := want.resolved(t, v); !sameResolved(got[i], expected) {
			t.Errorf("record %d:\n got %+v\nwant %+v", i+1, got[i], expected)
		}
	}
}

func (e expectedRecord) resolved(t *testing.T, v vector) Resolved {
	t.Helper()
	m := Resolved{Name: strings.ReplaceAll(e.N, "@BN@", testBaseName), Unit: e.U, Version: 10}
	if v.ID == "bver-lower" || v.ID == "rfc-5.1.2b" {
		m.Version = 5
	}
	var relative struct{ Now float64 }
	if json.Unmarshal(e.T, &m.Time) != nil {
		if err := json.Unmarshal(e.T, &relative); err != nil {
			t.Fatal(err)
		}
		m.Time = float64(receipt.UnixMilli())/1000 + relative.Now
	}
	switch {
	case e.V != nil:
		m.Kind, m.Number = Number, *e.V
	case e.VB != nil:
		m.Kind, m.Bool = Bool, *e.VB
	case e.VS != nil:
		m.Kind, m.Text = String, *e.VS
	case e.VD != nil:
		m.Kind, m.Text = Binary, *e.VD
	}
	if e.S != nil {
		m.Sum, m.HasSum = *e.S, true
	}
	if e.UT != nil {
		m.UpdateTime, m.HasUpdateTime = *e.UT, true
	}
	return m
}

// sameResolved is equality, of doubles to the last bit (and the sign of zero).
func sameResolved(a, b Resolved) bool {
	return a == b && math.Signbit(a.Number) == math.Signbit(b.Number) && math.Signbit(a.Sum) == math.Signbit(b.Sum)
}
