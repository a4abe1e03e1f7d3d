package auth

import (
	"crypto/rand"
	"fmt"
)

// The secret's policy is the seed's, ^[0-9a-zA-Z]{30,100}$.
const (
	minSecret       = 30
	maxSecret       = 100
	generatedSecret = 40 // 238 bits
	secretAlphabet  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// CheckSecret says which rule a shared secret breaks; the error never holds the secret.
func CheckSecret(s string) error {
	if len(s) < minSecret {
		return fmt.Errorf("%w secret: shorter than %d characters (%d)", ErrInvalid, minSecret, len(s))
	}
	if len(s) > maxSecret {
		return fmt.Errorf("%w secret: longer than %d characters (%d)", ErrInvalid, maxSecret, len(s))
	}
	for i := range len(s) {
		c := lower(s[i])
		if !isDigit(c) && (c < 'a' || c > 'z') {
			return fmt.Errorf("%w secret: character %d is neither a digit nor a letter of ASCII", ErrInvalid, i+1)
		}
	}
	return nil
}

// GenerateSecret makes a secret of 40 characters.
func GenerateSecret() string {
	secret := make([]byte, 0, generatedSecret)
	for len(secret) < generatedSecret {
		var random [generatedSecret]byte
		_, _ = rand.Read(random[:]) // it never fails: crypto/rand ends the program first
		for _, b := range random {
			// Of 256 values only the first 248 fall evenly on 62 characters.
			if b < 248 && len(secret) < generatedSecret {
				secret = append(secret, secretAlphabet[int(b)%len(secretAlphabet)])
			}
		}
	}
	return string(secret)
}
