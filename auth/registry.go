package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// RegistryConfig is what a Registry needs.
type RegistryConfig struct {
	// Client answers lookups and takes changes. It must bound its commands by their contexts (ContextTimeoutEnabled) and
	// should not repeat them (MaxRetries -1).
	Client redis.UniversalClient
	// Blocking is a client of its own for XREAD BLOCK: Run holds a connection of it, one per partition on a cluster.
	Blocking redis.UniversalClient

	Keys       Keyspace
	SecretKey  string // encrypts device secrets at rest; "": they are stored in plain
	AdminKey   string // the key of the app "admin"; "": there is none
	CacheBytes int64  // the bound of the device cache; 0: 64 MiB

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: time.Now
}

// Registry is the devices and apps in Redis, with what this process remembers of them.
type Registry struct {
	client redis.UniversalClient
}

// NewRegistry makes a registry; it asks nothing of Redis yet. Until Run runs, nothing is answered from memory.
func NewRegistry(c RegistryConfig) (*Registry, error) {
	return &Registry{client: c.Client}, nil
}

// Run follows the changes of the registry until ctx ends, which lets the cache be trusted.
func (r *Registry) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Proof says whose a message is, and by what.
type Proof struct {
	Device DeviceID
	// Secret is which of the device's secrets matched: 1 the newest, 2 the one before it, 0 none (unsigned).
	Secret uint8
	// Token is SHA-256 over body and secret, which identifies the message; for an unsigned device over the body alone.
	Token        [32]byte
	RequireToken bool // the device's flag: a message without a token of its own is refused
	Unsigned     bool // taken without a token: the caller checks the path and the network

	since int64 // when the secret was set, Unix ms: tells it from a later one
}

// VerifyToken holds a message against its device's secrets. A token of "" is ErrTokenMissing unless the device is
// unsigned; an unsigned device's token is ignored.
func (r *Registry) VerifyToken(ctx context.Context, id DeviceID, body []byte, token string) (Proof, error) {
	return Proof{}, errors.ErrUnsupported
}

// VerifyTokenNUL is VerifyToken for devices that send NULs behind the body which they did not hash: where the body ends
// in NULs, it is also held against the token without them.
func (r *Registry) VerifyTokenNUL(ctx context.Context, id DeviceID, body []byte, token string) (Proof, error) {
	return Proof{}, errors.ErrUnsupported
}

// TrimNULs is body without the NULs at its end.
func TrimNULs(body []byte) []byte {
	for len(body) > 0 && body[len(body)-1] == 0 {
		body = body[:len(body)-1]
	}
	return body
}

// Seal makes the proof of a message whose sender has logged in: the device must still be enabled, and the token is the
// one its newest secret makes.
func (r *Registry) Seal(ctx context.Context, id DeviceID, body []byte) (Proof, error) {
	return Proof{}, errors.ErrUnsupported
}

// VerifyLogin checks an MQTT login: the password is the device's secret, or the token of the username's bytes.
func (r *Registry) VerifyLogin(ctx context.Context, id DeviceID, username, password string) (Proof, error) {
	return Proof{}, errors.ErrUnsupported
}

// Recheck says whether a proof of before would still be given: the device is enabled and the secret still active.
// ErrUnknown, ErrDisabled and ErrWrongToken end a session; ErrUnavailable and ErrBusy say nothing.
func (r *Registry) Recheck(ctx context.Context, p Proof) error { return errors.ErrUnsupported }

// PutDevice writes a device and gives it back as it is stored. A Secret given becomes its only one; see RotateSecret.
func (r *Registry) PutDevice(ctx context.Context, d Device, mode PutMode) (Device, error) {
	return Device{}, errors.ErrUnsupported
}

// RotateSecret makes secret ("": one is generated) the device's newest; the newest so far stays valid beside it, an
// older one ends. It returns the secret.
func (r *Registry) RotateSecret(ctx context.Context, id DeviceID, secret string) (string, error) {
	return "", errors.ErrUnsupported
}

// EndRotation drops the older of two secrets.
func (r *Registry) EndRotation(ctx context.Context, id DeviceID) error { return errors.ErrUnsupported }

// GetDevice reads one device from Redis; ErrUnknown if there is none.
func (r *Registry) GetDevice(ctx context.Context, id DeviceID) (Device, error) {
	return Device{}, errors.ErrUnsupported
}

// DeleteDevice forgets a device; ErrUnknown if there is none.
func (r *Registry) DeleteDevice(ctx context.Context, id DeviceID) error { return errors.ErrUnsupported }

// ListQuery asks for one page of a list, in the order of ids or names.
type ListQuery struct {
	After   string // the last id or name of the page before; "": from the start
	Limit   int    // 0: 50; at most 1000
	Reverse bool   // from the end

	CreatedSince, CreatedBefore   time.Time // since includes the instant, before does not; zero: no bound
	ModifiedSince, ModifiedBefore time.Time
}

// ListDevices gives one page, and in next what After must be for the following one; "" after the last.
func (r *Registry) ListDevices(ctx context.Context, q ListQuery) (page []Device, next string, err error) {
	return nil, "", errors.ErrUnsupported
}

// PutApp writes an app. Creating one generates its key, which is returned here and never again; replacing keeps the key
// and returns "".
func (r *Registry) PutApp(ctx context.Context, a App, mode PutMode) (App, string, error) {
	return App{}, "", errors.ErrUnsupported
}

// GetApp reads one app; ErrUnknown if there is none.
func (r *Registry) GetApp(ctx context.Context, name string) (App, error) {
	return App{}, errors.ErrUnsupported
}

// DeleteApp forgets an app; ErrUnknown if there is none.
func (r *Registry) DeleteApp(ctx context.Context, name string) error { return errors.ErrUnsupported }

// ListApps gives one page, and in next what After must be for the following one; "" after the last.
func (r *Registry) ListApps(ctx context.Context, q ListQuery) (page []App, next string, err error) {
	return nil, "", errors.ErrUnsupported
}

// AppByKey finds the app whose key it is: the bearer token of an API call.
func (r *Registry) AppByKey(ctx context.Context, key string) (*App, error) {
	return nil, errors.ErrUnsupported
}

// AppLogin checks an app's MQTT login.
func (r *Registry) AppLogin(ctx context.Context, name, key string) (*App, error) {
	return nil, errors.ErrUnsupported
}

// RecheckApp gives the app of a session as it is now; ErrUnknown when it is gone or has another key.
func (r *Registry) RecheckApp(ctx context.Context, a *App) (*App, error) {
	return nil, errors.ErrUnsupported
}

// Labels gives a device's labels, from the cache where it may; ErrUnknown if there is no such device.
func (r *Registry) Labels(ctx context.Context, id DeviceID) (map[string]string, error) {
	return nil, errors.ErrUnsupported
}

// Sees is App.Sees with the labels looked up where the filter needs them; an unknown device has none.
func (r *Registry) Sees(ctx context.Context, a *App, id DeviceID) (bool, error) {
	return false, errors.ErrUnsupported
}

// ChangeKind says what changed.
type ChangeKind uint8

const (
	ChangeAll    ChangeKind = iota // anything may have: changes could have been missed
	ChangeDevice                   // Device was put or deleted
	ChangeApp                      // App was put or deleted
)

// Change is a change of the registry, made by this process or another.
type Change struct {
	Kind   ChangeKind
	Device DeviceID
	App    string
}

// OnChange has f called for each change, in their order, from Run, after the cache has forgotten what changed. f must
// not block: while it runs, nothing else is learned.
func (r *Registry) OnChange(f func(Change)) {}

// Stats are counters since the start, and the cache as it is.
type Stats struct {
	Hits, Misses   uint64 // lookups of devices in the cache
	Loads          uint64 // devices read from Redis, for misses and before refusals
	LoadErrors     uint64
	Busy           uint64 // refusals that could not be checked
	Invalidations  uint64 // devices dropped from the cache by a change
	Drops          uint64 // times the whole cache was dropped
	Evictions      uint64
	Entries, Bytes int64
	LeaseValid     bool // every partition's cache may be trusted
}

// Stats gives the counters.
func (r *Registry) Stats() Stats { return Stats{} }
