package senml

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mustDecode decodes a body in the KPN profile and resolves it at receipt.
func mustDecode(t testing.TB, body string) *Pack {
	t.Helper()
	p := new(Pack)
	if err := p.Decode([]byte(body), Options{}); err != nil {
		t.Fatalf("decode %s: %v", body, err)
	}
	if err := p.Resolve(receipt); err != nil {
		t.Fatalf("resolve %s: %v", body, err)
	}
	return p
}

// deviceBodies are the bodies of testdata/tokens.json, which real clients have sent, by name.
func deviceBodies(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name string
		Body string `json:"body_base64"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]byte{}
	for _, v := range all {
		if bodies[v.Name], err = base64.StdEncoding.DecodeString(v.Body); err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// What real clients send, and what becomes of it in each profile: empty is taken, else the reason.
func TestDeviceBodies(t *testing.T) {
	want := map[string][2]string{
		"c1-thingsml-5rec":      {"", ReasonMustUnderstand},
		"c2-senml-5rec":         {"", ""},
		"c3-senml-1rec":         {"", ""},
		"c4-hexcbor-thingsml":   {ReasonNotArray, ReasonNotArray},
		"c5-hexcbor-senml":      {ReasonNotArray, ReasonNotArray},
		"d1-temp":               {"", ""},
		"d2-bt":                 {"", ""},
		"d4-truncated-bug":      {ReasonTruncated, ReasonTruncated},
		"d5-unescaped":          {ReasonSyntax, ReasonSyntax},
		"d7-empty-pack":         {"", ReasonNoMeasurement},
		"d9-binary":             {"", ReasonBinary},
		"s1-sodaq":              {"", ""},
		"s2-sodaq-trailing-nul": {ReasonTrailing, ReasonTrailing},
		"k1-docs-example":       {"", ReasonNumber},
	}
	bodies := deviceBodies(t)
	if len(bodies) != len(want) {
		t.Errorf("%d bodies, %d expectations", len(bodies), len(want))
	}
	for name, body := range bodies {
		for i, profile := range []Profile{KPN, Strict} {
			if got := reasonOf(t, body, Options{Profile: profile}); got != want[name][i] {
				t.Errorf("%s, profile %d: reason %q, want %q", name, profile, got, want[name][i])
			}
		}
	}
}

// reasonOf is the reason for which a body is refused, empty if it is taken.
func reasonOf(t testing.TB, body []byte, o Options) string {
	t.Helper()
	var p Pack
	err := p.Decode(body, o)
	if err == nil {
		err = p.Resolve(receipt)
	}
	if err == nil {
		return ""
	}
	return err.(*Error).Reason
}
