package store

import (
	"context"
	"errors"
	"log/slog"
)

// AwaitAnswer is for tests that start a server themselves.
func AwaitAnswer(ctx context.Context, sock string) error { return awaitAnswer(ctx, sock) }

// ParseURL returns what a test can compare.
func ParseURL(raw string) (description, user, password string, err error) {
	t, err := parseURL(raw)
	return t.String(), t.user, t.password, err
}

// CheckInfo judges the text of an INFO.
func CheckInfo(text, form string) error { return ParseInfo(text).check(form) }

// LogOutput logs what a child says.
func LogOutput(log *slog.Logger, said string) error {
	o, err := newOutput(log)
	if err != nil {
		return err
	}
	_, err = o.pipe.WriteString(said)
	return errors.Join(err, o.close())
}
