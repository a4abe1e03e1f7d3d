package uplink

import (
	"context"
	"errors"
	"net/netip"

	"m2mbridge/auth"
)

// Registry is what the uplink path asks of auth.Registry.
type Registry interface {
	VerifyToken(ctx context.Context, id auth.DeviceID, body []byte, token string) (auth.Proof, error)
	VerifyTokenNUL(ctx context.Context, id auth.DeviceID, body []byte, token string) (auth.Proof, error)
	Seal(ctx context.Context, id auth.DeviceID, body []byte) (auth.Proof, error)
}

// verify proves that the message is the claimed device's own. All that fails
// here looks alike to the sender, be the device unknown, disabled, or its
// token wrong; the rejects stream tells them apart.
func (s *Service) verify(ctx context.Context, u *uplink) error {
	proof, err := s.prove(ctx, u)
	if err == nil {
		s.judged.succeeded()
	}
	switch {
	case err != nil:
		return s.verifyRefusal(err)
	case proof.Unsigned && !s.believesUnsigned(u.msg):
		return s.disbelieve(u.msg)
	case proof.RequireToken && !u.msg.HasToken:
		return refusal(TokenMissing, "token-missing", "this device must send a message token with every uplink")
	}
	u.proof = proof
	return nil
}

func (s *Service) prove(ctx context.Context, u *uplink) (auth.Proof, error) {
	m := u.msg
	token := ""
	if m.HasToken {
		token = m.Token
	}
	switch {
	case m.Login != "" && !m.HasToken:
		return s.cfg.Registry.Seal(ctx, u.id, m.Body)
	case len(u.body) != len(m.Body): // trailing NULs are forgiven here
		return s.cfg.Registry.VerifyTokenNUL(ctx, u.id, m.Body, token)
	}
	return s.cfg.Registry.VerifyToken(ctx, u.id, m.Body, token)
}

// disbelieve refuses an unsigned device where such are not believed, in the
// words that any other device would have got.
func (s *Service) disbelieve(m *Message) *Refusal {
	err := auth.ErrWrongToken
	if !m.HasToken || m.Token == "" {
		err = auth.ErrTokenMissing
	} else if _, bad := auth.ParseToken(m.Token); bad != nil {
		err = auth.ErrTokenMalformed
	}
	r := s.verifyRefusal(err)
	r.Reason = "unsigned-network"
	return r
}

// believesUnsigned tells whether a device without a secret is believed here:
// only on the m2m path, and only from networks the operator named.
func (s *Service) believesUnsigned(m *Message) bool {
	if len(s.cfg.UnsignedFrom) == 0 || m.Via != HTTP || m.PathType != "IMEI" {
		return false
	}
	ap, err := netip.ParseAddrPort(m.Remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap()
	for _, n := range s.cfg.UnsignedFrom {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// sameRefusal is what the sender reads whichever of the three it was.
const sameRefusal = "token wrong, or device unknown or disabled"

// verifyRefusal maps what the registry said to a refusal.
func (s *Service) verifyRefusal(err error) *Refusal {
	switch {
	case errors.Is(err, auth.ErrTokenMissing):
		return refusal(TokenMissing, "token-missing", "header Things-Message-Token is missing: lower-case hex of SHA-256 over the body followed by the secret")
	case errors.Is(err, auth.ErrUnknown) && s.cfg.RevealUnknown:
		return refusal(Unknown, "device-unknown", "no such device")
	case errors.Is(err, auth.ErrUnknown):
		return refusal(Forbidden, "device-unknown", sameRefusal)
	case errors.Is(err, auth.ErrDisabled):
		return refusal(Forbidden, "device-disabled", sameRefusal)
	case errors.Is(err, auth.ErrTokenMalformed):
		return refusal(Forbidden, "token-malformed", "the message token is not 64 hex digits")
	case errors.Is(err, auth.ErrWrongToken):
		return refusal(Forbidden, "token-wrong", sameRefusal)
	}
	if errors.Is(err, auth.ErrDamaged) { // of this device alone, and logged by the registry
		r := refusal(Unavailable, "record-damaged", "the device cannot be verified: its record in the registry is damaged and has to be replaced")
		r.cause = err
		return r
	}
	if errors.Is(err, auth.ErrSecretKey) {
		s.sealed.failed(err)
	} else if !errors.Is(err, auth.ErrBusy) {
		s.judged.failed(err)
	}
	r := refusal(Unavailable, "unavailable", "the device registry cannot be read now: try again")
	r.cause = err
	return r
}
