package explain

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// secretVariants lists the secrets as they are, then each as devices get it
// wrong. Without any secret one empty variant stands in, for the formulas that
// use none.
func secretVariants(in Input) []variant {
	var all []variant
	for i, s := range in.Secrets {
		all = append(all, variant{bytes: []byte(s), secret: i + 1})
	}
	for _, s := range in.Retired {
		all = append(all, variant{bytes: []byte(s), finding: &Finding{
			"secret-retired", "the token was made with an old secret of this device", "give the device its present secret",
		}})
	}
	for _, s := range in.Others {
		all = append(all, variant{bytes: []byte(s), finding: &Finding{
			"secret-other-device", "the token was made with the secret of another device that the message names", "give each device its own secret, and its own base name",
		}})
	}
	for i, s := range in.Secrets {
		all = append(all, mistaken(s, i+1)...)
	}
	if len(all) == 0 {
		all = append(all, variant{})
	}
	return all
}

func mistaken(secret string, index int) []variant {
	right := []byte(secret)
	var all []variant
	add := func(b []byte, code, text, fix string) {
		if !bytes.Equal(b, right) {
			all = append(all, variant{finding: &Finding{code, text, fix}, bytes: b, secret: index})
		}
	}
	const exact = "store and hash exactly the secret's characters"
	add([]byte(secret+"\n"), "secret-newline", "a line feed after the secret was hashed", exact)
	add([]byte(secret+"\r\n"), "secret-newline", "a CR LF after the secret was hashed", exact)
	add([]byte(secret+"\r"), "secret-newline", "a CR after the secret was hashed", exact)
	add([]byte(secret+" "), "secret-white-space", "a blank after the secret was hashed", exact)
	add([]byte(secret+"\x00"), "secret-nul", "the NUL that ends the secret's string was hashed", "hash strlen(secret) bytes, not sizeof")
	add([]byte(strings.TrimSpace(secret)), "secret-white-space", "the secret given here has white space around it that the device does not hash", "give the secret without it")
	add([]byte(strings.Trim(strings.TrimSpace(secret), `"'`)), "secret-quoted", "the secret given here has quotation marks that the device does not hash", "give the secret without them")
	add([]byte(strings.ToUpper(secret)), "secret-upper-case", "the secret was hashed in upper case", "the secret is case-sensitive")
	add([]byte(strings.ToLower(secret)), "secret-lower-case", "the secret was hashed in lower case", "the secret is case-sensitive")
	for _, b := range cuts(secret) {
		add(b, "secret-cut", "only a part of the secret was hashed", "make the device's buffer for the secret larger")
		all[len(all)-1].rare = true
	}
	add([]byte(base64.StdEncoding.EncodeToString(right)), "secret-encoded", "the secret was hashed in base64", exact)
	add([]byte(hex.EncodeToString(right)), "secret-encoded", "the secret was hashed in hex", exact)
	if b, err := base64.RawStdEncoding.DecodeString(secret); err == nil {
		add(b, "secret-decoded", "the secret was decoded from base64 before it was hashed", exact)
	}
	if b, err := hex.DecodeString(secret); err == nil {
		add(b, "secret-decoded", "the secret was decoded from hex before it was hashed", exact)
	}
	return all
}

// cuts are what fixed buffers leave of a secret: every shorter length, and the
// secret without its first character.
func cuts(secret string) [][]byte {
	var all [][]byte
	for n := len(secret) - 1; n >= 8; n-- {
		all = append(all, []byte(secret[:n]))
	}
	if len(secret) > 1 {
		all = append(all, []byte(secret[1:]))
	}
	return all
}
