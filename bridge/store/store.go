// Package store opens the Redis that everything is kept in: a server by URL, a
// redis-server child of its own, or miniredis in this process. It knows nothing
// of what is kept there, and callers need not know which of the three it is.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// Kinds of store.
const (
	KindServer    = "server"    // somebody else's, by URL
	KindChild     = "child"     // a redis-server that lives and dies with us
	KindMiniredis = "miniredis" // in memory, lost at exit
)

// Embedded is the URL that asks for a store of our own.
const Embedded = "embedded"

// Config says which Redis.
type Config struct {
	URL  string // see [Open]; empty: Embedded
	Data string // directory of the child's data; empty: DefaultData()
	Log  *slog.Logger

	Patience  time.Duration // how long Open waits for a server that is not there yet; 0: 5 s
	Unchecked bool          // Open leaves it to the caller to find out what server it is, and whether it is there

	Probe []string // keys that CanStore writes, one for each slot in use; empty: one key
}

// Store is an open Redis. Its clients give up within half a second (Blocking:
// beyond the time it was asked to block) and obey the context's deadline.
//
// Neither sends a command twice, except on a cluster, where go-redis follows a
// MOVED and repeats after a broken connection in the same loop: what is written
// must be safe to write twice.
type Store struct {
	Client   redis.UniversalClient // for devices' messages
	Reader   redis.UniversalClient // for what apps ask for: their reads must not keep a message waiting for a connection
	Blocking redis.UniversalClient // for XREAD BLOCK and SUBSCRIBE, which hold a connection
	Kind     string

	describe string
	form     string // of the URL
	probe    []string
	log      *slog.Logger
	backend  backend // nil: a server that is not ours
}

// backend is a Redis that we run ourselves.
type backend interface {
	target() target
	stop() error // returns when it has ended, with all it took on disk
}

// Open connects. The URL is one of
//
//	embedded
//	redis://[user:password@]host[:port][/db]       rediss:// with TLS
//	unix://[user:password@]/path/to/socket[?db=n]
//	redis+sentinel://[user:password@]host[:port],…/master[/db][?sentinel_user=…&sentinel_password=…]
//	redis+cluster://[user:password@]host[:port],…  rediss+cluster://, rediss+sentinel:// with TLS
//
// with the TLS parameters ca, cert, key (PEM files), server_name and
// skip_verify=true. Redis 7.0 is the oldest taken.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	// go-redis logs through one logger of the whole process; ours says once
	// what go-redis says at every attempt.
	redis.SetLogger(clientLog{c.Log})
	s := &Store{Kind: KindServer, log: c.Log, probe: c.Probe}
	if len(s.probe) == 0 {
		s.probe = []string{"m2m:{0}:probe"}
	}
	t, err := s.start(ctx, c)
	if err != nil {
		return nil, err
	}
	s.describe, s.form = t.String(), t.form
	s.Client, s.Reader, s.Blocking = t.client(), t.client(), t.blocking()
	if c.Unchecked {
		return s, nil
	}
	if err := s.check(ctx, t, c.Patience); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// start finds, or starts, the Redis that the configuration means.
func (s *Store) start(ctx context.Context, c Config) (t target, err error) {
	if c.URL != Embedded && c.URL != "" {
		t, err := parseURL(c.URL)
		if err != nil {
			return t, fmt.Errorf("redis URL: %w", err)
		}
		return t, nil
	}
	if s.Kind, s.backend, err = startEmbedded(ctx, c); err != nil {
		return t, fmt.Errorf("embedded store: %w", err)
	}
	return s.backend.target(), nil
}

// Describe says in a few words what it is and where, without a password.
func (s *Store) Describe() string { return s.describe }

// Run watches the store until ctx ends, and logs when it goes and when it is
// back. A child is restarted whether or not Run runs, until Close.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for up := true; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.Client.Ping(ctx).Err()
		if ctx.Err() != nil || (err == nil) == up {
			continue
		}
		if up = err == nil; up {
			s.log.Info("redis is back", "store", s.describe)
		} else {
			s.log.Warn("redis is away", "store", s.describe, "error", Explain(err))
		}
	}
}

// Close ends the clients, then the child, and returns when it has ended.
// Everything else that uses the store must have stopped before.
func (s *Store) Close() error {
	var errs []error
	for _, c := range []redis.UniversalClient{s.Client, s.Reader, s.Blocking} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if s.backend != nil {
		errs = append(errs, s.backend.stop())
	}
	return errors.Join(errs...)
}

// clientLog takes what go-redis logs.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client says", "text", fmt.Sprintf(format, v...))
	}
}
