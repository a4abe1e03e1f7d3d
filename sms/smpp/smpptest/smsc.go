// Package smpptest is an SMSC for tests, which answers as it is told to. It is imported by tests only, and knows nothing of
// the client: it shares with it the codec alone.
package smpptest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
)

// SMSC takes connections until its test ends.
type SMSC struct {
	Addr string // host:port; of no meaning to one made by New

	t      testing.TB
	handle Handler
	listen net.Listener
	bound  chan *Conn
	group  sync.WaitGroup

	mu    sync.Mutex
	ended bool
	conns []*Conn
}

// New is an SMSC in the test's memory, reached by its Dial: for bubbles of testing/synctest, which no socket may enter. A nil
// handler is Serve.
func New(t testing.TB, handle Handler) *SMSC {
	if handle == nil {
		handle = Serve
	}
	s := &SMSC{Addr: "smsc.test:2775", t: t, handle: handle, bound: make(chan *Conn, 100)}
	t.Cleanup(s.end)
	return s
}

// Listen is an SMSC on a free loopback port, with TLS if cfg is not nil.
func Listen(t testing.TB, cfg *tls.Config, handle Handler) *SMSC {
	t.Helper()
	s := New(t, handle)
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = listen.Addr().String()
	if cfg != nil {
		listen = tls.NewListener(listen, cfg)
	}
	s.listen = listen
	s.group.Go(s.accept)
	return s
}

// Dial is a connection to the SMSC without a network.
func (s *SMSC) Dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	s.take(far)
	return near, nil
}

// Bound waits for the next bind that Serve accepted.
func (s *SMSC) Bound() *Conn {
	s.t.Helper()
	select {
	case c := <-s.bound:
		return c
	case <-s.t.Context().Done():
		s.t.Fatal("the test ended before a bind")
		return nil
	}
}

// wasBound keeps a connection for Bound; beyond 100 that no test takes they are dropped.
func (s *SMSC) wasBound(c *Conn) {
	select {
	case s.bound <- c:
	default:
	}
}

func (s *SMSC) accept() {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return // closed
		}
		s.take(conn)
	}
}

func (s *SMSC) take(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		_ = conn.Close()
		return
	}
	c := newConn(s, conn)
	s.conns = append(s.conns, c)
	s.group.Go(c.read)
	s.group.Go(c.write)
}

func (s *SMSC) end() {
	if s.listen != nil {
		_ = s.listen.Close()
	}
	s.mu.Lock()
	s.ended = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
}
