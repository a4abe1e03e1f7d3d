package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Stored forms of a secret. The token is a hash over the secret, so that it must be recoverable.
const (
	plainForm  = "p1:" // the secret
	sealedForm = "e1:" // base64 of nonce and AES-256-GCM ciphertext, the device id as additional data
)

const (
	minSecretKey = 16 // bytes
	sealedInfo   = "m2mbridge device secrets e1"
)

// vault turns secrets into what is stored and back.
type vault struct {
	aead cipher.AEAD // nil: no key; secrets are stored in plain
}

func newVault(key string) (vault, error) {
	if key == "" {
		return vault{}, nil
	}
	if len(key) < minSecretKey {
		return vault{}, fmt.Errorf("%w secret key: shorter than %d bytes", ErrInvalid, minSecretKey)
	}
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, sealedInfo, 32)
	if err != nil {
		return vault{}, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return vault{}, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return vault{}, fmt.Errorf("make cipher mode: %w", err)
	}
	return vault{aead: aead}, nil
}

// store gives the form in which the device's secret is kept.
func (v vault) store(id DeviceID, secret string) string {
	if v.aead == nil {
		return plainForm + secret
	}
	sealed := make([]byte, v.aead.NonceSize(), v.aead.NonceSize()+len(secret)+v.aead.Overhead())
	_, _ = rand.Read(sealed) // random nonces: 2³² devices and rotations are far away
	sealed = v.aead.Seal(sealed, sealed, []byte(secret), []byte(id))
	return sealedForm + base64.RawStdEncoding.EncodeToString(sealed)
}

// restore is a stored form as it should be kept from now on: encrypted, where a key has come since.
func (v vault) restore(id DeviceID, form string) string {
	if secret, plain := strings.CutPrefix(form, plainForm); plain && v.aead != nil {
		return v.store(id, secret)
	}
	return form
}

// open gives the secret of a stored form; its error wraps ErrSecretKey and ErrUnavailable.
func (v vault) open(id DeviceID, form string) (string, error) {
	if secret, ok := strings.CutPrefix(form, plainForm); ok {
		return secret, nil
	}
	coded, ok := strings.CutPrefix(form, sealedForm)
	if !ok {
		return "", lockedError(id, errors.New("stored form unknown"))
	}
	if v.aead == nil {
		return "", lockedError(id, errors.New("no secret key configured"))
	}
	sealed, err := base64.RawStdEncoding.DecodeString(coded)
	if err != nil || len(sealed) < v.aead.NonceSize() {
		return "", lockedError(id, errors.New("stored form damaged"))
	}
	nonce, text := sealed[:v.aead.NonceSize()], sealed[v.aead.NonceSize():]
	secret, err := v.aead.Open(nil, nonce, text, []byte(id))
	if err != nil {
		return "", lockedError(id, err)
	}
	return string(secret), nil
}

func lockedError(id DeviceID, err error) error {
	return fmt.Errorf("open secret of %s: %w: %w: %w", id, ErrUnavailable, ErrSecretKey, err)
}
