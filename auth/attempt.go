package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"time"
)

// attempt is one question about a message, a login or a session, with the memory to answer it in. It may be judged by
// two records of the same device: the cached one, then the one in Redis.
type attempt struct {
	kind   attemptKind
	bodies [2][]byte            // hashed before the secret: the message, or the login's username; nil: none
	wanted [2][sha256.Size]byte // one of which the hash must have
	wants  int
	lacks  error // of kindNoToken: what the answer is unless the device is unsigned
	before Proof // of kindRecheck
	now    func() time.Time

	text   []byte // of the record judged
	digest hash.Hash
	sum    [sha256.Size]byte
	hashes int // made so far
	dummy  []byte
}

type attemptKind uint8

const (
	kindToken   attemptKind = iota // a message with its token
	kindNoToken                    // a message without one, or with what cannot be one
	kindLogin                      // username and password
	kindSeal                       // a message of a session that has logged in
	kindRecheck                    // the proof that a session began with
)

// judge answers from one record.
func (a *attempt) judge(id DeviceID, rec *record) (Proof, error) {
	p := Proof{Device: id, RequireToken: rec.has(flagRequireToken)}
	switch a.kind {
	case kindToken, kindNoToken:
		if rec.enabled() && rec.has(flagUnsigned) {
			p.Unsigned, p.Token = true, a.hash(a.bodies[0], nil)
			return p, nil
		}
		if a.kind == kindNoToken {
			return Proof{}, a.lacks
		}
		return a.match(p, rec)
	case kindSeal:
		return a.seal(p, rec)
	case kindRecheck:
		return a.recheck(rec)
	}
	return a.match(p, rec)
}

// match holds the hash over body and secret against what is wanted. It makes the same hashes for an unknown device, a
// wrong token and a disabled device: those of two secrets, real or not.
func (a *attempt) match(p Proof, rec *record) (Proof, error) {
	for i := range rec.secrets {
		secret, real := rec.secret(i), a.valid(&rec.secrets[i])
		if !real {
			secret = a.dummy
		}
		for _, body := range a.bodies {
			if body == nil {
				continue
			}
			token := a.hash(body, secret)
			if a.isWanted(&token) && real && p.Secret == 0 {
				p.Secret, p.Token = uint8(i+1), token
				p.since, p.until = rec.secrets[i].since, rec.secrets[i].until
			}
			if p.Secret != 0 && rec.enabled() {
				return p, nil
			}
		}
	}
	if p.Secret == 0 && rec.exists {
		return Proof{}, ErrWrongToken
	}
	return Proof{}, rec.gone()
}

// seal makes the token that the device would have sent.
func (a *attempt) seal(p Proof, rec *record) (Proof, error) {
	if err := rec.gone(); err != nil {
		return Proof{}, err
	}
	secret := rec.secret(0)
	if secret == nil {
		return Proof{}, ErrWrongToken // its secret ended, and with it the session's right
	}
	p.Secret, p.since = 1, rec.secrets[0].since
	p.Token = a.hash(a.bodies[0], secret)
	return p, nil
}

func (a *attempt) recheck(rec *record) (Proof, error) {
	if err := rec.gone(); err != nil {
		return Proof{}, err
	}
	if a.before.Unsigned && rec.has(flagUnsigned) {
		return a.before, nil
	}
	for i := range rec.secrets {
		if s := &rec.secrets[i]; !a.before.Unsigned && s.since == a.before.since && a.valid(s) {
			p := a.before
			p.until = s.until
			return p, nil
		}
	}
	return Proof{}, ErrWrongToken
}

// valid reports whether there is such a secret and its time is not over.
func (a *attempt) valid(s *storedSecret) bool {
	return len(s.form) > 0 && (s.until == 0 || a.now().UnixMilli() < s.until)
}

func (a *attempt) hash(body, secret []byte) [sha256.Size]byte {
	a.hashes++
	a.digest.Reset()
	a.digest.Write(body)
	a.digest.Write(secret)
	a.digest.Sum(a.sum[:0])
	return a.sum
}

func (a *attempt) isWanted(token *[sha256.Size]byte) bool {
	found := 0
	for i := range a.wants {
		found |= subtle.ConstantTimeCompare(token[:], a.wanted[i][:])
	}
	return found == 1
}

func (a *attempt) want(token [sha256.Size]byte) {
	a.wanted[a.wants] = token
	a.wants++
}

// reset forgets the question and keeps the memory.
func (a *attempt) reset() {
	*a = attempt{text: a.text[:0], digest: a.digest, dummy: a.dummy, now: a.now}
}
