package script

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// Each reply is that of its own call, on a server that knows some of the scripts, all of them or none; none runs twice.
func TestPipelined(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c, ctx := s.Client(), t.Context()
		count := redis.NewScript(`return redis.call('INCRBY', KEYS[1], ARGV[1])`)
		fail := redis.NewScript(`return redis.error_reply('OWN fault')`)
		if err := count.Load(ctx, c).Err(); err != nil {
			t.Fatal(err)
		}
		const n = 10
		run := func(times int64) {
			t.Helper()
			replies := Pipelined(ctx, c, n, func(i int) (*redis.Script, []string, []any) {
				if i%2 == 1 {
					return fail, nil, nil
				}
				return count, []string{fmt.Sprint("k", i)}, []any{i}
			})
			for i, reply := range replies {
				if i%2 == 1 {
					if !redis.HasErrorPrefix(reply.Err(), "OWN") {
						t.Errorf("reply %d: %v", i, reply)
					}
				} else if got, err := reply.Int64(); err != nil || got != int64(i)*times {
					t.Errorf("reply %d: %d, %v", i, got, err)
				}
			}
		}
		run(1)
		run(2)
		if err := c.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		run(3)
		if replies := Pipelined(ctx, c, 0, nil); len(replies) != 0 {
			t.Errorf("%d replies to nothing", len(replies))
		}
	})
}
