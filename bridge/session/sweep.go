package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// sweep forgets sessions that have expired, then those of apps that are gone.
func (w *Watch) sweep(ctx context.Context) error {
	for p := range w.keeper.keys.Count() {
		n, err := w.keeper.sweep(ctx, p)
		w.metrics.expired.Add(float64(n))
		if err != nil {
			return err
		}
	}
	for p := range w.keeper.keys.Count() {
		if err := w.sweepApps(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// sweepApps looks up each app that has sessions in a partition.
func (w *Watch) sweepApps(ctx context.Context, p int) error {
	for low := "-"; ; {
		app, ok, err := w.appFrom(ctx, p, low)
		if err != nil || !ok {
			return err
		}
		if err := w.sweepApp(ctx, app); err != nil {
			return err
		}
		low = "[" + app + "0" // behind all names that begin with app/
	}
}

// appFrom is the first app with a session whose name is not below low.
func (w *Watch) appFrom(ctx context.Context, p int, low string) (app string, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	names, err := w.cfg.Client.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: w.keeper.keys.names(p), ByLex: true, Start: low, Stop: "+", Count: 1,
	}).Result()
	if err != nil {
		return "", false, fmt.Errorf("read apps with sessions: %w", unavailable(err))
	}
	if len(names) == 0 {
		return "", false, nil
	}
	return appOf(names[0]), true, nil
}

// sweepApp forgets an app's sessions when the app is gone. One that was made
// anew under its name is another: its sessions are told by when it was made.
func (w *Watch) sweepApp(ctx context.Context, app string) error {
	known, err := w.created(ctx, app)
	if err != nil || known != "" {
		return err
	}
	for q := (Query{App: app, Limit: saveChunk}); ; {
		names, more, err := w.reading.namesAfter(ctx, q)
		if err != nil {
			return fmt.Errorf("sweep sessions of app %s: %w", app, err)
		}
		records, err := w.read(ctx, names, w.recordOf, fieldAppCreated)
		if err != nil {
			return err
		}
		// Only now: the app of a session that was opened meanwhile is there.
		if known, err = w.created(ctx, app); err != nil {
			return err
		}
		if err := w.forget(ctx, names, records, known); err != nil || !more {
			return err
		}
		q.After = names[len(names)-1]
	}
}

func (w *Watch) recordOf(name string) string { return w.keeper.keys.session(name)[0] }

// created is when an app was made, as records have it; "" if there is none.
func (w *Watch) created(ctx context.Context, app string) (string, error) {
	if app == auth.AdminName {
		return createdOf(auth.App{}.CreatedAt), nil
	}
	a, err := w.cfg.Apps.GetApp(ctx, app)
	switch {
	case errors.Is(err, auth.ErrUnknown):
		return "", nil
	case err != nil:
		return "", err
	}
	return createdOf(a.CreatedAt), nil
}

// forgetOlder forgets sessions of apps that were made anew since; their records
// then say nothing. created is what is known of apps, and perhaps older than
// the records: only that a session is older than its app is certain.
func (w *Watch) forgetOlder(ctx context.Context, names []string, records [][]string, created map[string]string) error {
	for i, name := range names {
		app := appOf(name)
		known, ok := created[app]
		if !ok {
			var err error
			if known, err = w.created(ctx, app); err != nil {
				return err
			}
			created[app] = known
		}
		if known == "" || records[i][0] == "" || number(records[i][0]) >= number(known) {
			continue
		}
		if err := w.forget(ctx, names[i:i+1], records[i:i+1], known); err != nil {
			return err
		}
		records[i][0] = ""
	}
	return nil
}

// forget removes those of the sessions whose app was made at another time.
func (w *Watch) forget(ctx context.Context, names []string, records [][]string, created string) error {
	var calls []call
	for i, name := range names {
		if was := records[i][0]; was != created && was != "" {
			calls = append(calls, call{w.keeper.keys.session(name), []any{name, was}})
		}
	}
	n, err := w.keeper.forget(ctx, w.keeper.scripts.remove, calls)
	w.metrics.expired.Add(float64(n))
	return err
}

// read gives some fields of several hashes; "" for what is not there.
func (w *Watch) read(ctx context.Context, names []string, key func(string) string, fields ...string) ([][]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := w.cfg.Client.Pipeline()
	replies := make([]*redis.SliceCmd, len(names))
	for i, name := range names {
		replies[i] = pipe.HMGet(ctx, key(name), fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read sessions: %w", unavailable(err))
	}
	values := make([][]string, len(names))
	for i, reply := range replies {
		values[i] = make([]string, len(fields))
		for j, v := range reply.Val() {
			values[i][j], _ = v.(string)
		}
	}
	return values, nil
}

// isOrphan reports whether a shared subscription is of an app that is gone: one
// made anew under its name is another. created is what is known of apps, and
// perhaps older than the subscription.
func (w *Watch) isOrphan(ctx context.Context, name shareName, created map[string]string) (bool, error) {
	if created[name.app] == name.created {
		return false, nil
	}
	known, err := w.created(ctx, name.app)
	if err != nil {
		return false, err
	}
	created[name.app] = known
	return known != name.created, nil
}

// pruneShares forgets what is left of shared subscriptions that have expired,
// or with even if they live.
func (w *Watch) pruneShares(ctx context.Context, p int, names []string, even bool) error {
	calls := make([]call, len(names))
	for i, name := range names {
		calls[i] = call{w.keeper.keys.shareOf(p, name).all(), []any{name, flag(even)}}
	}
	for _, reply := range runAll(ctx, w.cfg.Client, w.prune, calls) {
		if err := reply.Err(); err != nil {
			return fmt.Errorf("prune shared subscriptions: %w", unavailable(err))
		}
	}
	return nil
}

// streamOf is the stream of a shared subscription, which its name begins with.
func (k keys) streamOf(p int, kind string) (broker.Stream, bool) {
	for i, name := range kinds() {
		if name == kind {
			return k.number(i, p), true
		}
	}
	return 0, false
}
