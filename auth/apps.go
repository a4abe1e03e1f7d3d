package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// An app key is m2m_ and 32 random bytes in base64url: nobody guesses one, so that a plain hash of it is kept.
const (
	appKeyPrefix = "m2m_"
	appKeyBytes  = 32
)

func newAppKey() string {
	var random [appKeyBytes]byte
	_, _ = rand.Read(random[:]) // it never fails: crypto/rand ends the program first
	return appKeyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// aboutApp is the JSON of an app's hash.
type aboutApp struct {
	Scopes  []Scope  `json:"scopes"`
	Devices []string `json:"devices,omitempty"`
}

// PutApp writes an app. Creating one generates its key, which is returned here and never again; replacing keeps the key
// and returns "".
func (r *Registry) PutApp(ctx context.Context, a App, mode PutMode) (App, string, error) {
	if err := a.check(); err != nil {
		return App{}, "", fmt.Errorf("put app: %w", err)
	}
	defer r.apps.invalidate()
	for range putTries {
		key, done, err := r.putApp(ctx, &a, mode)
		if err != nil {
			return App{}, "", fmt.Errorf("put app %s: %w", a.Name, err)
		}
		if done {
			return a, key, nil
		}
	}
	return App{}, "", fmt.Errorf("put app %s: %w", a.Name, ErrConflict)
}

// putApp writes it unless somebody else has changed it meanwhile.
func (r *Registry) putApp(ctx context.Context, a *App, mode PutMode) (key string, done bool, err error) {
	old, err := r.GetApp(ctx, a.Name)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return "", false, err
	}
	exists := err == nil
	switch {
	case exists && mode == Create:
		return "", false, ErrExists
	case !exists && mode == Replace:
		return "", false, ErrUnknown
	}
	expected, revision := int64(0), r.now().UnixMilli()
	a.keyHash, a.CreatedAt = old.keyHash, old.CreatedAt
	if exists {
		expected = old.ModifiedAt.UnixMilli()
		revision = max(revision, expected+1)
	} else {
		key = newAppKey()
		a.keyHash, a.CreatedAt = sha256.Sum256([]byte(key)), time.UnixMilli(revision).UTC()
	}
	a.ModifiedAt = time.UnixMilli(revision).UTC()
	text, err := json.Marshal(aboutApp{a.Scopes, a.Devices})
	if err != nil {
		return "", false, fmt.Errorf("encode: %w", err)
	}
	done, err = r.write(ctx, r.keys.appThing(a.Name), expected, revision,
		fieldCreated, a.CreatedAt.UnixMilli(), fieldKey, hex.EncodeToString(a.keyHash[:]), fieldAbout, text)
	return key, done, err
}

// GetApp reads one app; ErrUnknown if there is none.
func (r *Registry) GetApp(ctx context.Context, name string) (App, error) {
	fields, err := r.readHash(ctx, r.keys.app(name))
	if err != nil {
		return App{}, fmt.Errorf("get app %s: %w", name, err)
	}
	a, err := appOf(name, fields)
	if err != nil {
		return App{}, err
	}
	return *a, nil
}

// DeleteApp forgets an app; ErrUnknown if there is none.
func (r *Registry) DeleteApp(ctx context.Context, name string) error {
	defer r.apps.invalidate()
	if err := r.erase(ctx, r.keys.appThing(name)); err != nil {
		return fmt.Errorf("delete app %s: %w", name, err)
	}
	return nil
}

// ListApps gives one page, and in next what After must be for the following one; "" after the last.
func (r *Registry) ListApps(ctx context.Context, q ListQuery) (page []App, next string, err error) {
	next, err = r.list(ctx, q, []string{r.keys.apps()}, r.keys.app, func(name string, fields map[string]string) error {
		a, err := appOf(name, fields)
		if err == nil {
			page = append(page, *a)
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list apps: %w", err)
	}
	return page, next, nil
}

// appOf reads an app's hash.
func appOf(name string, fields map[string]string) (*App, error) {
	damaged := func(err error) (*App, error) { return nil, fmt.Errorf("read app %s: %w", name, unavailable(err)) }
	var stored aboutApp
	if err := json.Unmarshal([]byte(fields[fieldAbout]), &stored); err != nil {
		return damaged(err)
	}
	keyHash, err := hex.DecodeString(fields[fieldKey])
	if err != nil || len(keyHash) != sha256.Size {
		return damaged(errRecord)
	}
	created, err := strconv.ParseInt(fields[fieldCreated], 10, 64)
	if err != nil {
		return damaged(err)
	}
	modified, err := strconv.ParseInt(fields[fieldRev], 10, 64)
	if err != nil {
		return damaged(err)
	}
	a := &App{
		Name: name, Scopes: stored.Scopes, Devices: stored.Devices, keyHash: [sha256.Size]byte(keyHash),
		CreatedAt: time.UnixMilli(created).UTC(), ModifiedAt: time.UnixMilli(modified).UTC(),
	}
	if err := a.parseFilter(); err != nil {
		return damaged(err)
	}
	return a, nil
}

// check says which rule an app breaks, and brings its filter into its canonical spelling.
func (a *App) check() error {
	if !isAppName(a.Name) {
		return fmt.Errorf("%w app name: want at most %d of a-z 0-9 . _ - with a letter or digit first", ErrInvalid, maxAppName)
	}
	if a.Name == AdminName {
		return fmt.Errorf("%w app name: %s is the configuration's", ErrInvalid, AdminName)
	}
	for _, s := range a.Scopes {
		if !slices.Contains(Scopes(), s) {
			return fmt.Errorf("%w scope %.32q", ErrInvalid, string(s))
		}
	}
	if len(a.Scopes) == 0 {
		return fmt.Errorf("%w app: it has no scope", ErrInvalid)
	}
	if len(a.Devices) > maxAppDevices {
		return fmt.Errorf("%w app devices: more than %d", ErrInvalid, maxAppDevices)
	}
	return a.parseFilter()
}
