package auth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rotation says how a device gets a new secret, and what ends the one it has: whichever comes first.
type Rotation struct {
	Secret string        // the new one; "": one is generated
	Window time.Duration // how long the old one stays valid
	Force  bool          // even if the device may still use the older of two secrets, which ends then at once
	After  int64         // messages made with the new one, after which the old one ends; 0: no such number
}

// RotationState is a rotation under way, in which the older of two secrets is still valid.
type RotationState struct {
	Since    time.Time `json:"since"`              // when the new secret was set
	EndsAt   time.Time `json:"endsAt,omitzero"`    // of the old one; zero: not by time
	After    int64     `json:"after,omitempty"`    // messages with the new one that end the old one; 0: not by number
	Messages int64     `json:"messages,omitempty"` // made with the new one so far; counted only where After is set
}

func rotationOf(h *held) *RotationState {
	s := &RotationState{Since: time.UnixMilli(h.rec.secrets[0].since).UTC(), After: h.rec.secrets[1].after}
	if until := h.rec.secrets[1].until; until != 0 {
		s.EndsAt = time.UnixMilli(until).UTC()
	}
	if s.After > 0 {
		s.Messages = h.uses
	}
	return s
}

// MaxRotation is the longest window of a rotation.
const MaxRotation = 366 * 24 * time.Hour

// MaxAfter is the greatest number of messages that ends a rotation: more than a device sends in the longest window.
const MaxAfter = 1e9

func (how *Rotation) check() error {
	if err := checkWindow(how.Window); err != nil {
		return err
	}
	if how.After < 0 || how.After > MaxAfter {
		return fmt.Errorf("%w number of messages: want 0 to %d", ErrInvalid, int64(MaxAfter))
	}
	return CheckSecret(how.Secret)
}

func checkWindow(window time.Duration) error {
	if window < 0 || window > MaxRotation {
		return fmt.Errorf("%w window: want 0 to %s", ErrInvalid, MaxRotation)
	}
	return nil
}

// Rotate makes a device's new secret its newest, and returns it. The newest so far stays valid for the window, an older
// one ends at once. The secret it has already changes nothing but what ends the older one.
func (r *Registry) Rotate(ctx context.Context, id DeviceID, revision int64, how Rotation) (Device, string, error) {
	if how.Secret == "" {
		how.Secret = GenerateSecret()
	}
	if err := how.check(); err != nil {
		return Device{}, "", fmt.Errorf("rotate secret of %s: %w", id, err)
	}
	d, err := r.changeDevice(ctx, id, revision, func(old *held, revision int64) (held, error) {
		switch {
		case !old.rec.exists:
			return held{}, ErrUnknown
		case old.rec.has(flagUnsigned):
			return held{}, fmt.Errorf("%w: an unsigned device has no secret", ErrInvalid)
		}
		next := *old
		if err := r.rotate(&next, how, revision); err != nil {
			return held{}, err
		}
		return next, nil
	})
	if err != nil {
		return Device{}, "", fmt.Errorf("rotate secret of %s: %w", id, err)
	}
	return d, how.Secret, nil
}

// ErrInUse: the change would end a secret that the device may still use: its last message was made with it, or none has
// come since the newer one was set.
var ErrInUse = errors.New("the device has sent nothing with the secret of its last rotation, or went back: it may still use the one before, which would end now")

func (r *Registry) rotate(next *held, how Rotation, revision int64) error {
	now := r.now()
	rec := &next.rec
	rec.tidy(now.UnixMilli())
	if !r.isSecret(next.device.ID, rec.secrets[0], how.Secret) {
		if len(rec.secrets[1].form) > 0 && rec.matched != '1' && !how.Force {
			return ErrInUse
		}
		rec.matched = '0'
		rec.secrets = [2]storedSecret{r.newSecret(next.device.ID, how.Secret, revision), rec.secrets[0]}
	}
	if older := &rec.secrets[1]; len(older.form) > 0 {
		older.until, older.after = now.Add(how.Window).UnixMilli(), how.After
		rec.tidy(now.UnixMilli())
	}
	return nil
}

// Which of a device's secrets.
type Which uint8

// The secrets that RevokeSecret knows.
const (
	AllSecrets Which = iota
	NewSecret        // the newest
	OldSecret        // the one before it, during a rotation
)

// RevokeSecret ends a secret at once. A device that has none left is refused until Rotate gives it one. ErrUnknown if
// there is no such device or secret.
func (r *Registry) RevokeSecret(ctx context.Context, id DeviceID, revision int64, which Which) (Device, error) {
	d, err := r.changeDevice(ctx, id, revision, func(old *held, _ int64) (held, error) {
		if !old.rec.exists {
			return held{}, ErrUnknown
		}
		next := *old
		next.rec.tidy(r.now().UnixMilli())
		s := &next.rec.secrets
		if len(s[0].form) == 0 || which == OldSecret && len(s[1].form) == 0 {
			return held{}, fmt.Errorf("%w: it has no such secret", ErrUnknown)
		}
		switch which {
		case NewSecret: // the old one is what it had before, and stays
			s[0], s[1] = s[1], storedSecret{}
			s[0].until, s[0].after = 0, 0
		case OldSecret:
			s[1] = storedSecret{}
		default:
			*s = [2]storedSecret{}
		}
		next.rec.matched = '0'
		return next, nil
	})
	if err != nil {
		return Device{}, fmt.Errorf("revoke secret of %s: %w", id, err)
	}
	return d, nil
}

// PastSecrets gives up to two secrets that the device had before, the latest first. As with Secrets, what it returns must
// not leave the process.
func (r *Registry) PastSecrets(ctx context.Context, id DeviceID) ([]string, error) {
	h, err := r.readDevice(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	forms := h.past
	for i := range h.rec.secrets { // one whose time is over is in its place until the next change
		if s := &h.rec.secrets[i]; len(s.form) > 0 && !s.active(r.now().UnixMilli()) {
			forms = append([]string{string(s.form)}, forms...)
		}
	}
	var secrets []string
	for _, form := range forms {
		secret, err := r.vault.open(id, form)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}
