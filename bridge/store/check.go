package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// oldest Redis taken: EXAT forms, XAUTOCLAIM's reply, functions of ZRANGE.
const oldestMajor = 7

// check finds out before anything is accepted whether this is a Redis that can
// serve, and warns of settings under which it may lose what it took.
func (s *Store) check(ctx context.Context, t target, patience time.Duration) error {
	info, err := s.reach(ctx, patience)
	if err != nil {
		return fmt.Errorf("redis at %s: %w", t, err)
	}
	if !t.checksVersion {
		return nil
	}
	if info == nil {
		s.log.Warn("redis keeps its version and settings to itself: INFO is not permitted")
		return nil
	}
	if err := s.Fits(info); err != nil {
		return fmt.Errorf("redis at %s: %w", t, err)
	}
	if t.ownsItsPersistence {
		return nil
	}
	if risk := info.ForgetsAtStop(); risk != "" {
		s.log.Warn(risk, "store", t.String())
	}
	if risk := info.ThrowsAway(); risk != "" {
		s.log.Warn(risk, "store", t.String(), "policy", info["maxmemory_policy"])
	}
	return nil
}

// Fits tells whether that server can serve: nil, or why not.
func (s *Store) Fits(info Info) error { return info.check(s.form) }

// ForgetsAtStop says what is lost when that server stops; "" if nothing is.
func (info Info) ForgetsAtStop() string {
	if info["aof_enabled"] == "0" {
		return "redis has no append-only file: what was acknowledged is lost when it stops (set appendonly yes)"
	}
	return ""
}

// ThrowsAway says what that server may drop when it is full; "" if nothing.
func (info Info) ThrowsAway() string {
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" {
		return "redis may throw away what was acknowledged when it is full (set maxmemory-policy noeviction)"
	}
	return ""
}

// reach waits for the server's INFO; a server that is starting beside us, as
// in a compose file, gets a while.
func (s *Store) reach(ctx context.Context, patience time.Duration) (Info, error) {
	if patience == 0 {
		patience = 5 * time.Second
	}
	deadline := time.Now().Add(patience)
	for told := false; ; {
		text, err := s.Client.Info(ctx).Result()
		switch {
		case err == nil:
			return ParseInfo(text), nil
		case strings.HasPrefix(err.Error(), "NOPERM"):
			return nil, nil
		case isFinal(err) || ctx.Err() != nil || time.Now().After(deadline):
			return nil, Explain(err)
		case !told:
			s.log.Info("waiting for redis", "store", s.describe, "error", Explain(err))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// isFinal tells an answer that waiting will not change.
func isFinal(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && !strings.HasPrefix(err.Error(), "LOADING") &&
		!strings.HasPrefix(err.Error(), "CLUSTERDOWN") && !strings.HasPrefix(err.Error(), "BUSY")
}

// Info is the answer to INFO, fields by name.
type Info map[string]string

// ParseInfo reads the text of an INFO.
func ParseInfo(text string) Info {
	info := Info{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

func (info Info) check(form string) error {
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	switch {
	case err != nil:
		return errors.New("it does not say its version; is it a Redis?")
	case n < oldestMajor:
		return fmt.Errorf("version %s is too old: 7.0 or later is needed", version)
	case info["redis_mode"] == "sentinel":
		return errors.New("this is a Sentinel: write redis+sentinel://host:port/master")
	case info["cluster_enabled"] == "1" && form != "cluster":
		return errors.New("this is a node of a cluster: write redis+cluster://")
	case info["cluster_enabled"] == "0" && form == "cluster":
		return errors.New("this is no node of a cluster: write redis://")
	}
	return nil
}
