// Package store opens the Redis that everything is kept in: a server by URL,
// a redis-server child of its own, or miniredis in memory. It knows nothing of
// what is kept there.
package store

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// Config says which Redis.
type Config struct {
	URL  string
	Data string
	Log  *slog.Logger
}

// Store is an open Redis.
type Store struct {
	Client   redis.UniversalClient // for all commands but blocking ones
	Blocking redis.UniversalClient // for XREAD BLOCK and the like
	Kind     string                // "server", "child" or "miniredis"
}

// Open is to be replaced within the hour.
func Open(ctx context.Context, c Config) (*Store, error) { return &Store{Kind: "server"}, nil }

// Describe says in a few words what and where it is.
func (s *Store) Describe() string { return s.Kind }

// Run supervises until ctx ends.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Close ends the clients.
func (s *Store) Close() error { return nil }
