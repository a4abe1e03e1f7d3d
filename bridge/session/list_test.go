package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

// fill adds entries to a stream, the n-th from first on with id(n).
func (b *bench) fill(stream string, first, last int) {
	b.t.Helper()
	pipe := b.client.Pipeline()
	for i := first; i <= last; i++ {
		pipe.XAdd(b.t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:" + stream, ID: id(uint64(i)).String(), Values: []any{"device", "d"}})
	}
	_, err := pipe.Exec(b.t.Context())
	b.check(err)
}

// sinceID is the age of the entries of these tests.
func sinceID() time.Duration { return time.Since(time.UnixMilli(1700000000000)) }

var nearly = cmpopts.EquateApproxTime(5 * time.Second)

func TestGet(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := b.keeper("n1")
		b.fill(kindUplinks, 1, 12)
		b.open(k, saved("c", "o1"))
		b.save(k, full(saved("c", "o1")))
		got, err := k.Get(t.Context(), "ui", "c")
		b.check(err)
		entries := int64(7)
		if s.IsMini() { // it does not count
			entries = broker.Unknown
		}
		lag := Lag{entries, sinceID()}
		want := Session{
			App: "ui", ClientID: "c", Connected: true, Node: "n1", Remote: "192.0.2.1:99", Version: 5,
			CreatedAt: b.start, SeenAt: b.start, Expiry: time.Hour, ExpiresAt: b.start.Add(time.Hour + lease),
			Subscriptions: full(saved("c", "o1")).Subscriptions, InFlight: 2, Lag: lag,
			Streams: []StreamLag{
				{Kind: kindUplinks, Cursor: id(5).String(), Lag: lag},
				{Kind: kindEvents, Cursor: id(0).String()},
			},
		}
		options := cmp.Options{nearly, cmpopts.IgnoreUnexported(StreamLag{}), cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < 5*time.Second })}
		if d := cmp.Diff(want, got, options); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		// A node that does not save it any more is taken for dead.
		b.check(b.client.HSet(t.Context(), "m2m:{0}:session:ui/c", "seen", time.Now().Add(-lease).UnixMilli()).Err())
		if got, err = k.Get(t.Context(), "ui", "c"); err != nil || got.Connected {
			t.Errorf("%+v, %v", got, err)
		}
		b.expire("ui/c")
		if _, err := k.Get(t.Context(), "ui", "c"); !errors.Is(err, ErrUnknown) {
			t.Errorf("expired: %v", err)
		}
		if err := k.Remove(t.Context(), "ui", "d"); !errors.Is(err, ErrUnknown) {
			t.Errorf("remove one that is none: %v", err)
		}
	})
}

func TestListInOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		k := NewKeeper(Config{Client: b.client, Keys: auth.Keyspace{Partitions: 5}, Node: "n1"})
		var want []string
		for _, app := range []string{"a", "a-b", "a.b", "a0", "b"} {
			for i := range 5 {
				s := saved(fmt.Sprint("c", i), "o")
				s.Key.App = app
				b.open(k, s)
			}
		}
		// "-" and "." come before "/", which ends an app's name, and "0" behind it.
		for _, app := range []string{"a-b", "a.b", "a", "a0", "b"} {
			for i := range 5 {
				want = append(want, fmt.Sprint(app, "/c", i))
			}
		}
		all := func(q Query) (names []string) {
			for {
				page, next, err := k.List(t.Context(), q)
				b.check(err)
				for _, s := range page {
					names = append(names, s.App+"/"+s.ClientID)
				}
				if q.After = next; next == "" {
					return names
				}
			}
		}
		for _, limit := range []int{0, 1, 3, 5, 25} {
			if d := cmp.Diff(want, all(Query{Limit: limit})); d != "" {
				t.Errorf("limit %d: %s", limit, d)
			}
			if d := cmp.Diff(want[10:15], all(Query{App: "a", Limit: limit})); d != "" {
				t.Errorf("limit %d, of one app: %s", limit, d)
			}
		}
		if d := cmp.Diff([]string(nil), all(Query{App: "c"})); d != "" {
			t.Error(d)
		}
	})
}
