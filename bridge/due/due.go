// Package due keeps what is to be done at a time: entries in sorted sets of
// Redis, each with its data, which nodes claim under leases when they are due.
// It does not know what is to be done. DESIGN.md beside this file has the
// promise, and the rules for scripts of other packages.
//
// Use a [Set] to add, cancel and look at entries, a [Worker] to act on them as
// they fall due, and [Script] to change entries in the step that changes keys of
// your own. Do not write to the keys in any other way.
package due

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// Kind names sets. Each has sets, workers and budgets of its own.
type Kind string

// The kinds there are.
const (
	Downlink Kind = "downlink"
	SMS      Kind = "sms"
)

// Limits.
const (
	MaxClaim     = 1000 // entries in one claim
	DefaultLease = 30 * time.Second
	// DefaultHorizon is beyond all that one would schedule: what is due later is a mistake in the unit.
	DefaultHorizon = 366 * 24 * time.Hour
)

var (
	// ErrNotHeld: the claim is over. The entry was cancelled or moved, or its
	// lease ran out and it was claimed again, or it was settled before.
	ErrNotHeld = errors.New("claim not held any more")
	// ErrUnavailable: Redis could not be asked; try again.
	ErrUnavailable = errors.New("due entries unavailable")
	// ErrInvalid: an entry that cannot be.
	ErrInvalid = errors.New("invalid due entry")
)

// Config is what a Set needs.
type Config struct {
	Client  redis.UniversalClient
	Keys    auth.Keyspace
	Kind    Kind
	Lease   time.Duration // of a claim; 0: DefaultLease
	Horizon time.Duration // what is due later than this from now is a fault; 0: DefaultHorizon

	// Clock is for tests, and must never tell the same time twice. Nil: that of
	// the Redis which has the entry, the same for all nodes.
	Clock func() time.Time
}

// Set is the entries of one kind, in all partitions. An id is one entry within
// its kind and partition.
type Set struct {
	cfg     Config
	keys    keys
	scripts scripts
}

// NewSet makes a Set. It asks nothing of Redis.
func NewSet(c Config) *Set {
	if c.Lease <= 0 {
		c.Lease = DefaultLease
	}
	if c.Horizon <= 0 {
		c.Horizon = DefaultHorizon
	}
	return &Set{cfg: c, keys: keys{c.Keys, c.Kind}, scripts: newScripts()}
}

// Partitions is their number.
func (s *Set) Partitions() int { return s.cfg.Keys.Count() }

// Lease is how long a claim lasts.
func (s *Set) Lease() time.Duration { return s.cfg.Lease }
