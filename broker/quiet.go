package broker

import (
	"context"
	"log/slog"
)

// quietHandler is what Mochi logs to. Mochi logs whole packets, passwords,
// tokens and payloads among them: only attributes known to hold none pass.
type quietHandler struct{ next slog.Handler }

// harmless are the attributes of Mochi's records that hold nothing of a packet.
func harmless(key string) bool {
	switch key {
	case "listener", "hook", "version", "keepalive", "recommended", "len":
		return true
	}
	return false
}

// level is what Mochi's becomes: anybody without a login can have it warn, and
// what it says of itself is of its hook only.
func level(l slog.Level) slog.Level {
	if l < slog.LevelError {
		return min(l, slog.LevelDebug)
	}
	return l
}

// Enabled reports whether the handler below takes what Mochi's level becomes.
func (h quietHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.next.Enabled(ctx, level(l))
}

// Handle passes the record on without what it may not say.
func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, level(r.Level), "mochi: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if harmless(a.Key) {
			out.AddAttrs(a)
		}
		return true
	})
	return h.next.Handle(ctx, out)
}

// WithAttrs passes on what is harmless.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var kept []slog.Attr
	for _, a := range attrs {
		if harmless(a.Key) {
			kept = append(kept, a)
		}
	}
	return quietHandler{h.next.WithAttrs(kept)}
}

// WithGroup is that of the handler below.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.next.WithGroup(name)}
}
