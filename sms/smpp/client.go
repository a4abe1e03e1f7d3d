package smpp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Client keeps one session with an SMSC. Its methods may be called from any goroutine.
type Client struct {
	cfg       Config
	running   atomic.Bool
	current   current
	throttle  throttle
	reference atomic.Uint32 // of the last long message
}

// New makes a client, which does nothing before Run.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure SMPP: %w", err)
	}
	c := &Client{cfg: cfg, throttle: throttle{first: cfg.Pause, most: cfg.PauseMax}}
	c.reference.Store(rand.Uint32()) // two clients' long messages to one phone should not have the same
	c.current.set(State{Reason: Starting}, nil)
	return c, nil
}

// State is whether there is a session now.
func (c *Client) State() State {
	state, _ := c.current.get()
	return state
}

// Run binds, and binds again when the session is lost, until ctx ends. Then it waits for answers that are due and
// callbacks that are under way, unbinds, and returns nil; ErrRunning if it runs already. It takes no longer for that than
// twice Config.ResponseTimeout and once Config.CallbackTimeout, if callbacks keep to their contexts and no Late waits.
func (c *Client) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer c.running.Store(false)
	wait := newBackoff(c.cfg)
	for ctx.Err() == nil {
		began := time.Now()
		reason, err := c.session(ctx)
		if ctx.Err() != nil {
			break
		}
		c.change(State{Reason: reason, Err: err}, nil)
		sleep(ctx, wait.next(err, time.Since(began)))
	}
	c.change(State{Reason: Stopped}, nil)
	return nil
}

// session is one session from the dialling to the end, and why it ended.
func (c *Client) session(ctx context.Context) (Reason, error) {
	s, smsc, err := c.connect(ctx)
	var refused *StatusError
	switch {
	case errors.As(err, &refused):
		return Refused, err
	case err != nil:
		return Unreachable, err
	}
	c.change(State{Bound: true, SMSC: smsc}, s)
	err = s.serve(ctx)
	if errors.Is(err, ErrUnbound) {
		return Unbound, err
	}
	return Lost, err
}

func (c *Client) change(state State, s *session) {
	if c.current.set(state, s) && c.cfg.Changed != nil {
		c.cfg.Changed(state)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
