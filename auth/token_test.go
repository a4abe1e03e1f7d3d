package auth

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestTrimNULs(t *testing.T) {
	for in, want := range map[string]string{"": "", "\x00": "", "a": "a", "a\x00\x00": "a", "\x00a": "\x00a", "a\x00b\x00": "a\x00b"} {
		if got := TrimNULs([]byte(in)); string(got) != want {
			t.Errorf("TrimNULs(%q) = %q", in, got)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(Token([]byte("body"), secret))
	f.Add(strings.ToUpper(Token(nil, secret)))
	f.Add("")
	f.Add(strings.Repeat("@`Gg", 16))
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		oracle, hexErr := hex.DecodeString(s)
		if ok := hexErr == nil && len(oracle) == 32; ok != (err == nil) {
			t.Fatalf("ParseToken(%q): %v, encoding/hex: %v", s, err, hexErr)
		}
		if err == nil && string(token[:]) != string(oracle) {
			t.Fatalf("ParseToken(%q) = %x", s, token)
		}
		if err != nil && !errors.Is(err, ErrTokenMalformed) {
			t.Fatalf("error = %v", err)
		}
	})
}
