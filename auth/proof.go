package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// Proof says whose a message is, and by what.
type Proof struct {
	Device DeviceID
	// Secret is which of the device's secrets matched: 1 the newest, 2 the one before it, 0 none (unsigned).
	Secret uint8
	// Token is SHA-256 over body and secret, which identifies the message; for an unsigned device over the body alone.
	Token        [sha256.Size]byte
	RequireToken bool // the device's flag: a message without a token of its own is refused
	Unsigned     bool // taken without a token: the caller checks the path and the network

	since int64 // when the secret was set, Unix ms: tells it from a later one
	until int64 // when it ends, Unix ms; 0: not by time
}

// Until is when the secret ends that the proof was given by; zero: no such time is set.
func (p *Proof) Until() time.Time {
	if p.until == 0 {
		return time.Time{}
	}
	return time.UnixMilli(p.until)
}

// VerifyToken holds a message against its device's secrets. A token of "" is ErrTokenMissing unless the device is
// unsigned; an unsigned device's token is ignored.
func (r *Registry) VerifyToken(ctx context.Context, id DeviceID, body []byte, token string) (Proof, error) {
	return r.verifyToken(ctx, id, body, nil, token)
}

// VerifyTokenNUL is VerifyToken for devices that send NULs behind the body which they did not hash: where the body ends
// in NULs, it is also held against the token without them.
func (r *Registry) VerifyTokenNUL(ctx context.Context, id DeviceID, body []byte, token string) (Proof, error) {
	if bare := TrimNULs(body); len(bare) < len(body) {
		return r.verifyToken(ctx, id, body, bare, token)
	}
	return r.verifyToken(ctx, id, body, nil, token)
}

func (r *Registry) verifyToken(ctx context.Context, id DeviceID, body, bare []byte, token string) (Proof, error) {
	a := r.attempt(kindToken)
	defer r.release(a)
	if body == nil {
		body = []byte{}
	}
	a.bodies = [2][]byte{body, bare}
	wanted, err := ParseToken(token)
	switch {
	case token == "":
		a.kind, a.lacks = kindNoToken, ErrTokenMissing
	case err != nil:
		a.kind, a.lacks = kindNoToken, err
	default:
		a.want(wanted)
	}
	return r.verify(ctx, id, a)
}

// Seal makes the proof of a message whose sender has logged in: the device must still be enabled, and the token is the
// one its newest secret makes.
func (r *Registry) Seal(ctx context.Context, id DeviceID, body []byte) (Proof, error) {
	a := r.attempt(kindSeal)
	defer r.release(a)
	a.bodies[0] = body
	return r.verify(ctx, id, a)
}

// VerifyLogin checks an MQTT login: the password is the device's secret, or the token of the username's bytes.
func (r *Registry) VerifyLogin(ctx context.Context, id DeviceID, username, password string) (Proof, error) {
	a := r.attempt(kindLogin)
	defer r.release(a)
	a.bodies[0] = []byte(username)
	// Over the same username only the same password makes the token of the secret, so that one hash of the secret
	// serves both forms of a password.
	a.want(a.hash(a.bodies[0], []byte(password)))
	if token, err := ParseToken(password); err == nil {
		a.want(token)
	}
	return r.verify(ctx, id, a)
}

// Recheck says whether a proof of before would still be given, the device being enabled and the secret still active, and
// gives it as it would be now: its secret may have got an end. ErrUnknown, ErrDisabled and ErrWrongToken end a session;
// ErrUnavailable and ErrBusy say nothing.
func (r *Registry) Recheck(ctx context.Context, p Proof) (Proof, error) {
	a := r.attempt(kindRecheck)
	defer r.release(a)
	a.before = p
	return r.verify(ctx, p.Device, a)
}

// verify is the one path of every proof. First the cached record judges, or none; what it does not grant is judged once
// more by the record in Redis. So a new secret works at once, no refusal comes from the cache, and every refusal costs
// one read and the same hashes, whatever its reason.
func (r *Registry) verify(ctx context.Context, id DeviceID, a *attempt) (Proof, error) {
	rec, cached := r.recall(id, a)
	p, err := a.judge(id, &rec)
	if err == nil {
		r.noteMatch(a, &rec, p)
		return p, nil
	}
	lane := r.fresh
	if cached {
		lane = r.suspect
	}
	generation := r.cache.generation(id)
	if rec, err = r.load(ctx, lane, id, a); err != nil {
		return Proof{}, fmt.Errorf("look up %s: %w", id, err)
	}
	if p, err = a.judge(id, &rec); err != nil {
		return Proof{}, err
	}
	r.remember(id, a.text, generation)
	r.noteMatch(a, &rec, p)
	return p, nil
}
