package explain

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// form is one reading of the token as sent.
type form struct {
	findings []Finding
	accepted bool // the bridge takes a token written so
	match    func(sum []byte) bool
}

// minPart is how many hex digits must agree before a cut token is believed.
const minPart = 16

// tokenForms reads the token in every way that could make sense of it, the
// plain one first. None: it cannot be a token at all.
func tokenForms(token string) []form {
	t, peeled := peel(token)
	var all []form
	add := func(f form, more ...Finding) {
		f.findings = append(slices.Clone(peeled), more...)
		f.accepted = f.accepted && len(peeled) == 0
		all = append(all, f)
	}
	if sum, err := hex.DecodeString(t); err == nil && len(sum) >= minPart/2 {
		f := form{accepted: true, match: func(s []byte) bool { return bytes.Equal(s, sum) }}
		if strings.ToLower(t) != t {
			add(f, Finding{"token-upper-case", "the token is in upper-case hex, which is accepted", "lower case is the documented form"})
		} else {
			add(f)
		}
		addReordered(add, sum)
		addTwiceHex(add, sum)
	}
	addBase64(add, t)
	addPartial(add, strings.ToLower(t))
	return all
}

type adder = func(form, ...Finding)

// peel takes off what was put around the token.
func peel(token string) (string, []Finding) {
	var found []Finding
	note := func(code, text, fix string) { found = append(found, Finding{code, text, fix}) }
	t := strings.Trim(token, " \t\r\n\x00")
	if t != token {
		note("token-white-space", "there is white space or a NUL around the token", "send exactly the 64 characters")
	}
	if rest, ok := cutPrefixFold(t, "things-message-token:"); ok {
		t = strings.TrimSpace(rest)
		note("token-header-name", "the header's name stands in its value", "send only the token as the header's value")
	}
	for _, prefix := range []string{"bearer ", "sha256:", "sha256=", "sha-256=", "sha256 ", "0x", "{sha256}"} {
		if rest, ok := cutPrefixFold(t, prefix); ok {
			t = strings.TrimSpace(rest)
			note("token-prefix", "the token has a prefix", "send the bare hex digits")
		}
	}
	if bare := strings.Trim(t, `"'`); bare != t {
		t = bare
		note("token-quoted", "the token has quotation marks around it", "send the bare hex digits")
	}
	if bare := strings.NewReplacer(":", "", "-", "", " ", "").Replace(t); bare != t && isHex(bare) {
		t = bare
		note("token-separators", "the token's bytes are separated", "send the 64 hex digits without anything between them")
	}
	return t, found
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

func addReordered(add adder, sum []byte) {
	reversed := slices.Clone(sum)
	slices.Reverse(reversed)
	add(form{match: func(s []byte) bool { return bytes.Equal(s, reversed) }},
		Finding{"token-byte-order", "the token's bytes are in reverse order", "print the digest from its first byte to its last"})
	if len(sum)%4 != 0 {
		return
	}
	words := slices.Clone(sum)
	for word := range slices.Chunk(words, 4) {
		slices.Reverse(word)
	}
	add(form{match: func(s []byte) bool { return bytes.Equal(s, words) }},
		Finding{"token-byte-order", "the bytes of each 32-bit word of the token are reversed", "SHA-256 is big-endian: convert each word before printing"})
}

func addTwiceHex(add adder, sum []byte) {
	if inner, err := hex.DecodeString(string(sum)); err == nil {
		add(form{match: func(s []byte) bool { return bytes.Equal(s, inner) }},
			Finding{"token-hex-twice", "the token was converted to hex twice", "send the 64 hex digits as they are"})
	}
}

func addBase64(add adder, t string) {
	bare := strings.TrimRight(t, "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		sum, err := enc.DecodeString(bare)
		if err != nil || len(sum) < minPart/2 {
			continue
		}
		add(form{match: func(s []byte) bool { return bytes.Equal(s, sum) }},
			Finding{"token-base64", "the token is in base64", "send it as 64 lower-case hex digits"})
		if inner, err := hex.DecodeString(strings.TrimSpace(string(sum))); err == nil {
			add(form{match: func(s []byte) bool { return bytes.Equal(s, inner) }},
				Finding{"token-base64", "the token's hex text was put in base64", "send the 64 hex digits as they are"})
		}
		return
	}
}

// addPartial recognises tokens that lost or gained digits on their way into text.
func addPartial(add adder, t string) {
	if !isHex(t) || len(t) < minPart {
		return
	}
	add(form{match: func(s []byte) bool { h := hex.EncodeToString(s); return len(t) < len(h) && strings.HasPrefix(h, t) }},
		Finding{"token-cut", "only the beginning of the token was sent", "the buffer for the token needs 64 characters, and one for a NUL"})
	add(form{match: func(s []byte) bool { h := hex.EncodeToString(s); return len(t) < len(h) && strings.HasSuffix(h, t) }},
		Finding{"token-cut", "only the end of the token was sent", "the buffer for the token needs 64 characters, and one for a NUL"})
	add(form{match: func(s []byte) bool { h := hex.EncodeToString(s); return len(t) > len(h) && strings.HasPrefix(t, h) }},
		Finding{"token-too-long", "something follows the token", "send exactly the 64 characters"})
	add(form{match: func(s []byte) bool { return len(t) < 2*len(s) && printed(s, "%x") == t }},
		Finding{"token-zeros-lost", "leading zeros of the token's bytes are missing", `print each byte with "%02x"`})
	add(form{match: func(s []byte) bool { return len(t) > 2*len(s) && signExtended(s) == t }},
		Finding{"token-sign-extended", "bytes above 7f of the token were printed as negative numbers", `use unsigned char for the digest, and "%02x"`})
}

func printed(sum []byte, verb string) string {
	var b strings.Builder
	for _, c := range sum {
		fmt.Fprintf(&b, verb, c)
	}
	return b.String()
}

// signExtended is what printf("%02x", (char)c) gives where char is signed.
func signExtended(sum []byte) string {
	var b strings.Builder
	for _, c := range sum {
		fmt.Fprintf(&b, "%02x", uint32(int32(int8(c))))
	}
	return b.String()
}

// malformed says what is wrong with a token that cannot be read in any way.
func malformed(token string) Finding {
	const fix = "send 64 lower-case hex digits in the header Things-Message-Token"
	if strings.TrimSpace(token) == "" {
		return Finding{"token-missing", "there is no token", fix}
	}
	return Finding{"token-malformed", fmt.Sprintf("%d characters that are neither hex nor base64 of a hash", len(token)), fix}
}
