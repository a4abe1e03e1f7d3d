package downlink

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// Each case is what outside hands did to a device with three downlinks, the first EXECUTING and the third not before an hour.
func TestDoctor(t *testing.T) {
	const p = "m2m:{0}:"
	cases := []struct {
		name, want string // a fault that it is, and that is all if there is no other
		hands      func(c redis.Pipeliner, ids []string)
		gone       int // the downlink that cannot be saved, from 1
	}{
		{"due removed", "it is not in due:downlink", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"due:downlink") }, 0},
		{"due too late", "due later", func(c redis.Pipeliner, ids []string) {
			c.ZAdd(t.Context(), p+"due:downlink", redis.Z{Score: 4_999_999_999_999, Member: ids[1]})
		}, 0},
		{"due without data", "member without data", func(c redis.Pipeliner, ids []string) {
			c.ZAdd(t.Context(), p+"due:downlink", redis.Z{Score: 4_999_999_999_999, Member: "0-strange"})
		}, 0},
		{"due's data removed", "its data in due:downlink", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"due:downlink:data") }, 0},
		{"due's data alone", "no member", func(c redis.Pipeliner, ids []string) { c.HSet(t.Context(), p+"due:downlink:data", "0-strange", "x") }, 0},
		{"listed without data", "member without data", func(c redis.Pipeliner, ids []string) {
			c.ZAdd(t.Context(), p+"downlink:all", redis.Z{Member: "0-strange"})
		}, 0},
		{"data removed", "member without data", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:"+ids[0]) }, 1},
		{"data damaged", "it is damaged", func(c redis.Pipeliner, ids []string) { c.HDel(t.Context(), p+"downlink:"+ids[0], "expires") }, 1},
		{"data alone", "it is damaged", func(c redis.Pipeliner, ids []string) { c.HSet(t.Context(), p+"downlink:0-strange", "pack", "x") }, 0},
		{"not listed", "the list of all", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:all") }, 0},
		{"not its device's", "its device's list", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:all:"+string(imei)) }, 0},
		{"not open", "list of open ones", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:open:"+string(imei)) }, 0},
		{"no queue", "the queue", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:queue:"+string(imei)) }, 0},
		{"strangers", "none of its downlinks", func(c redis.Pipeliner, ids []string) {
			c.ZAdd(t.Context(), p+"downlink:queue:"+string(imei), redis.Z{Member: "0-strange"})
		}, 0},
		{"current nowhere", "which is not EXECUTING", func(c redis.Pipeliner, ids []string) {
			c.Set(t.Context(), p+"downlink:current:"+string(imei), "0-strange", 0)
		}, 0},
		{"current gone", "not current", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:current:"+string(imei)) }, 0},
		{"contact gone", "contact is not as current", func(c redis.Pipeliner, ids []string) { c.Del(t.Context(), p+"downlink:contact:"+string(imei)) }, 0},
		{"http alone", "contact is not as current", func(c redis.Pipeliner, ids []string) {
			c.Set(t.Context(), p+"downlink:contact:"+string(other), ids[0], 0)
		}, 0},
		{"two executing", "EXECUTING beside", func(c redis.Pipeliner, ids []string) { c.HSet(t.Context(), p+"downlink:"+ids[1], "state", "EXECUTING") }, 0},
		{"none executing", "its queue waits", func(c redis.Pipeliner, ids []string) {
			c.HSet(t.Context(), p+"downlink:"+ids[0], "state", "QUEUED")
			c.Del(t.Context(), p+"downlink:current:"+string(imei), p+"downlink:contact:"+string(imei))
		}, 0},
		{"last of none", "last is of no", func(c redis.Pipeliner, ids []string) {
			c.Set(t.Context(), p+"downlink:last:"+string(imei), "tag 0-strange", 0)
		}, 0},
		{"key of none", "of no downlink", func(c redis.Pipeliner, ids []string) { c.Set(t.Context(), p+"downlink:once:a:b:c", "0-strange", 0) }, 0},
	}
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, c := range cases {
			if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, s)
			ids := []string{
				b.create(draft(1, func(d *Draft) { d.Key = "k:1" })).ID, b.create(draft(2)).ID,
				b.create(draft(3, func(d *Draft) { d.NotBefore = b.clock.now().Add(time.Hour) })).ID,
			}
			b.sound(c.name + ", before")
			if _, err := s.Client().Pipelined(t.Context(), func(p redis.Pipeliner) error { c.hands(p, ids); return nil }); err != nil {
				t.Fatal(err)
			}
			found, err := b.Check(t.Context())
			if err != nil || !slices.ContainsFunc(found, func(f Fault) bool { return strings.Contains(f.String(), c.want) }) {
				t.Errorf("%s: found %v, %v", c.name, found, err)
			}
			if _, err := b.Mend(t.Context()); err != nil {
				t.Fatalf("%s: mend: %v", c.name, err)
			}
			b.looked()
			b.sound(c.name)
			b.arrive(c.name, ids, c.gone)
		}
	})
}

// sound wants nothing to be wrong.
func (b *bench) sound(when string) {
	b.t.Helper()
	if faults, err := b.Check(b.t.Context()); err != nil || len(faults) > 0 {
		b.t.Fatalf("%s: %v, %v", when, faults, err)
	}
}

// arrive wants the downlinks to arrive in their order, but for one.
func (b *bench) arrive(when string, ids []string, gone int) {
	b.t.Helper()
	b.clock.pass(61 * time.Minute)
	b.looked()
	for i, id := range ids {
		if i+1 == gone {
			continue
		}
		h, ok, err := b.Hand(b.t.Context(), imei, HTTP)
		if err != nil || !ok || h.ID != id {
			b.t.Fatalf("%s: %d: %+v, %v, %v; want %s", when, i+1, h, ok, err, id)
		}
		b.done(h, true)
	}
}
