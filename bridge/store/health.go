package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	return Explain(err)
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

// Explain puts words before Redis's own; the cause stays wrapped.
func Explain(err error) error {
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

// EachMaster visits every server that takes writes, one at a time: all masters of a
// cluster, else the one there is, without a name.
func (s *Store) EachMaster(ctx context.Context, visit func(ctx context.Context, name string, c redis.Cmdable) error) error {
	cluster, ok := s.Client.(*redis.ClusterClient)
	if !ok {
		return visit(ctx, "", s.Client)
	}
	var one sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		one.Lock()
		defer one.Unlock()
		return visit(ctx, c.Options().Addr, c)
	})
}
