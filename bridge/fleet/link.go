package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// link is a TCP connection that is opened when needed, and has a deadline that is renewed seldom.
type link struct {
	addr    string
	timeout time.Duration
	conn    net.Conn
	stop    func() bool // takes the watch on the context away
	fresh   time.Time   // when the deadline was last set
}

// open connects unless that is done. Until close, the end of ctx breaks whatever the connection is waiting for.
func (l *link) open(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	dialer := net.Dialer{Timeout: l.timeout, KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.conn, l.fresh = conn, time.Time{}
	l.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return nil
}

// extend renews the deadline, but not for every message: that would cost more than the message. An answer is waited for
// between three quarters and the whole of the time-out.
func (l *link) extend(now time.Time) {
	if now.Sub(l.fresh) < l.timeout/4 {
		return
	}
	l.fresh = now
	_ = l.conn.SetDeadline(now.Add(l.timeout))
}

func (l *link) close() {
	if l.conn == nil {
		return
	}
	l.stop()
	_ = l.conn.Close()
	l.conn = nil
}

// isClosed says whether an error means that the other side has closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
