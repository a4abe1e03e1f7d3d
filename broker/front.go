package broker

import (
	"context"
	"net"
	"runtime/debug"
)

// take has a connection established, unless the front is closed.
func (f *front) take(l *link, nc net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping || f.closed {
		_ = l.Close()
		return
	}
	c := newConn(l, nc, f.b.cfg.WriteTimeout)
	f.conns[c] = nil
	f.wg.Go(func() { f.establish(c) })
}

// establish takes a connection from its accept to a session, which then runs
// on a goroutine of its own: that one's stack stays small, while a login's
// grows with Mochi's packets.
func (f *front) establish(c *conn) {
	s := f.login(c)
	if s == nil {
		c.linger()
		f.drop(c)
		return
	}
	f.wg.Go(s.run)
}

// login is nil when the connection has no session; it may have something left to write.
func (f *front) login(c *conn) (s *session) {
	defer func() {
		if r := recover(); r != nil {
			f.b.panicked(r, c)
			_ = c.Close()
			s = nil
		}
	}()
	return f.b.login(f, c)
}

// panicked counts and logs a panic, which ends its connection only.
func (b *Broker) panicked(r any, c *conn) {
	b.count.panics.Add(1)
	b.cfg.Log.Error("connection ended by a panic", "panic", r, "remote", c.RemoteAddr().String(), "stack", string(debug.Stack()))
}

// owns notes the session of a connection, unless the front is stopping.
func (f *front) owns(c *conn, s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return false
	}
	f.conns[c] = s
	return true
}

func (f *front) drop(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

// shutdown stops accepting, closes what has not logged in, has each session
// stop reading and leave once its uplinks in flight are answered, and closes
// what is still open when ctx ends. It returns when all connections are closed.
func (f *front) shutdown(ctx context.Context) {
	f.stop(ctx)
	closed := make(chan struct{})
	go func() { f.wg.Wait(); close(closed) }()
	select {
	case <-closed:
		return
	case <-ctx.Done():
	}
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	<-closed
}

func (f *front) stop(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return
	}
	f.stopping, f.grace = true, ctx
	close(f.quit)
	_ = f.ln.Close()
	for c, s := range f.conns {
		if s == nil {
			_ = c.Close()
		} else {
			s.retire()
		}
	}
}
