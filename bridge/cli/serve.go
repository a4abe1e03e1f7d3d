package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"

	"m2mbridge/bridge"
)

// Serve is `m2mbridge serve`.
type Serve struct {
	bridge.Config `embed:""`
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
	return ServeBridge(env.Ctx, s.Config, env.Stdout, env.Log)
}

// ServeBridge opens a bridge, says on w, apart from the log, whose lines may be
// JSON, where it can be reached, and runs it
// until ctx ends. To be stopped before it has opened is no failure: nothing was
// accepted.
func ServeBridge(ctx context.Context, c bridge.Config, w io.Writer, log *slog.Logger) error {
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
	banner(w, b, c, generated)
	if err := b.Run(ctx); err != nil {
		return fmt.Errorf("run bridge: %w", err)
	}
	fmt.Fprintln(w, "stopped")
	return nil
}

// banner says where everything is, with the ports that were really taken. The
// admin key is shown here and nowhere else.
func banner(w io.Writer, b *bridge.Bridge, c bridge.Config, generated bool) {
	fmt.Fprintln(w, version())
	for _, a := range b.Addresses() {
		fmt.Fprintf(w, "  %-9s %s\n", a.Name, a.URL)
	}
	fmt.Fprintf(w, "  %-9s %s\n", "store", b.Describe())
	if generated {
		fmt.Fprintf(w, "  %-9s %s  (generated for this run; set --admin-key to keep one)\n", "admin key", c.AdminKey)
	}
	fmt.Fprintln(w, "ready")
}
