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
	"strings"
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
	Limits  Limits   `json:"limits,omitzero"`
}

// PutApp writes an app. Creating one generates its key, which is returned here and never again; replacing keeps the key
// and returns "".
func (r *Registry) PutApp(ctx context.Context, a App, mode PutMode) (App, string, error) {
	key := ""
	stored, err := r.changeApp(ctx, a.Name, AnyRevision, func(old *App) (App, error) {
		exists := !old.CreatedAt.IsZero()
		switch {
		case exists && mode == Create:
			return App{}, ErrExists
		case !exists && mode == Replace:
			return App{}, ErrUnknown
		}
		next := a.clone()
		if key = ""; exists {
			next.keyHash, next.oldHash, next.OldKeyEndsAt = old.keyHash, old.oldHash, old.OldKeyEndsAt
		} else {
			key = newAppKey()
			next.keyHash = sha256.Sum256([]byte(key))
		}
		return next, nil
	})
	if err != nil {
		return App{}, "", fmt.Errorf("put app %s: %w", a.Name, err)
	}
	return stored, key, nil
}

// UpdateApp changes an app in place: change gets it as it is stored and makes it what it is to be. It may be called
// several times. ErrUnknown, ErrRevision if the app is not of the revision given, ErrConflict; an error of change ends it.
func (r *Registry) UpdateApp(ctx context.Context, name string, revision int64, change func(*App) error) (App, error) {
	stored, err := r.changeApp(ctx, name, revision, func(old *App) (App, error) {
		if old.CreatedAt.IsZero() {
			return App{}, ErrUnknown
		}
		next := old.clone()
		return next, change(&next)
	})
	if err != nil {
		return App{}, fmt.Errorf("update app %s: %w", name, err)
	}
	return stored, nil
}

// RotateAppKey gives an app a new key, which is returned here and never again. The key it has stays valid for the window,
// one from before that ends at once.
func (r *Registry) RotateAppKey(ctx context.Context, name string, revision int64, window time.Duration) (App, string, error) {
	if err := checkWindow(window); err != nil {
		return App{}, "", fmt.Errorf("rotate key of app %s: %w", name, err)
	}
	key := newAppKey()
	stored, err := r.changeApp(ctx, name, revision, func(old *App) (App, error) {
		if old.CreatedAt.IsZero() {
			return App{}, ErrUnknown
		}
		next := old.clone()
		next.keyHash, next.oldHash, next.OldKeyEndsAt = sha256.Sum256([]byte(key)), [sha256.Size]byte{}, time.Time{}
		if window > 0 {
			next.oldHash, next.OldKeyEndsAt = old.keyHash, r.now().Add(window).Truncate(time.Millisecond).UTC()
		}
		return next, nil
	})
	if err != nil {
		return App{}, "", fmt.Errorf("rotate key of app %s: %w", name, err)
	}
	return stored, key, nil
}

// changeApp reads an app, has change make what it is to be, and writes that unless somebody else has changed it meanwhile;
// then it starts anew. An app that there is not has no time of creation.
func (r *Registry) changeApp(ctx context.Context, name string, revision int64, change func(old *App) (App, error)) (App, error) {
	defer r.apps.invalidate()
	if err := checkAppName(name); err != nil {
		return App{}, err
	}
	for range tries(ctx) {
		old, err := r.GetApp(ctx, name)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return App{}, err
		}
		exists := err == nil
		if exists && revision != AnyRevision && old.Revision() != revision {
			return App{}, ErrRevision
		}
		next, err := change(&old)
		if err != nil {
			return App{}, err
		}
		next.Name, next.CreatedAt = name, old.CreatedAt
		if err := next.check(); err != nil {
			return App{}, err
		}
		if exists && next.same(&old) {
			return old, nil
		}
		if done, err := r.writeApp(ctx, &old, &next, exists); err != nil || done {
			return next, err
		}
	}
	return App{}, ErrConflict
}

// same reports whether nothing differs that is stored. Scopes and devices are sets, and yet whoever puts them in another
// order wants to see them so.
func (a *App) same(as *App) bool {
	return a.Limits == as.Limits && slices.Equal(a.Scopes, as.Scopes) && slices.Equal(a.Devices, as.Devices) && a.keysText() == as.keysText()
}

func (r *Registry) writeApp(ctx context.Context, old, next *App, exists bool) (done bool, err error) {
	w := write{thing: r.keys.appThing(next.Name), revision: r.now().UnixMilli()}
	if exists {
		w.expected = old.Revision()
		w.revision = max(w.revision, w.expected+1)
	}
	next.ModifiedAt = time.UnixMilli(w.revision).UTC()
	if !exists {
		next.CreatedAt = next.ModifiedAt
	}
	w.created = next.CreatedAt.UnixMilli()
	text, err := json.Marshal(aboutApp{next.Scopes, next.Devices, next.Limits})
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	w.fields = []any{fieldKey, next.keysText(), fieldAbout, text}
	return r.writeOne(ctx, w)
}

// keysText is the field of an app's keys: the hash of its key, and during a rotation that of the old one and its end.
func (a *App) keysText() string {
	text := hex.EncodeToString(a.keyHash[:])
	if !a.OldKeyEndsAt.IsZero() {
		text += " " + hex.EncodeToString(a.oldHash[:]) + " " + strconv.FormatInt(a.OldKeyEndsAt.UnixMilli(), 10)
	}
	return text
}

// readKeys is keysText's inverse. An old key whose time is over is left out.
func (a *App) readKeys(text string, now time.Time) error {
	words := strings.Fields(text)
	if len(words) != 1 && len(words) != 3 {
		return errRecord
	}
	if err := readHash(&a.keyHash, words[0]); err != nil || len(words) == 1 {
		return err
	}
	ends, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return err
	}
	if until := time.UnixMilli(ends).UTC(); now.Before(until) {
		a.OldKeyEndsAt = until
		return readHash(&a.oldHash, words[1])
	}
	return nil
}

func readHash(hash *[sha256.Size]byte, text string) error {
	if n, err := hex.Decode(hash[:], []byte(text)); err != nil || n != sha256.Size {
		return errRecord
	}
	return nil
}

// GetApp reads one app; ErrUnknown if there is none.
func (r *Registry) GetApp(ctx context.Context, name string) (App, error) {
	fields, err := r.readHash(ctx, r.keys.app(name))
	if err != nil {
		return App{}, fmt.Errorf("get app %s: %w", name, err)
	}
	a, err := r.appOf(name, fields)
	if err != nil {
		return App{}, err
	}
	return *a, nil
}

// DeleteApp forgets an app of that revision; ErrUnknown if there is none, ErrRevision if it is of another.
func (r *Registry) DeleteApp(ctx context.Context, name string, revision int64) error {
	defer r.apps.invalidate()
	for range tries(ctx) {
		old, err := r.GetApp(ctx, name)
		switch {
		case err != nil:
		case revision != AnyRevision && old.Revision() != revision:
			err = ErrRevision
		default:
			err = r.erase(ctx, r.keys.appThing(name), old.Revision())
		}
		if !errors.Is(err, errOtherRevision) {
			if err != nil {
				return fmt.Errorf("delete app %s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("delete app %s: %w", name, ErrConflict)
}

// ListApps gives one page in the order of names, and in next what After must be for the following one; "" after the last.
func (r *Registry) ListApps(ctx context.Context, q ListQuery) (page []App, next string, err error) {
	q.Sort = ByID
	l := lister{r: r, q: q, indexes: []string{r.keys.apps()}, key: r.keys.app}
	l.add = func(name string, fields map[string]string) (bool, error) {
		a, err := r.appOf(name, fields)
		if err == nil {
			page = append(page, *a)
		}
		return err == nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	if next, err = l.run(ctx); err != nil {
		return nil, "", fmt.Errorf("list apps: %w", err)
	}
	return page, next, nil
}

// appOf reads an app's hash.
func (r *Registry) appOf(name string, fields map[string]string) (*App, error) {
	damaged := func(err error) (*App, error) { return nil, fmt.Errorf("read app %s: %w", name, unavailable(err)) }
	var stored aboutApp
	if err := json.Unmarshal([]byte(fields[fieldAbout]), &stored); err != nil {
		return damaged(err)
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
		Name: name, Scopes: stored.Scopes, Devices: stored.Devices, Limits: stored.Limits,
		CreatedAt: time.UnixMilli(created).UTC(), ModifiedAt: time.UnixMilli(modified).UTC(),
	}
	if err := a.readKeys(fields[fieldKey], r.now()); err != nil {
		return damaged(err)
	}
	if err := a.parseFilter(); err != nil {
		return damaged(err)
	}
	return a, nil
}

func checkAppName(name string) error {
	switch {
	case !isAppName(name):
		return fmt.Errorf("%w app name: want at most %d of a-z 0-9 . _ - with a letter or digit first", ErrInvalid, maxAppName)
	case name == AdminName:
		return fmt.Errorf("%w app name: %s is the configuration's", ErrInvalid, AdminName)
	}
	return nil
}

// check says which rule an app breaks, and brings its filter into its canonical spelling.
func (a *App) check() error {
	if err := checkAppName(a.Name); err != nil {
		return err
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
	if err := a.Limits.check(); err != nil {
		return err
	}
	for _, text := range a.Devices {
		if _, value, _ := strings.Cut(text, "="); !isText(value) {
			return fmt.Errorf("%w app device %.64q: want at most %d bytes of %s", ErrInvalid, text, maxText, wantText)
		}
	}
	return a.parseFilter()
}
