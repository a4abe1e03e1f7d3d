package smpp

import (
	"context"
	"testing"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

// inMemory is a configuration for an SMSC without a network.
func inMemory(s *smpptest.SMSC) Config {
	return Config{Addr: s.Addr, Dial: s.Dial, SystemID: "m2m", Password: "secret"}
}

// running is a client whose Run goes on until stop or the test's end.
type running struct {
	*Client
	states chan State
	stop   func()
}

func run(t testing.TB, cfg Config) *running {
	t.Helper()
	r := &running{states: make(chan State, 1000)}
	cfg.Changed = func(s State) { r.states <- s }
	var err error
	if r.Client, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	return r
}

// bound waits for a change to bound.
func (r *running) bound(t testing.TB) *running {
	t.Helper()
	if s := r.next(t); !s.Bound {
		t.Fatalf("state %+v, want bound", s)
	}
	return r
}

// next is the next change of state.
func (r *running) next(t testing.TB) State {
	t.Helper()
	select {
	case s := <-r.states:
		return s
	case <-time.After(time.Hour):
		t.Fatal("no change of state")
		return State{}
	}
}

// onSubmit is Serve, but for submits.
func onSubmit(f smpptest.Handler) smpptest.Handler { return on(pdu.SubmitSM, f) }

// on is Serve, but for one command.
func on(command pdu.Command, f smpptest.Handler) smpptest.Handler {
	return func(c *smpptest.Conn, p pdu.PDU) {
		if p.Command == command {
			f(c, p)
			return
		}
		smpptest.Serve(c, p)
	}
}

// wake is a message of one part.
func wake() Submit {
	return Submit{Key: "k", Source: "5277", Destination: "31612345678", Text: "wake up"}
}

// long is one of three parts.
func long() Submit {
	m := wake()
	m.Text = ""
	m.Data = make([]byte, 2*partOctets+1)
	return m
}
