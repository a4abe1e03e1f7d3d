package auth

import "errors"

// What a proof fails of. An edge answers the first five alike, whatever it writes to the rejects stream; the last two
// say nothing of the device.
var (
	ErrUnknown        = errors.New("unknown device or app")
	ErrWrongToken     = errors.New("wrong token")
	ErrDisabled       = errors.New("device disabled")
	ErrTokenMissing   = errors.New("token missing")
	ErrTokenMalformed = errors.New("token is not 64 hex digits")
	// ErrUnavailable: the registry could not be asked; try again.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrBusy: so many refusals are being checked that this one could not be; try again.
	ErrBusy = errors.New("registry busy")
)

// What a change to the registry fails of, beside ErrUnknown and ErrUnavailable.
var (
	// ErrInvalid: a device id, base name, device, secret or app that breaks a rule; the text says which.
	ErrInvalid = errors.New("invalid")
	// ErrExists: a device or an app of that name is already there.
	ErrExists = errors.New("already exists")
	// ErrConflict: somebody else changed it all the time.
	ErrConflict = errors.New("changed meanwhile")
	// ErrDamaged: what is stored of the device cannot be read, by nobody and never: it can be removed, or replaced whole.
	ErrDamaged = errors.New("the device's record is damaged")
	// ErrSecretKey: its secret is encrypted and cannot be read with the secret key configured. It comes with ErrUnavailable.
	ErrSecretKey = errors.New("secret cannot be decrypted with the configured secret key")
)

// ErrOtherSecretKey is CheckSecretKey's answer to the wrong secret key.
var ErrOtherSecretKey = errors.New("the secret key is not the one that this Redis was set up with")
