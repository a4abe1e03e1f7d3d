package due

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth/redistest"
)

// Two nodes act on everything once, none of it early.
func TestTwoNodes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client := patient(t, s)
		set := NewSet(Config{Client: client, Keys: partitions(4), Kind: SMS})
		r, crew := newRecord(), newCrew(t, s)
		for range 2 {
			crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act), Blocking: client, Batch: 3})
		}
		const n = 200
		var want []string
		for i := range n {
			id := fmt.Sprint(i)
			want = append(want, id)
			addAt(t, set, i%4, id, time.Duration(i)*time.Millisecond/2)
		}
		r.await(t, n)
		crew.stopAll()
		slices.Sort(want)
		if d := cmp.Diff(want, slices.Sorted(slices.Values(r.ids()))); d != "" {
			t.Errorf("acted on (-want +got):\n%s", d)
		}
		if n, err := set.Len(t.Context()); n != 0 || err != nil {
			t.Errorf("%d entries are left, %v", n, err)
		}
	})
}

// With so many partitions that a look is far away, a node hears of what another
// adds.
func TestHearsOfOthers(t *testing.T) {
	s := redistest.Start(t)
	client := patient(t, s)
	set := NewSet(Config{Client: client, Keys: partitions(64 * looksPerSecond), Kind: SMS})
	r, crew := newRecord(), newCrew(t, s)
	w, _ := crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act), Blocking: client})
	if w.Look() <= patience {
		t.Fatal("the next look would do it too")
	}
	for i := range 3 {
		addAt(t, set, 700, fmt.Sprint("soon", i), time.Duration(60-20*i)*time.Millisecond)
		r.await(t, i+1)
	}
	r.await(t, 3)
}

// The nudges alone: miniredis looks at thousands of partitions too slowly for the test above.
func TestHearsOnEitherStore(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client := patient(t, s)
		set := NewSet(Config{Client: client, Keys: partitions(64), Kind: SMS})
		w := NewWorker(WorkerConfig{Set: set, Handler: HandlerFunc(newRecord().act), Blocking: client})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.listen(ctx) }()
		defer func() { cancel(); <-ended }()
		first := 0
		eventually(t, "subscribed, all are to be looked at", func() bool { first += len(w.mail.take()); return first == 64 })
		addAt(t, set, 7, "soon", time.Minute)
		eventually(t, "told of the partition alone", func() bool {
			_, ok := w.mail.take()[7]
			return ok
		})
	})
}

// Where nothing is heard, a nudge does it.
func TestNudge(t *testing.T) {
	s := redistest.Start(t)
	set := NewSet(Config{Client: patient(t, s), Keys: partitions(64 * looksPerSecond), Kind: SMS})
	r, crew := newRecord(), newCrew(t, s)
	w, _ := crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act)})
	addAt(t, set, 3, "first", 0)
	w.Nudge(3, 0)
	w.Nudge(-1, 0)
	w.Nudge(w.set.Partitions(), 0)
	r.await(t, 1)
	addAt(t, set, 3, "second", 30*time.Millisecond)
	w.Nudge(3, 30*time.Millisecond)
	r.await(t, 2)
}

// A node finds what it was not told of when it looks.
func TestLooks(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		set := NewSet(Config{Client: patient(t, s), Kind: SMS})
		r, crew := newRecord(), newCrew(t, s)
		crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act)})
		for i := range 2 {
			addAt(t, set, 0, fmt.Sprint(i), 0)
			r.await(t, i+1)
		}
	})
}

// Many partitions are looked at rarely while nothing is due.
func TestIdle(t *testing.T) {
	s := redistest.Start(t)
	client, crew := patient(t, s), newCrew(t, s)
	set := NewSet(Config{Client: client, Keys: partitions(4096), Kind: SMS})
	w, stop := crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(newRecord().act), Blocking: client})
	began := time.Now()
	// Two looks at all of them at the start, and at the subscription.
	eventually(t, "three seconds of rest", func() bool { return time.Since(began) > 3*time.Second })
	took := time.Since(began)
	stop()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls := statOf(t, info, "cmdstat_evalsha:calls=") - 2*set.Partitions()
	if most := int(2 * looksPerSecond * took.Seconds()); calls > most || w.Look() != 16*time.Second {
		t.Errorf("%d looks in %s, %s apart", calls, took, w.Look())
	}
}

func TestBudget(t *testing.T) {
	s := redistest.Start(t)
	client, crew := patient(t, s), newCrew(t, s)
	set := NewSet(Config{Client: client, Kind: SMS})
	var now, most atomic.Int64
	r, release := newRecord(), make(chan struct{})
	hold := func(_ context.Context, c Claim) Outcome {
		most.Store(max(most.Load(), now.Add(1)))
		r.note(c)
		<-release
		now.Add(-1)
		return Done()
	}
	for i := range 9 {
		addAt(t, set, 0, fmt.Sprint(i), time.Duration(i-9)*time.Second)
	}
	crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(hold), InFlight: 3})
	// A kind that is stuck does not hold up another.
	others := NewSet(Config{Client: client, Kind: Downlink})
	other := newRecord()
	crew.run(WorkerConfig{Set: others, Handler: HandlerFunc(other.act)})
	for n := 3; n <= 9; n += 3 {
		r.await(t, n)
		addAt(t, others, 0, fmt.Sprint(n), 0)
		other.await(t, n/3)
		if claimed := len(r.ids()); claimed != n {
			t.Errorf("%d claimed, want %d", claimed, n)
		}
		for range 3 {
			release <- struct{}{}
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d at a time, want 3", most.Load())
	}
	want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"}
	got := r.ids() // three at a time on goroutines of their own, in no order
	for lot := range slices.Chunk(got, 3) {
		slices.Sort(lot)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("order of due time (-want +got):\n%s", d)
	}
}

func TestRate(t *testing.T) {
	s := redistest.Start(t)
	set, crew := NewSet(Config{Client: patient(t, s), Kind: SMS}), newCrew(t, s)
	var want []string
	for i := range 11 {
		id := fmt.Sprintf("%02d", i)
		want = append(want, id)
		addAt(t, set, 0, id, time.Duration(i-20)*time.Second)
	}
	r, began := newRecord(), time.Now()
	crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act), Rate: 50, Burst: 1})
	r.await(t, 11)
	if took := time.Since(began); took < 190*time.Millisecond {
		t.Errorf("11 at 50 a second took %s", took)
	}
	if d := cmp.Diff(want, r.ids()); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
}

// What a stopping worker has in hand goes to another node at once, not after
// its lease.
func TestStop(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client, crew := patient(t, s), newCrew(t, s)
		set := NewSet(Config{Client: client, Kind: SMS, Lease: time.Hour})
		first, second := newRecord(), newRecord()
		_, stop := crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(func(ctx context.Context, c Claim) Outcome {
			first.note(c)
			<-ctx.Done()
			return Again(In(0))
		})})
		addAt(t, set, 0, "a", 0)
		first.await(t, 1)
		stop()
		crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(second.act)})
		second.await(t, 1)
	})
}

// A handler's context ends with the lease, after which another may act.
func TestHandlerThatTakesTooLong(t *testing.T) {
	s := redistest.Start(t)
	set, crew := NewSet(Config{Client: patient(t, s), Kind: SMS, Lease: 300 * time.Millisecond}), newCrew(t, s)
	r := newRecord()
	crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(func(ctx context.Context, c Claim) Outcome {
		r.note(c)
		if len(r.ids()) > 1 {
			return Done()
		}
		<-ctx.Done()
		return Left()
	})})
	addAt(t, set, 0, "a", 0)
	r.await(t, 2)
	eventually(t, "settled", func() bool { n, err := set.Len(t.Context()); return n == 0 && err == nil })
}

// What a worker works for may be closed: entries wait then, and go on when it opens, as many at a time as it may.
func TestOpen(t *testing.T) {
	s := redistest.Start(t)
	set, crew := NewSet(Config{Client: patient(t, s), Kind: SMS}), newCrew(t, s)
	for i := range 4 {
		addAt(t, set, 0, fmt.Sprint(i), time.Duration(i-9)*time.Second)
	}
	var mu sync.Mutex
	open, changed, asked := false, make(chan struct{}), make(chan struct{}, 1000)
	change := func(to bool) {
		mu.Lock()
		defer mu.Unlock()
		open = to
		close(changed)
		changed = make(chan struct{})
	}
	r, release := newRecord(), make(chan struct{})
	crew.run(WorkerConfig{
		Set: set, InFlight: 1, Handler: HandlerFunc(func(_ context.Context, c Claim) Outcome {
			r.note(c)
			<-release
			return Done()
		}),
		Open: func() (bool, <-chan struct{}) {
			select {
			case asked <- struct{}{}:
			default:
			}
			mu.Lock()
			defer mu.Unlock()
			return open, changed
		},
	})
	for range 3 { // however often it looks
		<-asked
		change(false)
	}
	if n := len(r.ids()); n != 0 {
		t.Errorf("%d claimed while it is closed", n)
	}
	change(true)
	r.await(t, 1)
	for n := 2; n <= 4; n++ {
		if got := len(r.ids()); got != n-1 {
			t.Errorf("%d claimed, want %d", got, n-1)
		}
		release <- struct{}{}
		r.await(t, n)
	}
	release <- struct{}{}
}
