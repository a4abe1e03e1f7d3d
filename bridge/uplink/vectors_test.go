package uplink

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"m2mbridge/auth/redistest"
)

// vector is a case of senml/testdata/senml.jsonl.
type vector struct {
	ID, Fmt, Expect, Why, Body, Hex string
	Own                             bool // it is the device's own pack
}

// A few vectors hold for RFC 8428 to the letter, which the KPN profile is not.
var takenByKPN = map[string]bool{"vd-std-alphabet": true, "upper-E": true}

// Every vector, rightly signed by the device it would have to be from: its own
// valid packs are stored, and nothing else ever is.
func TestVectors(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{})
	f, err := os.Open("../../senml/testdata/senml.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		t.Run(v.ID, func(t *testing.T) { r.judge(t, v) })
	}
}

func (r *rig) judge(t *testing.T, v vector) {
	body := strings.NewReplacer("@BN@", testID.BaseName(), "@IMEI@", testID.Value()).Replace(v.Body)
	if v.Hex != "" {
		raw, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		body = string(raw)
	}
	before := len(r.stored(0))
	got := r.send(body, testSecret)
	switch valid := v.Expect == "valid" && v.Own && v.Fmt == "json" || takenByKPN[v.ID]; {
	case valid && got.Outcome != Stored:
		t.Errorf("refused: %s", got.Detail)
	case !valid && v.Expect != "either" && got.Outcome != BadPack:
		t.Errorf("%v, want bad-pack: %s", got.Outcome, v.Why)
	case got.Outcome == BadPack && (got.Detail == "" || strings.Contains(got.Detail, "\n")):
		t.Errorf("detail %q is not one line", got.Detail)
	}
	for _, e := range r.stored(0)[before:] {
		if e.Values["device"] != string(testID) || !strings.HasPrefix(e.Values["pack"].(string), `[{"bn":"`+testID.BaseName()) {
			t.Errorf("stored as another device's: %v", e.Values)
		}
	}
}

// What real clients send, with their own tokens: vectors of auth.
func TestClients(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{TrailingNUL: true})
	raw, err := os.ReadFile("../../auth/testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var clients []struct {
		Name, Token string
		Body        []byte `json:"body_base64"`
	}
	if err := json.Unmarshal(raw, &clients); err != nil {
		t.Fatal(err)
	}
	want := map[string]Outcome{
		"d1-temp": Stored, "d2-bt": Stored, "d9-binary": Stored, "s1-sodaq": Stored, "s2-sodaq-trailing-nul": Stored,
		"d7-empty-pack": Heartbeat,
	} // the others are cut, unescaped, of no device id of ours, or not JSON
	for _, c := range clients {
		t.Run(c.Name, func(t *testing.T) {
			expect, ok := want[c.Name]
			if !ok {
				expect = BadPack
			}
			v := r.accept(&Message{Via: HTTP, PathType: "IMEI", Body: c.Body, Token: c.Token, HasToken: true})
			if v.Outcome != expect {
				t.Errorf("%v (%s), want %v", v.Outcome, v.Detail, expect)
			}
		})
	}
}
