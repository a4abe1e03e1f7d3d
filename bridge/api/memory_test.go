package api

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
)

// memory is recent uplinks of partition 0, as the live tail keeps them.
type memory struct {
	mu      sync.Mutex
	start   stream.ID // all behind it is here
	entries []stream.Entry
	grown   chan struct{}
	follows int
}

func inMemory(m *memory) option {
	m.grown = make(chan struct{})
	return func(c *Config) { c.Changed, c.Follow, c.Recent = m.changed, m.follow, m.recent }
}

func (m *memory) changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grown
}

func (m *memory) follow(...stream.Kind) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.follows++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.follows--
	}
}

func (m *memory) recent(k stream.Kind, _ int, after stream.ID, buf []stream.Entry) ([]stream.Entry, stream.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := stream.At(m.start)
	if k == uplinks && len(m.entries) > 0 {
		end = stream.At(m.entries[len(m.entries)-1].ID)
	}
	if after.Less(m.start) {
		return buf, end, false
	}
	if k == uplinks {
		for _, e := range m.entries {
			if after.Less(e.ID) && len(buf) < cap(buf) {
				buf = append(buf, e)
			}
		}
	}
	return buf, end, true
}

// uplink adds an uplink to the stream and to memory.
func (m *memory) uplink(a *testAPI, v int) (id string) {
	a.t.Helper()
	id = a.uplink(imei1, v)
	parsed, err := stream.ParseID(id)
	if err != nil {
		a.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, stream.Entry{Kind: uplinks, ID: parsed, N: stream.Unknown, Fields: stream.Fields{"device", imei1, "pack", fmt.Sprint("[", v, "]")}})
	close(m.grown)
	m.grown = make(chan struct{})
	return id
}

// forget leaves the last n.
func (m *memory) forget(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := len(m.entries) - n
	m.start, m.entries = m.entries[gone-1].ID, slices.Clone(m.entries[gone:])
}

// rangeReads is how often Redis was asked for entries.
func (a *testAPI) rangeReads() int {
	a.t.Helper()
	text, err := a.client.Info(a.t.Context(), "commandstats").Result()
	if err != nil {
		a.t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`cmdstat_(?:xrange|xinfo\|stream|xinfo):calls=(\d+)`).FindAllStringSubmatch(text, -1) {
		calls, _ := strconv.Atoi(m[1])
		n += calls
	}
	return n
}

// Clients at the end of the streams are fed from memory: Redis is not read for them.
func TestLiveAtTheEndReadsMemory(t *testing.T) {
	t.Parallel()
	mem := &memory{}
	a := start(t, redistest.Start(t), inMemory(mem))
	var clients []*live
	for range 8 {
		clients = append(clients, a.live(adminKey, "?kind=uplinks", ""))
	}
	reads := a.rangeReads()
	var want []string
	for i := range 200 {
		want = append(want, mem.uplink(a, i))
	}
	for _, l := range clients {
		l.expect("uplink", want...)
	}
	if n := a.rangeReads() - reads; n != 0 {
		t.Errorf("redis was read %d times", n)
	}
	mem.mu.Lock()
	defer mem.mu.Unlock()
	if mem.follows != 8 {
		t.Errorf("%d follow", mem.follows)
	}
}

// Wherever a client starts it gets each entry once, in pages and then from memory.
func TestLiveJoinsMemory(t *testing.T) {
	t.Parallel()
	mem := &memory{}
	a := start(t, redistest.Start(t), inMemory(mem))
	var want []string
	for i := range 300 {
		want = append(want, mem.uplink(a, i))
	}
	mem.forget(70)
	for _, from := range []int{0, 100, 179, 180, 228, 229, 230, 231, 299} {
		after := "0"
		if from > 0 {
			after = want[from-1]
		}
		l := a.live(adminKey, "?kind=uplinks", after)
		l.expect("uplink", want[from:]...)
		want = append(want, mem.uplink(a, len(want)))
		last := l.expect("uplink", want[len(want)-1])
		l.cancel()
		want = append(want, mem.uplink(a, len(want)))
		a.live(adminKey, "?kind=uplinks", last.id).expect("uplink", want[len(want)-1])
	}
}
