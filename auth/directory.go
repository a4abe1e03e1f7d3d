package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// directory keeps all apps in memory. They are few, and the API and every MQTT login ask for them.
type directory struct {
	admin *App // of the configuration; nil: there is none

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
	d := &directory{}
	if adminKey != "" {
		d.admin = &App{Name: AdminName, Scopes: []Scope{ScopeAdmin}, keyHash: sha256.Sum256([]byte(adminKey))}
	}
	return d
}

func (d *directory) invalidate() { d.generation.Add(1) }

// AppByKey finds the app whose key it is: the bearer token of an API call.
func (r *Registry) AppByKey(ctx context.Context, key string) (*App, error) {
	hash := sha256.Sum256([]byte(key))
	return r.findApp(ctx, func(s *snapshot) *App {
		if d := r.apps.admin; d != nil && d.hasKey(hash) {
			return d
		}
		if a := s.byKey[hash]; a != nil && a.hasKey(hash) {
			return a
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
		if name == AdminName {
			a = r.apps.admin
		}
		if a == nil {
			a = nobody
		}
		if a.hasKey(hash) && a != nobody {
			return a
		}
		return nil
	})
}

// RecheckApp gives the app of a session as it is now; ErrUnknown when it is gone or has another key.
func (r *Registry) RecheckApp(ctx context.Context, a *App) (*App, error) {
	if a == r.apps.admin {
		return a, nil
	}
	return r.findApp(ctx, func(s *snapshot) *App {
		if is := s.byName[a.Name]; is != nil && is.hasKey(a.keyHash) {
			return is
		}
		return nil
	})
}

func (a *App) hasKey(hash [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(a.keyHash[:], hash[:]) == 1
}

// findApp asks the snapshot while that may be trusted; what it does not find is looked for once more in Redis.
func (r *Registry) findApp(ctx context.Context, find func(*snapshot) *App) (*App, error) {
	if s := r.apps.now.Load(); s != nil && s.generation == r.apps.generation.Load() && r.trusted(0) {
		if a := find(s); a != nil {
			return a, nil
		}
	} else if a := find(&snapshot{}); a != nil {
		return a, nil // the admin, whom Redis does not know
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
	s := &snapshot{generation: d.generation.Load(), number: d.reads.Add(1)}
	if err := r.fillSnapshot(ctx, s); err != nil {
		return nil, err
	}
	d.now.Store(s)
	return s, nil
}

// fillSnapshot reads all apps.
func (r *Registry) fillSnapshot(ctx context.Context, s *snapshot) error {
	names, err := r.client.ZRange(ctx, r.keys.apps(), 0, -1).Result()
	if err != nil {
		return unavailable(err)
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = r.keys.app(name)
	}
	hashes, err := r.readHashes(ctx, keys)
	if err != nil {
		return err
	}
	s.byName, s.byKey = make(map[string]*App, len(names)), make(map[[sha256.Size]byte]*App, len(names))
	for i, name := range names {
		if hashes[i] == nil {
			continue // deleted just now
		}
		a, err := appOf(name, hashes[i])
		if err != nil {
			r.log.Error("app left out", "app", name, "error", err)
			continue
		}
		s.byName[name], s.byKey[a.keyHash] = a, a
	}
	return nil
}
