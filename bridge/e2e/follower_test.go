package e2e_test

import (
	"sync"
	"sync/atomic"
	"time"
)

// follower is a client that takes and acknowledges all it is given, into a
// diary, until it leaves or its connection ends.
type follower struct {
	c       *client
	diary   *diary
	leaving atomic.Bool
	ended   chan struct{}
	err     error // of the connection, once it has ended
}

// follow subscribes and reads on in the background. Several may share a diary.
func (s *site) follow(n *node, l login, d *diary, filters ...string) *follower {
	s.Helper()
	c := s.open(n, l)
	if !c.present {
		c.mustSubscribe(filters...)
	}
	f := &follower{c: c, diary: d, ended: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(f.run)
	s.Cleanup(func() { c.cut(); running.Wait() })
	return f
}

func (f *follower) run() {
	defer close(f.ended)
	for !f.leaving.Load() {
		d, err := f.c.take(50 * time.Millisecond)
		if err == errQuiet {
			f.c.flush()
			continue
		} else if err != nil {
			f.err = err
			return
		}
		f.diary.note(d)
		f.c.ack(d)
	}
	f.c.leave() // what comes now was not taken: it is for another
}

// leave says good-bye when all that was taken is acknowledged.
func (f *follower) leave() {
	f.leaving.Store(true)
	<-f.ended
}

// die ends the connection as if the client had been killed.
func (f *follower) die() {
	f.c.cut()
	<-f.ended
}
