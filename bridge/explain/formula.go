package explain

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"hash"
)

// formula is one way to make a token of a body and a secret.
type formula struct {
	finding  *Finding
	sum      func(body, secret []byte) []byte
	noSecret bool // the secret has no part in it
}

func sha(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// formulas lists the right formula, sha256(body ‖ secret), and then the wrong
// ones.
func formulas(logins []string) []formula {
	all := []formula{{sum: func(b, s []byte) []byte { return sha(b, s) }}}
	all = append(all, wrongOrder()...)
	all = append(all, loginTokens(logins)...)
	all = append(all, separated()...)
	all = append(all, hashedTwice()...)
	return append(all, otherHashes()...)
}

func wrong(code, text, fix string, sum func(b, s []byte) []byte) formula {
	return formula{finding: &Finding{code, text, fix}, sum: sum}
}

const fixFormula = "make the token as sha256(body followed by secret)"

func wrongOrder() []formula {
	noSecret := wrong("no-secret-hashed", "the token is a hash of the body alone, without the secret", fixFormula,
		func(b, _ []byte) []byte { return sha(b) })
	noSecret.noSecret = true
	return []formula{
		wrong("secret-first", "the secret was hashed before the body", fixFormula,
			func(b, s []byte) []byte { return sha(s, b) }),
		wrong("hmac", "the token is an HMAC-SHA256 with the secret as key", "use plain SHA-256 over body and secret, not HMAC",
			func(b, s []byte) []byte { return mac(s, b) }),
		wrong("hmac-swapped", "the token is an HMAC-SHA256 with the body as key", "use plain SHA-256 over body and secret, not HMAC",
			func(b, s []byte) []byte { return mac(b, s) }),
		noSecret,
		wrong("no-body-hashed", "the token is a hash of the secret alone, without the body", fixFormula,
			func(_, s []byte) []byte { return sha(s) }),
		wrong("secret-both-sides", "the secret was hashed before and after the body", fixFormula,
			func(b, s []byte) []byte { return sha(s, b, s) }),
		wrong("secret-twice", "the secret was hashed twice", fixFormula,
			func(b, s []byte) []byte { return sha(b, s, s) }),
		wrong("body-twice", "the body was hashed twice", fixFormula,
			func(b, s []byte) []byte { return sha(b, b, s) }),
	}
}

func mac(key, message []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(message)
	return m.Sum(nil)
}

// loginTokens are right tokens for the wrong purpose: a CONNECT's password.
func loginTokens(logins []string) []formula {
	var all []formula
	for _, login := range logins {
		all = append(all, wrong("login-token", "this is the token of the MQTT login, not of the body", "make the token over the body of this message",
			func(_, s []byte) []byte { return sha([]byte(login), s) }))
	}
	return all
}

// separated puts something between body and secret. A line feed, CR LF, blank or
// NUL there cannot be told from one at the end of the body: see bodies.ends.
func separated() []formula {
	var all []formula
	for _, sep := range []string{":", ".", ",", ";", "&", "|", "+", "-", "_", "\t"} {
		all = append(all, wrong("separator", "something was put between body and secret", "hash the secret directly after the body's last byte",
			func(b, s []byte) []byte { return sha(b, []byte(sep), s) }))
	}
	return append(all,
		wrong("braces", "the braces of the documentation's formula were hashed", "the braces only mark the two parts: leave them out",
			func(b, s []byte) []byte { return sha([]byte("{"), b, []byte("}{"), s, []byte("}")) }),
		wrong("secret-quoted", "the secret was hashed with quotation marks", "hash the secret's characters only",
			func(b, s []byte) []byte { return sha(b, []byte(`"`), s, []byte(`"`)) }),
		wrong("secret-quoted", "the secret was hashed with quotation marks", "hash the secret's characters only",
			func(b, s []byte) []byte { return sha(b, []byte(`'`), s, []byte(`'`)) }))
}

func hashedTwice() []formula {
	text := func(sum []byte) []byte { return []byte(hex.EncodeToString(sum)) }
	const code, fix = "hashed-twice", "hash once: sha256(body followed by secret)"
	return []formula{
		wrong(code, "the token was hashed once more", fix, func(b, s []byte) []byte { return sha(sha(b, s)) }),
		wrong(code, "the token's hex text was hashed once more", fix, func(b, s []byte) []byte { return sha(text(sha(b, s))) }),
		wrong("body-prehashed", "the body was hashed before the secret was appended", fix,
			func(b, s []byte) []byte { return sha(sha(b), s) }),
		wrong("body-prehashed", "the body was hashed before the secret was appended", fix,
			func(b, s []byte) []byte { return sha(text(sha(b)), s) }),
		wrong("secret-prehashed", "the secret was hashed before it was appended", fix,
			func(b, s []byte) []byte { return sha(b, sha(s)) }),
		wrong("secret-prehashed", "the secret was hashed before it was appended", fix,
			func(b, s []byte) []byte { return sha(b, text(sha(s))) }),
	}
}

func otherHashes() []formula {
	with := func(name string, make func() hash.Hash) formula {
		return wrong("other-hash", "the token was made with "+name, "use SHA-256", func(b, s []byte) []byte {
			h := make()
			h.Write(b)
			h.Write(s)
			return h.Sum(nil)
		})
	}
	return []formula{
		with("MD5", md5.New), with("SHA-1", sha1.New), with("SHA-224", sha256.New224),
		with("SHA-384", sha512.New384), with("SHA-512", sha512.New), with("SHA-512/256", sha512.New512_256),
		with("SHA3-256", func() hash.Hash { return sha3.New256() }),
	}
}
