package cli

import (
	"io"
	"log/slog"
	"strings"
)

// newLogHandler writes text or JSON lines. Attributes whose name says that
// they hold something private are starred: a second line of defence, since
// nobody should pass them in the first place.
func newLogHandler(w io.Writer, level slog.Level, format string) slog.Handler {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: star}
	if format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

func star(_ []string, a slog.Attr) slog.Attr {
	switch strings.ToLower(a.Key) {
	case "secret", "token", "body", "payload", "password", "msisdn", "authorization", "pack":
		return slog.String(a.Key, "***")
	}
	return a
}
