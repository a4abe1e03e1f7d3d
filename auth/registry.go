package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// RegistryConfig is what a Registry needs.
type RegistryConfig struct {
	// Client answers lookups and takes changes. It must bound its commands by their contexts (ContextTimeoutEnabled) and
	// should not repeat them (MaxRetries -1).
	Client redis.UniversalClient
	// Blocking is a client of its own for XREAD BLOCK: Run holds a connection of it, one per partition on a cluster. It
	// may be nil where Run is not run.
	Blocking redis.UniversalClient

	Keys       Keyspace
	SecretKey  string // encrypts device secrets at rest; "": they are stored in plain
	AdminKey   string // the key of the app "admin"; "": there is none
	CacheBytes int64  // the bound of the device cache; 0: 64 MiB

	// Attached gives the keys, in the device's partition, that other packages keep of a device: they go with it. Nil: none.
	Attached func(DeviceID) []string

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: time.Now
}

// Registry is the devices and apps in Redis, with what this process remembers of them.
type Registry struct {
	client   redis.UniversalClient
	blocking redis.UniversalClient
	keys     Keyspace
	scripts  scripts
	vault    vault
	attached func(DeviceID) []string
	log      *slog.Logger
	now      func() time.Time

	cache    *cache
	births   births
	fresh    *lane // lookups of devices that are not cached
	suspect  *lane // second looks, before what the cache did not grant is refused
	attempts sync.Pool
	apps     *directory
	damages  damages

	leases   []*lease // by partition
	watchers []*watcher
	matches  chan match

	listening sync.Mutex
	listeners []func(Change)
	traces    []func(DeviceID)

	loads, loadErrors, busy, drops atomic.Uint64
}

// Lookups under way and waiting. The two lanes are apart so that a flood of wrong tokens for known devices, which is
// what waits in suspect, does not keep out devices that are merely not cached yet.
const (
	freshPipelines, freshBatch, freshWaiting       = 2, 256, 16384
	suspectPipelines, suspectBatch, suspectWaiting = 1, 128, 2048
)

// NewRegistry makes a registry; it asks nothing of Redis yet. Until Run runs, nothing is answered from memory.
func NewRegistry(c RegistryConfig) (*Registry, error) {
	if c.Client == nil {
		return nil, errors.New("registry without a redis client")
	}
	v, err := newVault(c.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("make registry: %w", err)
	}
	r := &Registry{
		client: c.Client, blocking: c.Blocking, keys: c.Keys, scripts: newScripts(), vault: v,
		attached: c.Attached, log: c.Log, now: c.Now, cache: newCache(c.CacheBytes), matches: make(chan match, matchesWaiting),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.attached == nil {
		r.attached = func(DeviceID) []string { return nil }
	}
	r.fresh = newLane(freshPipelines, freshBatch, freshWaiting, r.fetch)
	r.suspect = newLane(suspectPipelines, suspectBatch, suspectWaiting, r.fetch)
	dummy := []byte(GenerateSecret())
	r.attempts.New = func() any { return &attempt{digest: sha256.New(), dummy: dummy, now: r.now} }
	r.apps = newDirectory(c.AdminKey)
	r.leases, r.watchers = r.newWatchers()
	return r, nil
}

// Run follows the changes of the registry until ctx ends, which lets the cache be trusted; it returns nil then.
func (r *Registry) Run(ctx context.Context) error {
	if r.blocking == nil {
		return errors.New("run registry: no client for blocking reads")
	}
	var g errgroup.Group
	g.Go(func() error { r.recordMatches(ctx); return nil })
	g.Go(func() error { r.reindex(ctx); return nil })
	for _, w := range r.watchers {
		g.Go(func() error { w.run(ctx); return nil })
	}
	return g.Wait()
}

// attempt gives a question from the pool, which release takes back.
func (r *Registry) attempt(kind attemptKind) *attempt {
	a := r.attempts.Get().(*attempt)
	a.kind = kind
	return a
}

func (r *Registry) release(a *attempt) {
	a.reset()
	r.attempts.Put(a)
}

// recall gives a device's record from the cache, while that may be trusted.
func (r *Registry) recall(id DeviceID, a *attempt) (rec record, ok bool) {
	if !r.trusted(r.keys.Partition(id)) {
		return record{}, false
	}
	if a.text, ok = r.cache.get(id, a.text[:0]); !ok {
		return record{}, false
	}
	rec, err := parseRecord(a.text)
	return rec, err == nil
}

// loadSealed gives a device's record from Redis as it is stored; a.text is its text.
func (r *Registry) loadSealed(ctx context.Context, l *lane, id DeviceID, a *attempt) (record, error) {
	text, found, err := l.look(ctx, id)
	if err != nil {
		if errors.Is(err, ErrBusy) {
			r.busy.Add(1)
		}
		return record{}, err
	}
	if !found {
		return record{}, nil
	}
	a.text = append(a.text[:0], text...)
	rec, err := parseRecord(a.text)
	if err != nil {
		return record{}, r.damaged(id, err)
	}
	return rec, nil
}

// load gives a device's record from Redis, its secrets opened; a.text is its text then.
func (r *Registry) load(ctx context.Context, l *lane, id DeviceID, a *attempt) (record, error) {
	rec, err := r.loadSealed(ctx, l, id, a)
	if err != nil {
		return record{}, err
	}
	return r.opened(rec, id, a)
}

// opened is a record with its secrets opened; a.text is its text then.
func (r *Registry) opened(rec record, id DeviceID, a *attempt) (record, error) {
	if !rec.sealed() {
		return rec, nil
	}
	if err := rec.open(id, r.vault); err != nil {
		return record{}, err
	}
	a.text = rec.append(nil)
	return parseRecord(a.text)
}

// remember caches a record that was loaded when the cache was of that generation.
func (r *Registry) remember(id DeviceID, text []byte, generation uint64) {
	if r.trusted(r.keys.Partition(id)) {
		r.cache.put(id, text, generation)
	}
}

// newOp names one operation, so that a script sent twice knows itself.
func newOp() string { return rand.Text()[:16] }
