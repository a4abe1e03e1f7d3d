package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckSecret(t *testing.T) {
	long := strings.Repeat("aB3", 34)
	for _, c := range []struct{ name, secret, why string }{
		{"OK", secret, ""},
		{"OK shortest", long[:30], ""},
		{"OK longest", long[:100], ""},
		{"too short", long[:29], "shorter than 30"},
		{"too long", long[:101], "longer than 100"},
		{"empty", "", "shorter than 30"},
		{"space", long[:30] + " ", "character 31"},
		{"umlaut", long[:30] + "ä", "character 31"},
		{"colon", ":" + long[:30], "character 1 "},
		{"newline", long[:40] + "\n", "character 41"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckSecret(c.secret)
			if c.why == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("error = %v, want %q", err, c.why)
			}
			if c.secret != "" && strings.Contains(err.Error(), c.secret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestGenerateSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := GenerateSecret()
		if len(s) != 40 || CheckSecret(s) != nil || seen[s] {
			t.Fatalf("generated %q", s)
		}
		seen[s] = true
	}
}

func TestVault(t *testing.T) {
	plain, _ := newVault("")
	keyed, err := newVault("0123456789abcdef")
	if err != nil {
		t.Fatalf("new vault: %v", err)
	}
	foreign, _ := newVault("0123456789abcdeg")
	if _, err := newVault("0123456789abcde"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a key of 15 bytes: %v", err)
	}
	sealed := keyed.store(imei, secret)
	if !strings.HasPrefix(sealed, "e1:") || strings.Contains(sealed, secret) || sealed == keyed.store(imei, secret) {
		t.Fatalf("sealed form = %s", sealed)
	}
	if got := plain.store(imei, secret); got != "p1:"+secret {
		t.Fatalf("plain form = %s", got)
	}
	for _, c := range []struct {
		name string
		v    vault
		id   DeviceID
		form string
		ok   bool
	}{
		{"OK sealed", keyed, imei, sealed, true},
		{"OK plain", plain, imei, "p1:" + secret, true},
		{"OK plain with a key", keyed, imei, "p1:" + secret, true},
		{"no key", plain, imei, sealed, false},
		{"wrong key", foreign, imei, sealed, false},
		{"another device's", keyed, other, sealed, false},
		{"cut", keyed, imei, sealed[:20], false},
		{"damaged", keyed, imei, sealed[:len(sealed)-1] + "!", false},
		{"of a later version", keyed, imei, "e2:" + sealed[3:], false},
		{"empty", keyed, imei, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.v.open(c.id, c.form)
			if c.ok && (err != nil || got != secret) {
				t.Errorf("open = %q, %v", got, err)
			}
			if !c.ok && (!errors.Is(err, ErrSecretKey) || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown)) {
				t.Errorf("open = %q, %v", got, err)
			}
		})
	}
	if got := keyed.restore(imei, "p1:"+secret); !strings.HasPrefix(got, "e1:") {
		t.Errorf("restored form = %s", got)
	}
	if got := keyed.restore(imei, sealed); got != sealed {
		t.Errorf("sealed again as %s", got)
	}
}
