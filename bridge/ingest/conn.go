package ingest

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn is an open connection. It spares what net/http would pay for at every
// request and a device never makes use of: two or three runtime timers for
// deadlines, and the read ahead that finds out whether the peer has left.
type conn struct {
	net.Conn
	idle      atomic.Int64 // Unix ns since when it is waited for; 0 while its request is answered
	answering atomic.Bool  // its request was read whole
	leave     func()

	mu          sync.Mutex
	read, write deadline
}

// deadline is one that a sweep will notice. Time-outs here are seconds, so it
// may be late by the time between sweeps.
type deadline struct {
	due     int64 // Unix ns; 0: none
	expired bool  // the connection below has been told
}

// sweepEvery is how often deadlines are looked at.
const sweepEvery = 100 * time.Millisecond

// longAgo is before any deadline that is not meant to expire at once.
const longAgo = int64(1e18) // 2001, in Unix ns

// set notes a deadline, and tells the connection below by tell only where it
// must know now: to expire at once, or to forget one that did.
func (d *deadline) set(t time.Time, tell func(time.Time) error) error {
	d.due = 0
	if !t.IsZero() {
		d.due = t.UnixNano()
	}
	switch now := d.due != 0 && d.due < longAgo; {
	case now:
		d.expired = true
		return tell(t)
	case d.expired:
		d.expired = false
		return tell(time.Time{})
	}
	return nil
}

// sweep expires the deadline if it is due.
func (d *deadline) sweep(now time.Time, tell func(time.Time) error) {
	if d.due != 0 && d.due <= now.UnixNano() && !d.expired {
		d.expired = true
		_ = tell(now) // a closed connection needs no deadline
	}
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.set(t, c.Conn.SetReadDeadline)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.sweep(now, c.Conn.SetReadDeadline)
	c.write.sweep(now, c.Conn.SetWriteDeadline)
}

// Read leaves out the read of one byte that net/http makes beside a handler,
// once the body is read, to notice a peer that leaves: an uplink that has come
// whole is stored whether or not its sender waits. That read would cost each
// request a system call and the wake-up of a goroutine. What the peer sends
// ahead stays where it is, for the next request.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 1 && c.answering.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(p)
}

// Close frees the connection's place, once.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite lets net/http end its side first, so that a peer which is still
// sending reads the answer and not a reset.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type connKey struct{}

// withConn lets a handler find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// bodyRead notes that the request has come whole.
func bodyRead(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		c.answering.Store(true)
		c.idle.Store(0)
	}
}
