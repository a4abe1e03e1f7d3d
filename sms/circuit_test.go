package sms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a gateway that answers what the test says.
type scripted struct {
	mu      sync.Mutex
	answer  error
	takes   time.Duration
	given   int
	ready   bool
	changed chan struct{}
}

func newScripted() *scripted { return &scripted{ready: true, changed: make(chan struct{})} }

func (g *scripted) Name() string { return "scripted" }

func (g *scripted) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (g *scripted) Submit(ctx context.Context, _ Message) (Accepted, error) {
	g.mu.Lock()
	g.given++
	answer, takes := g.answer, g.takes
	g.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return Accepted{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
	return Accepted{}, answer
}

func (g *scripted) Ready() (bool, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ready, g.changed
}

func (g *scripted) set(answer error, takes time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer, g.takes = answer, takes
}

func (g *scripted) say(ready bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready = ready
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *scripted) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.given
}

// circuitTest is a circuit that runs, in a bubble of its own time.
type circuitTest struct {
	*Circuit
	t     *testing.T
	inner *scripted
	log   *bytes.Buffer
}

func inCircuit(t *testing.T, test func(c *circuitTest)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		inner := newScripted()
		c := &circuitTest{NewCircuit(inner, slog.New(slog.NewTextHandler(&log, nil))), t, inner, &log}
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		test(c)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func (c *circuitTest) submit() error {
	_, err := c.Submit(c.t.Context(), Message{ID: "m", Attempt: 1, To: "31612345678", Text: "hush"})
	return err
}

// wants checks what Ready says, and the states in the log.
func (c *circuitTest) wants(ready bool, states ...string) {
	c.t.Helper()
	synctest.Wait()
	if got, _ := c.Ready(); got != ready {
		c.t.Errorf("ready %v", got)
	}
	var logged []string
	for line := range strings.Lines(c.log.String()) {
		_, state, _ := strings.Cut(line, " state=")
		state, _, _ = strings.Cut(state, " ")
		logged = append(logged, state)
		if !strings.Contains(line, "gateway=scripted") || !strings.Contains(line, " why=") || strings.Contains(line, "why=\"\"") {
			c.t.Errorf("%s", line)
		}
	}
	if fmt.Sprint(logged) != fmt.Sprint(states) {
		c.t.Errorf("logged %v, want %v\n%s", logged, states, c.log)
	}
}

// wait waits until Ready says something else.
func (c *circuitTest) wait() time.Duration {
	begun := time.Now()
	_, changed := c.Ready()
	<-changed
	return time.Since(begun)
}

var errRefused = fmt.Errorf("%w: connection errRefused", ErrNotSent)

func TestCircuitOpensAndProbes(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		c.inner.set(errRefused, 0)
		for range 2 {
			_ = c.submit()
		}
		c.wants(true)
		if err := c.submit(); !errors.Is(err, ErrNotSent) {
			t.Error(err)
		}
		c.wants(false, "unreachable")
		// Nothing reaches it while it is open.
		if err := c.submit(); !errors.Is(err, ErrNotSent) || c.inner.count() != 3 {
			t.Error(err, c.inner.count())
		}
		// The probes come at 1, 2, 4 … 60 s.
		var waits []string
		for range 8 {
			waits = append(waits, c.wait().String())
			c.wants(true, "unreachable")
			_ = c.submit()
			c.wants(false, "unreachable")
		}
		if got := strings.Join(waits, " "); got != "1s 2s 4s 8s 16s 32s 1m0s 1m0s" {
			t.Error(got)
		}
		c.wait()
		// Of two only one is sent; it is answered with a no, which is an answer.
		c.inner.set(&Refusal{Class: Permanent, Code: "ESME_RINVDSTADR"}, time.Second)
		before := c.inner.count()
		outcome := make(chan error, 2)
		for range 2 {
			go func() { outcome <- c.submit() }()
		}
		first, second := <-outcome, <-outcome
		var no *Refusal
		if !errors.Is(first, ErrNotSent) || !errors.As(second, &no) || c.inner.count() != before+1 {
			t.Error(first, second, c.inner.count()-before)
		}
		c.wants(true, "unreachable", "reachable")
		if strings.Contains(c.log.String(), "31612345678") || strings.Contains(c.log.String(), "hush") {
			t.Errorf("%s", c.log)
		}
	})
}

func TestCircuitFailures(t *testing.T) {
	unknown := fmt.Errorf("%w: no answer", ErrUnknown)
	for _, c := range []struct {
		name  string
		tell  []error
		ready bool
	}{
		{"unknown counts", []error{unknown, errRefused, unknown}, false},
		{"only in a row", []error{errRefused, errRefused, nil, errRefused, errRefused}, true},
		{"a refusal is an answer", []error{errRefused, errRefused, &Refusal{Class: Temporary, Code: "500"}, errRefused, errRefused}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inCircuit(t, func(x *circuitTest) {
				for _, err := range c.tell {
					x.inner.set(err, 0)
					_ = x.submit()
				}
				if ready, _ := x.Ready(); ready != c.ready {
					t.Errorf("ready %v", ready)
				}
			})
		})
	}
}

// What was under way when it opened neither opens it further nor keeps it open.
func TestCircuitManyAtOnce(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		c.inner.set(errRefused, time.Second)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { _ = c.submit() })
		}
		all.Wait()
		c.wants(false, "unreachable")
		if waited := c.wait(); waited != time.Second {
			t.Errorf("probed after %s", waited)
		}
	})
}

// The caller's own end says nothing of the gateway; and a probe that ends so leaves room for another.
func TestCircuitCancelled(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		c.inner.set(nil, time.Hour)
		cancelled := func() {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Hour)
			time.AfterFunc(time.Second, cancel)
			if _, err := c.Submit(ctx, Message{}); !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
		}
		for range 5 {
			cancelled()
		}
		c.wants(true)
		c.inner.set(errRefused, 0)
		for range 3 {
			_ = c.submit()
		}
		c.wait()
		c.inner.set(nil, time.Hour)
		cancelled()
		c.wants(true, "unreachable")
		// Its own time being over does.
		for range 2 {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			_, _ = c.Submit(ctx, Message{})
			cancel()
			c.wants(false, "unreachable")
		}
	})
}

func TestCircuitThrottled(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		slow := &Refusal{Class: Throttled, Code: "ESME_RTHROTTLED"}
		c.inner.set(slow, time.Second)
		// Ten were under way: that is one throttling.
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { _ = c.submit() })
		}
		all.Wait()
		c.wants(false, "throttled")
		if err := c.submit(); !errors.Is(err, ErrNotSent) || c.inner.count() != 10 {
			t.Error(err, c.inner.count())
		}
		c.inner.set(slow, 0)
		var waits []string
		for range 7 {
			waits = append(waits, c.wait().String())
			_ = c.submit()
		}
		if got := strings.Join(waits, " "); got != "1s 2s 4s 8s 16s 32s 1m0s" {
			t.Error(got)
		}
		c.wait()
		c.inner.set(&Refusal{Class: Throttled, Code: "429", After: 7 * time.Minute}, 0)
		_ = c.submit()
		if waited := c.wait(); waited != 7*time.Minute {
			t.Errorf("Retry-After of 7 minutes: %s", waited)
		}
		c.wants(true, "throttled")
		c.inner.set(nil, 0)
		if err := c.submit(); err != nil {
			t.Error(err)
		}
		c.wants(true, "throttled", "reachable")
		c.inner.set(slow, 0)
		_ = c.submit()
		if waited := c.wait(); waited != time.Second {
			t.Errorf("it begins anew with %s", waited)
		}
		c.wants(true, "throttled", "reachable", "throttled")
	})
}

// A probe that is throttled: reachable, but left alone; that is one change.
func TestCircuitProbeThrottled(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		c.inner.set(errRefused, 0)
		for range 3 {
			_ = c.submit()
		}
		c.wait()
		c.inner.set(&Refusal{Class: Throttled, Code: "503"}, 0)
		_ = c.submit()
		c.wants(false, "unreachable", "throttled")
	})
}

func TestCircuitFollowsReady(t *testing.T) {
	inCircuit(t, func(c *circuitTest) {
		_, changed := c.Ready()
		c.inner.say(false)
		<-changed
		c.wants(false, "unreachable")
		if err := c.submit(); !errors.Is(err, ErrNotSent) || c.inner.count() != 0 {
			t.Error(err)
		}
		_, changed = c.Ready()
		c.inner.say(true)
		<-changed
		c.wants(true, "unreachable", "reachable")
	})
}

// One that has still to connect is no change.
func TestCircuitBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		inner := newScripted()
		inner.ready = false
		c := NewCircuit(inner, slog.New(slog.NewTextHandler(&log, nil)))
		if ready, _ := c.Ready(); ready || log.Len() > 0 {
			t.Errorf("%v: %s", ready, &log)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = c.Run(ctx) }()
		synctest.Wait()
		_, changed := c.Ready()
		inner.say(true)
		<-changed
		if ready, _ := c.Ready(); !ready || !strings.Contains(log.String(), "state=reachable") {
			t.Errorf("%v: %s", ready, &log)
		}
		cancel()
		<-done
		if _, err := c.ParseReceipt(nil); !errors.Is(err, ErrNoWebhook) {
			t.Error(err)
		}
		if window, rate := c.Limits(); window != 0 || rate != 0 {
			t.Error(window, rate)
		}
	})
}
