package due

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// TestModel drives two nodes at random over one Redis, and compares it with a
// model after each step: a hundred times, or 25 unless M2M_LONG is set.
func TestModel(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); os.Getenv("M2M_LONG") == "" && checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("25")
	}
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client := patient(t, s)
		rapid.Check(t, func(r *rapid.T) {
			if err := client.FlushAll(context.Background()).Err(); err != nil {
				r.Fatal(err)
			}
			b := &bench{t: t, client: client, clock: newClock()}
			m := &model{r: r, bench: b, nodes: []*Set{b.node(), b.node()}, entries: make(map[string]*modelled)}
			r.Repeat(map[string]func(*rapid.T){
				"add": m.add, "claim": m.claim, "settle": m.settle, "cancel": m.cancel,
				"move": m.move, "forward": m.forward, "back": m.back, "": m.compare,
			})
			m.drain()
		})
	})
}

// modelled is an entry as it should be.
type modelled struct {
	score float64 // ms
	lease string  // "" unless claimed
	data  string
}

type model struct {
	r       *rapid.T
	bench   *bench
	nodes   []*Set
	entries map[string]*modelled
	held    []Claim // of both nodes, those of crashed and former holders too
	made    int
}

var modelIDs = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})

// times are around now, mostly near, some past.
func (m *model) time(r *rapid.T) (When, float64) {
	ms := rapid.Int64Range(-2000, 120_000).Draw(r, "ms")
	now := m.bench.clock.us.Load()
	at := start.UnixMilli() + (now-start.UnixMicro())/1000 + ms
	return At(time.UnixMilli(at)), float64(at)
}

func (m *model) node(r *rapid.T) *Set { return rapid.SampledFrom(m.nodes).Draw(r, "node") }

func (m *model) must(err error) {
	if err != nil {
		m.r.Fatal(err)
	}
}

func (m *model) add(r *rapid.T) {
	id := modelIDs.Draw(r, "id")
	when, score := m.time(r)
	m.made++
	data := fmt.Sprint("data ", m.made)
	added, err := m.node(r).Add(context.Background(), 0, Entry{id, when, data})
	m.must(err)
	_, there := m.entries[id]
	if added[0] == there {
		r.Fatalf("add %s: %v, there was one: %v", id, added[0], there)
	}
	if !there {
		m.entries[id] = &modelled{score: score, data: data}
	}
}

// expected are the ids that are due, in order.
func (m *model) expected(n int) []string {
	now := float64(m.bench.clock.us.Load()+1) / 1000
	due := []string{}
	for id, e := range m.entries {
		if e.score <= now {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(x, y string) int {
		return cmp.Or(cmp.Compare(m.entries[x].score, m.entries[y].score), cmp.Compare(x, y))
	})
	return due[:min(n, len(due))]
}

func (m *model) claim(r *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(r, "n")
	want := m.expected(n)
	batch := m.node(r).Claim(context.Background(), Ask{0, n})[0]
	m.must(batch.Err)
	if d := gocmp.Diff(want, ids(batch.Claims)); d != "" {
		r.Fatalf("claims (-want +got):\n%s", d)
	}
	for _, c := range batch.Claims {
		e := m.entries[c.ID]
		if c.Data != e.data {
			r.Fatalf("data of %s: %q, want %q", c.ID, c.Data, e.data)
		}
		for _, other := range m.held {
			if other.ID == c.ID && other.Lease == c.Lease {
				r.Fatalf("lease %s given twice", c.Lease)
			}
		}
		e.lease = c.Lease
		var err error
		e.score, err = strconv.ParseFloat(c.Lease, 64)
		m.must(err)
	}
	m.held = append(m.held, batch.Claims...)
}

// settle is by any node that has ever held a claim: one that is not any more is
// refused. A crash is a claim that is never drawn again.
func (m *model) settle(r *rapid.T) {
	if len(m.held) == 0 {
		r.Skip("nothing was claimed")
	}
	c := rapid.SampledFrom(m.held).Draw(r, "claim")
	e := m.entries[c.ID]
	holds := e != nil && e.lease == c.Lease
	outcome, when, score := Done(), When{}, 0.0
	again := rapid.Bool().Draw(r, "again")
	if again {
		when, score = m.time(r)
		outcome = Again(when).With("settled " + c.Lease)
	}
	err := m.node(r).Settle(context.Background(), Settlement{c, outcome})[0]
	switch {
	case holds && err != nil, !holds && !errors.Is(err, ErrNotHeld):
		r.Fatalf("settle %s, held %v: %v", c.ID, holds, err)
	case holds && again:
		*e = modelled{score: score, data: "settled " + c.Lease}
	case holds:
		delete(m.entries, c.ID)
	}
}

func (m *model) cancel(r *rapid.T) {
	id := modelIDs.Draw(r, "id")
	there, err := m.node(r).Cancel(context.Background(), 0, id)
	m.must(err)
	if _, ok := m.entries[id]; ok != there[0] {
		r.Fatalf("cancel %s: %v", id, there)
	}
	delete(m.entries, id)
}

func (m *model) move(r *rapid.T) {
	id := modelIDs.Draw(r, "id")
	when, score := m.time(r)
	moved, err := m.node(r).Move(context.Background(), 0, id, when)
	m.must(err)
	e, ok := m.entries[id]
	if ok != moved {
		r.Fatalf("move %s: %v", id, moved)
	}
	if ok {
		e.score, e.lease = score, ""
	}
}

func (m *model) forward(r *rapid.T) {
	m.bench.clock.forward(time.Duration(rapid.Int64Range(0, 90_000_000).Draw(r, "us")) * time.Microsecond)
}

// back steps the clock back, as when a replica whose clock is behind takes over:
// what is claimed stays so for longer.
func (m *model) back(r *rapid.T) {
	m.bench.clock.forward(-time.Duration(rapid.Int64Range(1, 5000).Draw(r, "ms")) * time.Millisecond)
}

// compare finds every entry in its place, with its data, and no other.
func (m *model) compare(r *rapid.T) {
	want := make(map[string]string)
	for id, e := range m.entries {
		want[id] = fmt.Sprintf("%d %s", int64(e.score)-start.UnixMilli(), e.data)
	}
	if d := gocmp.Diff(want, m.bench.state()); d != "" {
		r.Fatalf("state (-want +got):\n%s", d)
	}
	if faults, err := m.nodes[0].Check(context.Background(), 0); len(faults) > 0 || err != nil {
		r.Fatalf("faults: %v, %v", faults, err)
	}
}

// drain acts on all that is left, whoever had claimed it: nothing was lost.
func (m *model) drain() {
	m.bench.clock.forward(time.Hour)
	want := m.expected(MaxClaim)
	batch := m.nodes[1].Claim(context.Background(), Ask{0, MaxClaim})[0]
	m.must(batch.Err)
	if d := gocmp.Diff(want, ids(batch.Claims)); d != "" || len(want) != len(m.entries) {
		m.r.Fatalf("in the end %d entries; claims (-want +got):\n%s", len(m.entries), d)
	}
	for _, c := range batch.Claims {
		m.must(m.nodes[1].Settle(context.Background(), Settlement{c, Done()})[0])
	}
	set, data := Keys(auth.Keyspace{}, SMS, 0)
	if n, err := m.bench.client.Exists(context.Background(), set, data).Result(); n != 0 || err != nil {
		m.r.Fatalf("%d keys are left, %v", n, err)
	}
}
