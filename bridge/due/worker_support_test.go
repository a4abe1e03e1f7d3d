package due

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// crew is workers that run in a test, each as on a node of its own.
type crew struct {
	t    *testing.T
	stop []func()
}

// newCrew ends with the test, no goroutine of ours left behind. Miniredis has its own in this process.
func newCrew(t *testing.T, s *redistest.Server) *crew {
	c, before := &crew{t: t}, goleak.IgnoreCurrent()
	t.Cleanup(func() {
		c.stopAll()
		if !s.IsMini() {
			goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("m2mbridge/auth/redistest.awaitReady.func1"))
		}
	})
	return c
}

// run starts a worker, and returns what stops it.
func (c *crew) run(cfg WorkerConfig) (w *Worker, stop func()) {
	w = NewWorker(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil {
			c.t.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			c.t.Error("the worker does not stop")
		}
	})
	c.stop = append(c.stop, stop)
	return w, stop
}

func (c *crew) stopAll() {
	for _, stop := range c.stop {
		stop()
	}
}

// record is what handlers were called for.
type record struct {
	mu    sync.Mutex
	calls []Claim
	early []string
	more  chan struct{}
}

func newRecord() *record { return &record{more: make(chan struct{}, 1)} }

// note notes a claim whose data is when it is due, in Unix ms by the clock of
// Redis, which on one machine is ours.
func (r *record) note(c Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	if due, err := strconv.ParseInt(c.Data, 10, 64); err == nil && time.Now().Before(time.UnixMilli(due)) {
		r.early = append(r.early, c.ID)
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *record) act(_ context.Context, c Claim) Outcome {
	r.note(c)
	return Done()
}

func (r *record) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ids(r.calls)
}

// await waits until there were n calls.
func (r *record) await(t *testing.T, n int) {
	t.Helper()
	limit := time.After(patience)
	for len(r.ids()) < n {
		select {
		case <-r.more:
		case <-limit:
			t.Fatalf("%d calls after %s, want %d", len(r.ids()), patience, n)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.early) > 0 {
		t.Errorf("early: %v", r.early)
	}
}

// addAt adds an entry that is due so long from now, and says so in its data.
func addAt(t *testing.T, s *Set, p int, id string, in time.Duration) {
	t.Helper()
	at := time.Now().Add(in).Truncate(time.Millisecond)
	if _, err := s.Add(t.Context(), p, Entry{ID: id, At: At(at), Data: fmt.Sprint(at.UnixMilli())}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !f(); {
		if time.Now().After(limit) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// journal is a log that one can read meanwhile.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(message string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), message)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func partitions(n int) auth.Keyspace { return auth.Keyspace{Partitions: n} }
