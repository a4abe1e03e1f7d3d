// Package script runs many Redis scripts at once.
package script

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Pipelined runs n scripts with one pipeline, by their hashes; where a server does not know one, its text goes along the
// second time. at gives the i-th. Each reply has its own error.
func Pipelined(ctx context.Context, client redis.UniversalClient, n int, at func(i int) (s *redis.Script, keys []string, args []any)) []*redis.Cmd {
	replies := make([]*redis.Cmd, n)
	send := func(places []int, how func(*redis.Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd) {
		if len(places) == 0 {
			return
		}
		pipe := client.Pipeline()
		for _, i := range places {
			s, keys, args := at(i)
			replies[i] = how(s, ctx, pipe, keys, args...)
		}
		_, _ = pipe.Exec(ctx) // each reply has its own error
	}
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	send(places, (*redis.Script).EvalSha)
	lacking := places[:0]
	for i, reply := range replies {
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			lacking = append(lacking, i)
		}
	}
	send(lacking, (*redis.Script).Eval)
	return replies
}
