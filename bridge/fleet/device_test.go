package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"testing"
	"time"
)

func TestDevices(t *testing.T) {
	devices := Devices("seed", 0, 2000)
	id := regexp.MustCompile(`^IMEI:[0-9]{15}$`)
	secret := regexp.MustCompile(`^[0-9a-zA-Z]{30,100}$`)
	seen := make(map[string]bool)
	for i, d := range devices {
		if !id.MatchString(d.ID) || !secret.MatchString(d.Secret) || seen[d.ID] || seen[d.Secret] {
			t.Fatalf("device %d: %q with a secret of %d characters", i, d.ID, len(d.Secret))
		}
		seen[d.ID], seen[d.Secret] = true, true
	}
	if again := Devices("seed", 1500, 1)[0]; again != devices[1500] {
		t.Errorf("device 1500 is %v on its own and %v among others", again, devices[1500])
	}
	if other := Devices("other", 0, 1)[0]; other.ID != devices[0].ID || other.Secret == devices[0].Secret {
		t.Error("another seed gives another id or the same secret")
	}
	if beyond := Devices("seed", 999_999, 2); beyond[0].ID[:13] == beyond[1].ID[:13] {
		t.Errorf("devices past a million share a type allocation code: %v", beyond)
	}
}

// The check digit of the example IMEI of 3GPP TS 23.003.
func TestLuhn(t *testing.T) {
	if got := luhn("49015420323751"); got != 8 {
		t.Errorf("check digit %d, not 8", got)
	}
}

func TestToken(t *testing.T) {
	d := Devices("seed", 0, 1)[0]
	sum := sha256.Sum256([]byte("[]" + d.Secret))
	if got := d.Token([]byte("[]")); got != hex.EncodeToString(sum[:]) {
		t.Errorf("token %s", got)
	}
}

func TestReferenceIsAlwaysAsLong(t *testing.T) {
	d := Devices("seed", 0, 1)[0]
	for _, seq := range []uint64{0, 1, 9, 99_999, 8_999_999, 9_000_000, 1 << 40} {
		pack := Reference(nil, d.ID, seq, time.Unix(1_700_000_000, int64(seq%1000)*1e6))
		if len(pack) != 302 {
			t.Errorf("number %d: %d bytes: %s", seq, len(pack), pack)
		}
		if records := parse(t, pack); len(records) != 8 {
			t.Errorf("number %d: %d records", seq, len(records))
		}
	}
}

func TestVariedPacksDiffer(t *testing.T) {
	kinds := make(map[string]bool)
	for _, d := range Devices("seed", 0, 64) {
		at := time.UnixMilli(1_700_000_000_123)
		for seq := range uint64(9) {
			pack := Varied(nil, d.ID, seq, at)
			records := parse(t, pack)
			if records[0]["bn"] != d.BaseName() {
				t.Fatalf("base name %v", records[0]["bn"])
			}
			if kindOf(d.ID) != 3 && string(pack) == string(Varied(nil, d.ID, seq+1, at)) {
				t.Errorf("two numbers give the same bytes: %s", pack)
			}
		}
		name, _ := parse(t, Varied(nil, d.ID, 0, at))[len(parse(t, Varied(nil, d.ID, 0, at)))-1]["n"].(string)
		kinds[name] = true
	}
	if len(kinds) != 4 {
		t.Errorf("kinds of device: %v", kinds)
	}
}

func TestNumberedPack(t *testing.T) {
	want := Number{Device: "IMEI:356726104408422", N: 1234}
	pack := appendNumbered(nil, want, time.UnixMilli(1_700_000_000_999))
	if got, ok := NumberOf(pack); !ok || got != want {
		t.Errorf("%s is %v, %v", pack, got, ok)
	}
	for _, other := range []string{``, `[]`, `[{"bn":"urn:dev:IMEI:1:","n":"number"}]`, `[{"bn":"x:","n":"number","v":1}]`} {
		if n, ok := NumberOf([]byte(other)); ok {
			t.Errorf("%s is number %v", other, n)
		}
	}
}

func TestCompare(t *testing.T) {
	var l Ledger
	a, b, c := Number{"A", 0}, Number{"A", 1}, Number{"B", 0}
	l.ack(a)
	l.ack(b)
	d := l.Compare(func(yield func(Number) bool) {
		_ = yield(b) && yield(c) && yield(b)
	})
	if len(d.Missing) != 1 || d.Missing[0] != a || len(d.Repeated) != 1 || d.Repeated[0] != b {
		t.Errorf("difference %+v", d)
	}
}

func parse(t *testing.T, pack []byte) []map[string]any {
	t.Helper()
	var records []map[string]any
	if err := json.Unmarshal(pack, &records); err != nil {
		t.Fatalf("%s: %v", pack, err)
	}
	return records
}
