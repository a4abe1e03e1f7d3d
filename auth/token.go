package auth

import (
	"crypto/sha256"
	"encoding/hex"
)

// Token is the message token of a body: lower-case hex SHA-256 over its bytes as sent, followed by the secret. It is for
// those who make tokens; who checks one uses [Registry.VerifyToken].
func Token(body []byte, secret string) string {
	h := sha256.New()
	h.Write(body)
	h.Write([]byte(secret))
	return hex.EncodeToString(h.Sum(nil))
}

// ParseToken reads 64 hex digits of either case; ErrTokenMalformed if they are not.
func ParseToken(s string) (token [sha256.Size]byte, err error) {
	if len(s) != 2*sha256.Size {
		return token, ErrTokenMalformed
	}
	for i := range token {
		hi, ok := unhex(s[2*i])
		lo, ok2 := unhex(s[2*i+1])
		if !ok || !ok2 {
			return token, ErrTokenMalformed
		}
		token[i] = hi<<4 | lo
	}
	return token, nil
}

// TrimNULs is body without the NULs at its end.
func TrimNULs(body []byte) []byte {
	for len(body) > 0 && body[len(body)-1] == 0 {
		body = body[:len(body)-1]
	}
	return body
}

func unhex(c byte) (v byte, ok bool) {
	if v = c - '0'; v < 10 {
		return v, true
	}
	v = (c | 0x20) - 'a' // | 0x20 lowers a letter, and makes no other byte one
	return v + 10, v < 6
}
