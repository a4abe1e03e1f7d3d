// Package bridge is the program: its configuration, its wiring, and the order
// in which its parts start and stop.
package bridge

import (
	"context"
	"fmt"
	"log/slog"

	"m2mbridge/bridge/store"
)

// Bridge is a running program: its store and its listeners.
type Bridge struct {
	store *store.Store
}

// Address is where a listener can be reached.
type Address struct{ Name, URL string }

// Open connects the store and opens the listeners, which then queue what
// arrives until Run.
func Open(ctx context.Context, c Config, log *slog.Logger) (*Bridge, error) {
	s, err := store.Open(ctx, store.Config{URL: c.Redis, Data: c.Data, Log: log})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return &Bridge{store: s}, nil
}

// Addresses lists the listeners, with the ports that were really taken.
func (b *Bridge) Addresses() []Address { return nil }

// Describe says in a few words where things are kept.
func (b *Bridge) Describe() string { return b.store.Describe() }

// Run serves until ctx ends, stops in order, and closes the store.
func (b *Bridge) Run(ctx context.Context) error {
	err := b.store.Run(ctx)
	if cerr := b.store.Close(); err == nil {
		err = cerr
	}
	return err
}
