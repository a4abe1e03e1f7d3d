package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// front is one listener being served, with the connections it accepted.
type front struct {
	b    *Broker
	ln   net.Listener
	kind Kind
	wg   sync.WaitGroup // its connections

	quit chan struct{} // closed when it shall stop

	mu       sync.Mutex
	stopping bool
	closed   bool               // takes no connections any more
	grace    context.Context    // set before quit is closed: how long uplinks in flight may take
	conns    map[*conn]*session // nil before login
}

// Serve takes connections from ln until ctx ends or Shutdown is called. When it
// returns, ln is closed, and so is every connection it accepted. Several
// listeners may be served at once.
func (b *Broker) Serve(ctx context.Context, ln net.Listener, kind Kind) error {
	if (kind == KindTLS || kind == KindWSS) && b.cfg.TLS == nil {
		return fmt.Errorf("serve %s: no TLS configuration", kind)
	}
	f := &front{b: b, ln: ln, kind: kind, quit: make(chan struct{}), conns: map[*conn]*session{}}
	if !b.addFront(f) {
		_ = ln.Close() // Shutdown came first
		return nil
	}
	defer b.removeFront(f)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), b.cfg.ShutdownGrace)
		defer cancel()
		f.shutdown(grace)
	})
	err := f.accept()
	f.wg.Wait()
	if !stop() {
		<-stopped
	}
	return err
}

// accept runs until the listener is closed; nil when that was our doing.
func (f *front) accept() error {
	var err error
	guarded := &guardedListener{Listener: f.ln, f: f}
	switch f.kind {
	case KindWS, KindWSS:
		err = f.serveHTTP(guarded)
	default:
		err = f.serveStream(guarded)
	}
	_ = f.ln.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.stopping {
		return nil
	}
	return fmt.Errorf("accept %s: %w", f.kind, err)
}

// serveStream takes MQTT straight from the connection, or from the TLS in it.
func (f *front) serveStream(ln *guardedListener) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		l := nc.(*link)
		if f.kind == KindTLS {
			nc = tls.Server(nc, f.b.cfg.TLS)
		}
		f.take(l, nc)
	}
}

// guardedListener is a listener that goes on after errors which pass, such as
// running out of file descriptors, and admits no more than the limits allow.
type guardedListener struct {
	net.Listener
	f *front
}

// Accept gives a *link.
func (g *guardedListener) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		nc, err := g.Listener.Accept()
		switch {
		case err == nil:
			if l := g.f.b.gate.admit(nc); l != nil {
				return l, nil
			}
			pause = 0
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			g.f.b.cfg.Log.Warn("accept failed, trying again", "error", err, "pause", pause)
			select {
			case <-g.f.quit:
				return nil, net.ErrClosed
			case <-time.After(pause):
			}
		}
	}
}

// prepare sets the options of a TCP connection. Small answers must not wait
// for more (Nagle), and the kernel's keep-alive probes, which would wake a
// modem every 15 s as Go sets them, only serve clients without an MQTT
// keep-alive: a probe after 15 minutes finds their dead sockets.
func prepare(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetNoDelay(true)
	if raw, err := tcp.SyscallConn(); err == nil {
		limitUnsent(raw)
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 15 * time.Minute, Interval: time.Minute, Count: 5})
}
