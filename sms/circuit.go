package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// How a Circuit behaves.
const (
	circuitFailures = 3 // in a row that open it
	circuitLeast    = time.Second
	circuitMost     = 60 * time.Second
)

// Circuit keeps messages from a gateway that would take none: while it is open, Submit says ErrNotSent, which is no attempt, and Ready
// says no.
//
//	           3 failures in a row, or the gateway's own Ready says no
//	closed ─────────────────────────────────────────────────────────────▶ open: nothing is sent for 1 s, then 2, … 60
//	  ▲  ▲                         its Ready says yes                         │
//	  │  └────────────────────────────────────────────────────────────────────┤ the time is over
//	  │ any answer, be it a refusal                                           ▼
//	  └────────────────────────────────────────────────────────────────── probing: one message, whose failure opens it again
//
// A failure is ErrNotSent or ErrUnknown: there was no answer. A gateway that refuses with Throttled is left alone likewise, for as long
// as it asks or else 1 s, 2, … 60 until it accepts one; that is no failure. What the caller's own context ended tells nothing.
//
// Each change is one line in the log: reachable, unreachable, throttled; with no number, text or password.
type Circuit struct {
	gateway Gateway
	log     *slog.Logger

	mu       sync.Mutex
	inner    bool          // what the gateway's Ready said last
	why      string        // and its Why, if it was no
	last     string        // why it is left alone, in words
	open     bool          // or probing
	failures int           // in a row
	delay    time.Duration // of the next opening
	until    time.Time     // open: when it may be probed
	probing  bool          // a probe is on its way
	pause    time.Duration // of the latest throttling; 0: it has accepted one since
	paused   time.Time     // until when it is throttled
	round    int           // of throttlings: answers to what was submitted before one tell nothing of it
	logged   string        // the state the log knows
	told     bool          // what Ready said when changed was made
	changed  chan struct{} // closed when it says something else
	timer    *time.Timer   // settles when time alone changes that
}

// NewCircuit wraps a gateway; log may be nil. Its Run runs the gateway's.
func NewCircuit(g Gateway, log *slog.Logger) *Circuit {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ready, _ := g.Ready() // one that is to connect first is not, which is no change and no line
	c := &Circuit{gateway: g, log: log.With("gateway", g.Name()), inner: ready, open: !ready, told: ready, changed: make(chan struct{}), why: reasonOf(g)}
	c.logged = c.state()
	return c
}

// Unwrap is the gateway itself; see [As].
func (c *Circuit) Unwrap() Gateway { return c.gateway }

// Name is of [Gateway].
func (c *Circuit) Name() string { return c.gateway.Name() }

// Limits is of [Limited]; of a gateway that is not, none.
func (c *Circuit) Limits() (window int, rate float64) {
	if l, ok := As[Limited](c.gateway); ok {
		return l.Limits()
	}
	return 0, 0
}

// ParseReceipt is of [Webhook]; of a gateway that is not, ErrNoWebhook.
func (c *Circuit) ParseReceipt(r *http.Request) ([]Receipt, error) {
	if w, ok := As[Webhook](c.gateway); ok {
		return w.ParseReceipt(r)
	}
	return nil, ErrNoWebhook
}

// Run is of [Gateway].
func (c *Circuit) Run(ctx context.Context) error {
	watched, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watch(watched)
	}()
	err := c.gateway.Run(ctx)
	stop()
	<-done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	return err
}

// watch follows the gateway's own Ready.
func (c *Circuit) watch(ctx context.Context) {
	for {
		ready, changed := c.gateway.Ready()
		c.own(ready, reasonOf(c.gateway))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// reasonOf is why a gateway is not ready, if it can say so.
func reasonOf(g Gateway) string {
	if r, ok := g.(interface{ Why() string }); ok {
		return r.Why()
	}
	return "it says it is not ready"
}

// own takes what the gateway says of itself: that it is ready again is an answer too, and another reason why it is not is a change.
func (c *Circuit) own(ready bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ready && c.inner, !ready && !c.inner && why == c.why:
		return
	case ready:
		c.inner = true
		c.close()
		c.settle("it is ready")
		return
	}
	c.inner, c.open, c.why = false, true, why
	c.logged = ""
	c.settle(why)
}

// Why is why nothing may be submitted now; "" if something may.
func (c *Circuit) Why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.ready(time.Now())
	switch {
	case err == nil:
		return ""
	case !c.inner:
		return c.why
	case c.last != "":
		return err.Error() + ": " + c.last
	}
	return err.Error()
}

// Ready is of [Gateway].
func (c *Circuit) Ready() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready(time.Now()) == nil, c.changed
}

// ready says why nothing may be submitted, nil if something may.
func (c *Circuit) ready(now time.Time) error {
	switch {
	case !c.inner:
		return errors.New("the gateway is not ready")
	case now.Before(c.paused):
		return errors.New("the gateway is throttled")
	case c.open && (c.probing || now.Before(c.until)):
		return errors.New("the gateway is unreachable")
	}
	return nil
}

// Submit is of [Gateway].
func (c *Circuit) Submit(ctx context.Context, m Message) (Accepted, error) {
	probe, round, err := c.begin()
	if err != nil {
		return Accepted{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	a, err := c.gateway.Submit(ctx, m)
	c.end(err, probe, round, errors.Is(ctx.Err(), context.Canceled))
	return a, err
}

// begin tells whether the message is a probe.
func (c *Circuit) begin() (probe bool, round int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(time.Now()); err != nil {
		return false, 0, err
	}
	if c.open {
		c.probing = true
		c.settle("")
	}
	return c.open, c.round, nil
}

// end takes the outcome of a message.
func (c *Circuit) end(err error, probe bool, round int, cancelled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if probe {
		c.probing = false
	}
	var refusal *Refusal
	switch {
	case err == nil:
		c.close()
		if round == c.round {
			c.pause = 0
		}
		c.settle("it accepts messages")
	case errors.As(err, &refusal):
		c.close()
		if refusal.Class == Throttled && round == c.round {
			c.throttle(refusal.After)
		}
		if c.last = ""; refusal.Class == Throttled {
			c.last = "it answers " + refusal.Code
		}
		c.settle("it answers " + refusal.Code)
	case cancelled || c.open && !probe: // it tells nothing, or nothing new
		c.settle("")
	default:
		c.fail()
		c.last = err.Error()
		c.settle(err.Error()) // gateways see to it that their errors hold nothing private
	}
}

// fail counts a failure, and opens the circuit or keeps it open.
func (c *Circuit) fail() {
	c.failures++
	if c.failures < circuitFailures && !c.open {
		return
	}
	c.open = true
	c.delay = grow(c.delay)
	c.until = time.Now().Add(c.delay)
}

// close is what any answer does, unless the gateway itself says no.
func (c *Circuit) close() {
	c.failures, c.delay, c.until = 0, 0, time.Time{}
	c.open = !c.inner
}

// throttle leaves the gateway alone for as long as it asks, 0: it does not say.
func (c *Circuit) throttle(asked time.Duration) {
	c.round++
	c.pause = grow(c.pause)
	if asked > 0 {
		c.paused = time.Now().Add(asked)
		return
	}
	c.paused = time.Now().Add(c.pause)
}

func grow(d time.Duration) time.Duration { return min(max(2*d, circuitLeast), circuitMost) }

// state is what the log calls it.
func (c *Circuit) state() string {
	switch {
	case c.open:
		return "unreachable"
	case c.pause > 0:
		return "throttled"
	}
	return "reachable"
}

// settle ends every change: the log gets its line if it is one for people, and who waits is told if Ready says something else now, or
// will when time alone changes it.
func (c *Circuit) settle(why string) {
	if state := c.state(); state != c.logged {
		c.logged = state
		level := slog.LevelWarn
		if state == "reachable" {
			level = slog.LevelInfo
		}
		c.log.Log(context.Background(), level, "sms gateway changed", "state", state, "why", why)
	}
	now := time.Now()
	if ready := c.ready(now) == nil; ready != c.told {
		c.told = ready
		close(c.changed)
		c.changed = make(chan struct{})
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	next := c.paused
	if c.open && c.until.After(next) {
		next = c.until
	}
	if next.After(now) {
		c.timer = time.AfterFunc(next.Sub(now), c.wake)
	}
}

func (c *Circuit) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle("")
}
