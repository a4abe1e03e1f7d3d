package due

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/script"
)

// For each kind, in each partition:
//
//	m2m:{p}:due:<kind>       sorted set of ids; score: Unix ms when it is next to be acted on,
//	                         with a fraction while it is claimed: the end of the lease
//	m2m:{p}:due:<kind>:data  hash of each id's data
//
// A channel m2m:due:<kind> tells of entries that have become the first of their
// set: "<p> <ms from now>".
//
// The data is one hash, not a key for each entry: one HMGET reads a whole claim,
// and a million entries take 250 MB instead of 350.

// redisLimit is for a command or a pipeline.
const redisLimit = 2 * time.Second

type keys struct {
	auth.Keyspace
	kind Kind
}

func (k keys) set(p int) string  { return k.Key(p, "due:"+string(k.kind)) }
func (k keys) data(p int) string { return k.Key(p, "due:"+string(k.kind)+":data") }

// of are a partition's keys, in the order that scripts take them.
func (k keys) of(p int) []string { return []string{k.set(p), k.data(p)} }

func (k keys) channel() string { return "m2m:due:" + string(k.kind) }

// parseNudge reads a message of the channel.
func (k keys) parseNudge(text string) (p int, in time.Duration, ok bool) {
	partition, ms, ok := strings.Cut(text, " ")
	if !ok {
		return 0, 0, false
	}
	p, err := strconv.Atoi(partition)
	if err != nil || p < 0 || p >= k.Count() {
		return 0, 0, false
	}
	in, err = fromMS(ms)
	return p, in, err == nil
}

// now is the first argument of scripts.
func (s *Set) now() string {
	if s.cfg.Clock == nil {
		return ""
	}
	return exactMS(s.cfg.Clock())
}

// call is one call of a script among others.
type call struct {
	keys []string
	args []any
}

// runAll sends a script many times. Each reply has its own error.
func runAll(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return script.Pipelined(ctx, client, len(calls), func(i int) (*redis.Script, []string, []any) { return s, calls[i].keys, calls[i].args })
}

// run sends a script once.
func (s *Set) run(ctx context.Context, script *redis.Script, p int, args ...any) *redis.Cmd {
	return runAll(ctx, s.cfg.Client, script, []call{{s.keys.of(p), args}})[0]
}

// unavailable says what was not done, and that it may be asked again.
func unavailable(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", verb, ErrUnavailable, err)
}
