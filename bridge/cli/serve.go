package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"m2mbridge/bridge"
)

// Serve is `m2mbridge serve`.
type Serve struct {
	bridge.Config `embed:""`
	JSON          bool `name:"json" help:"Say that it is ready, and where, in a line of JSON, and that it stopped in another."`
}

// Help is the longer text of --help.
func (Serve) Help() string {
	return `It runs until it is interrupted, and then ends when all it accepted is stored.
Examples:

  m2mbridge serve
  m2mbridge serve --redis redis://127.0.0.1:6379/0 --http :8080 --mqtt :1883 --admin-key KEY`
}

// Run runs the bridge until the first signal, and returns when all that was
// accepted is stored.
func (s *Serve) Run(env *Env) error {
	env.Log = slog.New(newLogHandler(env.Stderr, s.LogLevel, s.LogFormat))
	env.warnOfStray()
	if err := checked(env.Call, s.Validate()); err != nil {
		return err
	}
	tuneMemory(env.Settings, s.Redis == "embedded", env.Log)
	return ServeBridge(env.Ctx, s.Config, crier{env.Stdout, s.JSON}, env.Log)
}

// ServeBridge opens a bridge, has it cried out, apart from the log, whose lines
// may be JSON, where it can be reached, and runs it until ctx ends. To be stopped before it has opened is no failure: nothing was
// accepted.
func ServeBridge(ctx context.Context, c bridge.Config, out crier, log *slog.Logger) error {
	generated := c.AdminKey == ""
	if generated {
		c.AdminKey = rand.Text()
	}
	b, err := bridge.Open(ctx, c, log)
	switch {
	case err != nil && ctx.Err() != nil: // told to end while it waited for Redis
		log.Info("stopped before it was ready", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("open bridge: %w", err)
	}
	if !generated {
		c.AdminKey = "" // whoever gave it has it
	}
	out.ready(b, c.AdminKey)
	if err := b.Run(ctx); err != nil {
		return fmt.Errorf("run bridge: %w", err)
	}
	out.stopped()
	return nil
}

// crier says on standard output what becomes of the bridge.
type crier struct {
	w    io.Writer
	json bool
}

// ready says where everything is, with the ports that were really taken. An admin
// key that was generated is shown here and nowhere else.
func (c crier) ready(b *bridge.Bridge, generated string) {
	if c.json {
		c.line(newReady(b, generated))
		return
	}
	fmt.Fprintln(c.w, version())
	for _, a := range b.Addresses() {
		fmt.Fprintf(c.w, "  %-9s %s\n", a.Name, a.URL)
	}
	fmt.Fprintf(c.w, "  %-9s %s\n", "store", b.Describe())
	fmt.Fprintf(c.w, "  %-9s %s\n", "sms", b.DescribeSMS())
	if generated != "" {
		fmt.Fprintf(c.w, "  %-9s %s  (generated for this run; set --admin-key to keep one)\n", "admin key", generated)
	}
	fmt.Fprintln(c.w, "ready")
}

func (c crier) stopped() {
	if c.json {
		c.line(map[string]string{"event": "stopped"})
		return
	}
	fmt.Fprintln(c.w, "stopped")
}

func (c crier) line(v any) {
	// Whoever reads no further needs no word.
	_ = json.NewEncoder(c.w).Encode(v)
}

// ready is the banner in JSON.
type ready struct {
	Event     string            `json:"event"`
	Version   string            `json:"version"`
	Listeners map[string]string `json:"listeners"` // URLs, by the names of their flags
	Store     string            `json:"store"`
	SMS       string            `json:"sms"`
	AdminKey  string            `json:"adminKey,omitempty"` // one that was generated
}

func newReady(b *bridge.Bridge, generated string) ready {
	r := ready{"ready", bridge.Version(), map[string]string{}, b.Describe(), b.DescribeSMS(), generated}
	for _, a := range b.Addresses() {
		r.Listeners[a.Name] = a.URL
	}
	return r
}
