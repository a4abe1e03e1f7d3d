package due

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// patience bounds what should happen soon, on a machine that is busy with other tests.
const patience = 20 * time.Second

// start is the fake clock's first time.
var start = time.UnixMilli(1_700_000_000_000)

// clock never tells the same microsecond twice, as Redis does not.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.us.Store(start.UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Add(1)) }
func (c *clock) forward(d time.Duration) { c.us.Add(d.Microseconds()) }

// to sets it to so long after the start, and some microseconds.
func (c *clock) to(d time.Duration) { c.us.Store(start.Add(d).UnixMicro()) }

// patient is a client that waits for a busy machine.
func patient(t testing.TB, s *redistest.Server) *redis.Client {
	t.Helper()
	o := *s.Client().Options()
	o.ReadTimeout, o.WriteTimeout = patience, patience
	c := redis.NewClient(&o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// bench is a set on a Redis, by a clock of the test's.
type bench struct {
	t      testing.TB
	client *redis.Client
	clock  *clock
	set    *Set
}

func newBench(t testing.TB, s *redistest.Server) *bench {
	b := &bench{t: t, client: patient(t, s), clock: newClock()}
	b.set = b.node()
	return b
}

// node is another node's set.
func (b *bench) node() *Set {
	return NewSet(Config{Client: b.client, Keys: auth.Keyspace{}, Kind: SMS, Lease: time.Minute, Clock: b.clock.now})
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// add adds one entry, due so long after the start.
func (b *bench) add(id string, after time.Duration) {
	b.t.Helper()
	added, err := b.set.Add(b.t.Context(), 0, Entry{ID: id, At: At(start.Add(after)), Data: "of " + id})
	b.check(err)
	if !added[0] {
		b.t.Fatalf("add %s: there is one", id)
	}
}

func (b *bench) claim(n int) []Claim {
	b.t.Helper()
	batch := b.set.Claim(b.t.Context(), Ask{0, n})[0]
	b.check(batch.Err)
	return batch.Claims
}

// one is the only claim of its kind.
func (b *bench) one() Claim {
	b.t.Helper()
	claims := b.claim(10)
	if len(claims) != 1 {
		b.t.Fatalf("%d claims, want 1", len(claims))
	}
	return claims[0]
}

func (b *bench) settle(c Claim, o Outcome) error {
	return b.set.Settle(b.t.Context(), Settlement{c, o})[0]
}

// state is all entries: "<ms after start> <data>", "-" for what is missing.
func (b *bench) state() map[string]string {
	b.t.Helper()
	ctx := context.Background()
	set, data := Keys(auth.Keyspace{}, SMS, 0)
	members, err := b.client.ZRangeWithScores(ctx, set, 0, -1).Result()
	b.check(err)
	values, err := b.client.HGetAll(ctx, data).Result()
	b.check(err)
	state := make(map[string]string)
	for id, value := range values {
		state[id] = "- " + value
	}
	for _, m := range members {
		id, _ := m.Member.(string)
		value, ok := values[id]
		if !ok {
			value = "-"
		}
		state[id] = fmt.Sprintf("%d %s", int64(m.Score)-start.UnixMilli(), value)
	}
	return state
}

func (b *bench) want(want map[string]string) {
	b.t.Helper()
	if d := cmp.Diff(want, b.state()); d != "" {
		b.t.Errorf("state (-want +got):\n%s", d)
	}
}

func ids(claims []Claim) []string {
	list := []string{}
	for _, c := range claims {
		list = append(list, c.ID)
	}
	return list
}

func sortedIDs(claims []Claim) []string { return slices.Sorted(slices.Values(ids(claims))) }

func (b *bench) faults(want map[string]string, find func(context.Context, int) ([]Fault, error)) {
	b.t.Helper()
	faults, err := find(b.t.Context(), 0)
	b.check(err)
	got := make(map[string]string)
	for _, f := range faults {
		if got[f.ID] != "" {
			b.t.Errorf("twice: %s", f)
		}
		got[f.ID] = string(f.Problem)
	}
	if d := cmp.Diff(want, got); d != "" {
		b.t.Errorf("faults (-want +got):\n%s", d)
	}
}

// statOf reads a number behind its name in what INFO says.
func statOf(t *testing.T, info, name string) int {
	t.Helper()
	_, rest, ok := strings.Cut(info, name)
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		t.Fatalf("no %s in INFO", name)
	}
	return n
}
