package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

// bench is a Redis and what is in it.
type bench struct {
	t      *testing.T
	client *redis.Client
	start  time.Time
	saves  int64 // of cursor
}

func newBench(t *testing.T, s *redistest.Server) *bench {
	t.Helper()
	// A machine that is busy with other tests, and miniredis's scripts, take their time.
	o := *s.Client().Options()
	o.ReadTimeout, o.WriteTimeout = 10*time.Second, 10*time.Second
	c := redis.NewClient(&o)
	t.Cleanup(func() { _ = c.Close() })
	return &bench{t: t, client: c, start: time.Now()}
}

func (b *bench) keeper(node string) *Keeper {
	return NewKeeper(Config{Client: b.client, Node: node})
}

func (b *bench) share() *Share { return NewShare(b.client, auth.Keyspace{}) }

// age says when an instant in ms is, in steps of five seconds from the start
// of the test; what is far away, as the ids of these tests, stays as it is.
func (b *bench) age(text string) string {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text
	}
	d := time.UnixMilli(ms).Sub(b.start)
	if d < -time.Second || d > 1000*time.Hour {
		return text
	}
	return "now+" + max(d+time.Second/2, 0).Truncate(5*time.Second).String() // miniredis tells times a moment too early
}

// state is all that is in Redis, a line for each key.
type state map[string]string

func (b *bench) state() state {
	b.t.Helper()
	keys, err := b.client.Keys(b.t.Context(), "*").Result()
	b.check(err)
	s := state{}
	for _, key := range keys {
		s[key] = b.value(key)
	}
	return s
}

func (b *bench) value(key string) string {
	b.t.Helper()
	ctx := b.t.Context()
	kind, err := b.client.Type(ctx, key).Result()
	b.check(err)
	var words []string
	switch kind {
	case "hash":
		fields, err := b.client.HGetAll(ctx, key).Result()
		b.check(err)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if name != "op" {
				words = append(words, name+"="+b.age(fields[name]))
			}
		}
	case "zset":
		members, err := b.client.ZRangeWithScores(ctx, key, 0, -1).Result()
		b.check(err)
		for _, m := range members {
			words = append(words, fmt.Sprintf("%s@%s", m.Member, b.age(strconv.FormatFloat(m.Score, 'f', -1, 64))))
		}
	case "set":
		words, err = b.client.SMembers(ctx, key).Result()
		b.check(err)
		slices.Sort(words)
	case "stream":
		entries, err := b.client.XRange(ctx, key, "-", "+").Result()
		b.check(err)
		words = append(words, fmt.Sprint(len(entries)))
	}
	text := strings.Join(words, " ")
	if ttl := b.client.PTTL(ctx, key).Val(); ttl > 0 {
		text += " until " + b.age(strconv.FormatInt(time.Now().Add(ttl).UnixMilli(), 10))
	}
	return text
}

// want compares all that is in Redis.
func (b *bench) want(want state) {
	b.t.Helper()
	if d := cmp.Diff(want, b.state()); d != "" {
		b.t.Errorf("state (-want +got):\n%s", d)
	}
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// expire has sessions' time run out.
func (b *bench) expire(names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.check(b.client.ZAddXX(b.t.Context(), "m2m:{0}:sessions", redis.Z{Score: 1, Member: name}).Err())
	}
}

func id(seq uint64) broker.ID { return broker.ID{MS: 1700000000000, Seq: seq} }

func at(seq uint64) broker.Position { return broker.Position{ID: id(seq), N: int64(seq)} }

// saved is a session of the app "ui" with an owner.
func saved(client, owner string) broker.Saved {
	return broker.Saved{
		Key: broker.SessionKey{App: "ui", ClientID: client}, AppCreated: time.UnixMilli(1600000000000), Owner: owner,
		Version: 5, Remote: "192.0.2.1:99", Expiry: time.Hour,
	}
}

// reading is the same with something to keep.
func full(s broker.Saved) broker.Saved {
	s.Subscriptions = []broker.SavedSubscription{
		{Filter: "uplinks/#", QoS: 1, ID: 7, Since: map[broker.Stream]broker.ID{0: id(2)}}, {Filter: "events/+/+/+", RetainAsPublished: true},
	}
	s.Cursors = []broker.Cursor{
		{Stream: 0, At: at(5), Sent: id(9)}, {Stream: 2, At: broker.Position{ID: id(0), N: broker.Unknown}},
	}
	s.InFlight = []broker.InFlight{{PacketID: 1, Stream: 0, ID: id(6)}, {PacketID: 65535, Stream: 0, ID: id(9)}}
	return s
}

func (b *bench) open(k *Keeper, s broker.Saved) {
	b.t.Helper()
	_, _, err := k.Open(b.t.Context(), s, false, 0)
	b.check(err)
}

func (b *bench) save(k *Keeper, list ...broker.Saved) {
	b.t.Helper()
	for _, err := range k.Save(b.t.Context(), list) {
		b.check(err)
	}
}

// apps is a registry of the apps that it names, with when they were made.
type apps map[string]time.Time

func (a apps) GetApp(_ context.Context, name string) (auth.App, error) {
	created, ok := a[name]
	if !ok {
		return auth.App{}, fmt.Errorf("get app %s: %w", name, auth.ErrUnknown)
	}
	return auth.App{Name: name, CreatedAt: created}, nil
}
