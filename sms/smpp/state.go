package smpp

import (
	"errors"
	"sync"
)

// Reason is why a client is not bound.
type Reason string

const (
	Starting    Reason = "starting"    // no attempt has ended yet
	Unreachable Reason = "unreachable" // no connection, or no answer to the bind
	Refused     Reason = "refused"     // the SMSC refused the bind: State.Err is a *StatusError
	Lost        Reason = "lost"        // the connection ended, or its other side fell silent
	Unbound     Reason = "unbound"     // the SMSC sent unbind
	Stopped     Reason = "stopped"     // Run's context ended
)

// State is whether a client is bound, and if not why.
type State struct {
	Bound  bool
	SMSC   string // bound: the system_id that the SMSC gave, often empty
	Reason Reason // not bound; empty while bound
	Err    error  // not bound: what happened; nil for Starting and Stopped
}

// same reports whether there is nothing new in another state: a repeated failure is no change.
func (s State) same(o State) bool {
	return s.Bound == o.Bound && s.SMSC == o.SMSC && s.Reason == o.Reason && s.status() == o.status()
}

func (s State) status() Status {
	var refused *StatusError
	if errors.As(s.Err, &refused) {
		return refused.Status
	}
	return 0
}

// current holds the state, and the session while there is one.
type current struct {
	mu      sync.Mutex
	state   State
	session *session
}

func (c *current) get() (State, *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.session
}

// set reports whether the state is another than before.
func (c *current) set(state State, s *session) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed = !c.state.same(state)
	c.state, c.session = state, s
	return changed
}
