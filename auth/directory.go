package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// directory keeps all apps in memory. They are few, and the API and every MQTT login ask for them.
type directory struct {
	configured snapshot // the apps that the configuration names, which Redis does not know: the admin

	generation atomic.Uint64 // changes so far that apps may have been touched by
	reads      atomic.Uint64 // readings begun so far
	now        atomic.Pointer[snapshot]

	reading sync.Mutex
	waiting atomic.Int64
}

// snapshot is all apps as one reading found them.
type snapshot struct {
	generation uint64 // when the reading began
	number     uint64 // which reading it was
	byName     map[string]*App
	byKey      map[[sha256.Size]byte]*App
}

// loginsWaiting bounds how many wait for a reading before they are refused.
const loginsWaiting = 4096

func newDirectory(adminKey string) *directory {
	d := &directory{configured: newSnapshot(1)}
	if adminKey != "" {
		d.configured.add(&App{Name: AdminName, Scopes: []Scope{ScopeAdmin}, keyHash: sha256.Sum256([]byte(adminKey))})
	}
	return d
}

func newSnapshot(apps int) snapshot {
	return snapshot{byName: make(map[string]*App, apps), byKey: make(map[[sha256.Size]byte]*App, apps)}
}

func (s *snapshot) add(a *App) {
	s.byName[a.Name], s.byKey[a.keyHash] = a, a
	if !a.OldKeyEndsAt.IsZero() {
		s.byKey[a.oldHash] = a
	}
}

// addAll adds the apps of another.
func (s *snapshot) addAll(of *snapshot) {
	for _, a := range of.byName {
		s.add(a)
	}
}

func (d *directory) invalidate() { d.generation.Add(1) }

// AppByKey finds the app whose key it is: the bearer token of an API call.
func (r *Registry) AppByKey(ctx context.Context, key string) (*App, error) {
	hash := sha256.Sum256([]byte(key))
	return r.findApp(ctx, func(s *snapshot) *App {
		if a := s.byKey[hash]; a != nil {
			return a.by(hash, r.now())
		}
		return nil
	})
}

// AppLogin checks an app's MQTT login. An unknown name and a wrong key are both ErrUnknown.
func (r *Registry) AppLogin(ctx context.Context, name, key string) (*App, error) {
	hash := sha256.Sum256([]byte(key))
	nobody := &App{}
	return r.findApp(ctx, func(s *snapshot) *App {
		a := s.byName[name]
		if a == nil {
			a = nobody
		}
		if found := a.by(hash, r.now()); a != nobody {
			return found
		}
		return nil
	})
}

// RecheckApp gives the app of a session as it is now; ErrUnknown when it is gone, or its session's key is not valid any
// more.
func (r *Registry) RecheckApp(ctx context.Context, a *App) (*App, error) {
	return r.findApp(ctx, func(s *snapshot) *App {
		if is := s.byName[a.Name]; is != nil {
			return is.by(a.usedHash(), r.now())
		}
		return nil
	})
}

// findApp asks the snapshot while that may be trusted, else the apps that need no Redis; what it does not find is looked
// for once more in Redis.
func (r *Registry) findApp(ctx context.Context, find func(*snapshot) *App) (*App, error) {
	s := r.apps.now.Load()
	if s == nil || s.generation != r.apps.generation.Load() || !r.trusted(0) {
		s = &r.apps.configured
	}
	if a := find(s); a != nil {
		return a, nil
	}
	s, err := r.readApps(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up app: %w", err)
	}
	if a := find(s); a != nil {
		return a, nil
	}
	return nil, ErrUnknown
}

// readApps gives a snapshot whose reading began after the call. Callers that wait for each other share one.
func (r *Registry) readApps(ctx context.Context) (*snapshot, error) {
	d := r.apps
	begun := d.reads.Load()
	if d.waiting.Add(1) > loginsWaiting {
		d.waiting.Add(-1)
		r.busy.Add(1)
		return nil, ErrBusy
	}
	defer d.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	d.reading.Lock()
	defer d.reading.Unlock()
	if s := d.now.Load(); s != nil && s.number > begun {
		return s, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(errors.Join(errNoAnswer, err))
	}
	generation, number := d.generation.Load(), d.reads.Add(1)
	s, err := r.readSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	s.generation, s.number = generation, number
	d.now.Store(s)
	return s, nil
}

// readSnapshot reads all apps.
func (r *Registry) readSnapshot(ctx context.Context) (*snapshot, error) {
	names, err := r.client.ZRange(ctx, r.keys.apps(), 0, -1).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = r.keys.app(name)
	}
	hashes, err := r.readHashes(ctx, keys)
	if err != nil {
		return nil, err
	}
	s := newSnapshot(len(names) + 1)
	for i, name := range names {
		if hashes[i] == nil {
			continue // deleted just now
		}
		a, err := r.appOf(name, hashes[i])
		if err != nil {
			r.log.Error("app left out", "app", name, "error", err)
			continue
		}
		s.add(a)
	}
	s.addAll(&r.apps.configured)
	return &s, nil
}
