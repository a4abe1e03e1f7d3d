package due

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
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

// runAll sends a script many times with one pipeline, by its hash; where a
// server does not know it, its text goes along the second time. Each reply has
// its own error.
func runAll(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	replies := sendAll(ctx, client, s.EvalSha, calls)
	var lacking []call
	var places []int
	for i, reply := range replies {
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			lacking, places = append(lacking, calls[i]), append(places, i)
		}
	}
	for i, reply := range sendAll(ctx, client, s.Eval, lacking) {
		replies[places[i]] = reply
	}
	return replies
}

type eval func(ctx context.Context, to redis.Scripter, keys []string, args ...any) *redis.Cmd

func sendAll(ctx context.Context, client redis.UniversalClient, send eval, calls []call) []*redis.Cmd {
	if len(calls) == 0 {
		return nil
	}
	replies := make([]*redis.Cmd, len(calls))
	pipe := client.Pipeline()
	for i, c := range calls {
		replies[i] = send(ctx, pipe, c.keys, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	return replies
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
