package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// CanStore writes one small key for each of Config.Probe: nil means that an
// uplink could be stored now. The error says in words what hinders.
func (s *Store) CanStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*commandTimeout)
	defer cancel()
	_, err := s.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range s.probe {
			p.Set(ctx, key, "1", time.Minute)
		}
		return nil
	})
	return explain(err)
}

// explanations of the error codes that a write can meet.
var explanations = map[string]string{
	"OOM":         "redis is out of memory",
	"READONLY":    "redis is a read-only replica",
	"MISCONF":     "redis cannot write to its disk",
	"LOADING":     "redis is still loading its data",
	"BUSY":        "redis is busy with a script",
	"NOREPLICAS":  "redis has too few replicas to write",
	"MASTERDOWN":  "redis is a replica without its master",
	"CLUSTERDOWN": "the redis cluster is down",
	"NOAUTH":      "redis wants a password",
	"WRONGPASS":   "redis refuses the user or password",
	"NOPERM":      "redis does not permit it to this user",
}

// explain puts words before Redis's own; the cause stays wrapped.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var answer redis.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("redis cannot be reached: %w", err)
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(answer.Error(), "ERR "), " ")
	if words, ok := explanations[code]; ok {
		return fmt.Errorf("%s: %w", words, err)
	}
	return fmt.Errorf("redis refuses: %w", err)
}
