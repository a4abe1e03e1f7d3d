package broker

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	readAhead   = 4 << 10  // bytes read at once from a socket
	pieceSize   = 16 << 10 // bytes written at once to TLS and WebSocket: a TLS record
	highWater   = 32 << 10 // bytes unwritten at which no more messages are put
	maxUnread   = 64 << 10 // bytes unwritten at which the peer is not read until it reads
	keepBuffer  = 64 << 10 // larger buffers are not kept for others
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// conn is a connection whose writes never block: what the socket does not
// take at once is written by a goroutine that lives only as long as there is
// something to write. A peer that takes nothing for the write time-out is cut.
// An idle conn holds no buffer.
//
// One goroutine reads. Before it waits for input it flushes, so that whatever
// it wrote while it worked goes out together.
type conn struct {
	net.Conn
	raw     syscall.RawConn // nil: a write could block (TLS, WebSocket)
	link    *link
	timeout time.Duration // of a write
	owner   owner         // set before the first put

	in     []byte // read ahead; only the reader's, as readFn and what it sets
	inBuf  *[]byte
	readFn func(fd uintptr) bool
	inErr  error

	awake  atomic.Bool // the reader has work, and will flush before it waits
	marked atomic.Bool // in the flusher's list, or about to be

	mu       sync.Mutex
	out      []byte // waits to be written
	rest     []byte // what the writer has in hand
	writing  bool   // there is a writer
	slow     bool   // the writer is a goroutine that may block
	wantRoom bool   // put found none
	last     bool   // hang up when all is written
	hungUp   bool
	broken   bool
	drained  chan struct{} // closed when all is written; the reader waits for it
	ended    chan struct{} // closed when there is no writer; linger waits for it

	writeFn func(fd uintptr) bool // as what it uses, only the writer's
	piece   []byte
	wrote   int
	outErr  error
	block   bool
}

// owner is told what becomes of its connection. Neither call comes from within put.
type owner interface {
	roomy()   // put may be called again
	stalled() // the peer took nothing for the time-out, and is cut
}

func newConn(l *link, nc net.Conn, timeout time.Duration) *conn {
	c := &conn{Conn: nc, link: l, timeout: timeout}
	if nc == net.Conn(l) {
		if sc, ok := l.Conn.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				c.raw, c.readFn, c.writeFn = raw, c.readNow, c.writeNow
			}
		}
	}
	return c
}

// Read gives what was read ahead, or flushes and waits for more.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		c.sleep()
		defer c.awake.Store(true)
		c.awaitReader()
		if c.raw == nil {
			return c.Conn.Read(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		readBuffers.Put(c.inBuf)
		c.in, c.inBuf = nil, nil
	}
	return n, nil
}

// sleep is called by the reader before it waits. From then on, whoever writes
// has it flushed; what was written before is flushed now.
func (c *conn) sleep() {
	c.awake.Store(false)
	c.flush()
}

// fill waits for input without holding a buffer.
func (c *conn) fill() error {
	c.inErr = nil
	if err := c.raw.Read(c.readFn); err != nil {
		return err
	}
	return c.inErr
}

func (c *conn) readNow(fd uintptr) bool {
	buf := readBuffers.Get().(*[]byte)
	for {
		n, err := syscall.Read(int(fd), *buf)
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			c.inBuf, c.in = buf, (*buf)[:n]
			return true
		}
		readBuffers.Put(buf)
		if err == syscall.EAGAIN {
			return false
		}
		if c.inErr = err; err == nil {
			c.inErr = io.EOF
		}
		return true
	}
}

// awaitReader holds our reading back while the peer does not read.
func (c *conn) awaitReader() {
	c.mu.Lock()
	if len(c.out)+len(c.rest) < maxUnread || c.broken {
		c.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	c.drained = drained
	c.mu.Unlock()
	<-drained
}

// Close closes at once; what waits to be written is lost. It closes what is
// below TLS and WebSocket, whose own farewells could block.
func (c *conn) Close() error {
	c.mu.Lock()
	c.fail()
	c.mu.Unlock()
	return c.link.Close()
}

// fail drops what waits; no more is taken.
func (c *conn) fail() {
	c.broken = true
	c.out, c.wantRoom = nil, false
	c.release()
}

func (c *conn) release() {
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
}

// awaitUntil sets when reading ends; nothing prolongs it after hangUp.
func (c *conn) awaitUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last {
		_ = c.SetReadDeadline(t)
	}
}

// hangUp closes once all is written. It does not wait: linger does.
func (c *conn) hangUp() {
	c.mu.Lock()
	c.last = true
	if c.slow {
		_ = c.SetWriteDeadline(time.Now().Add(lingerTime))
	}
	c.mu.Unlock()
	c.flush()
}

// linger ends the reader's part: after hangUp it waits for the last write, and
// reads on for a moment, since closing a socket with unread input makes the
// kernel drop what the peer has not read yet.
func (c *conn) linger() {
	c.mu.Lock()
	var ended chan struct{}
	if c.writing {
		ended = make(chan struct{})
		c.ended = ended
	}
	last := c.last
	c.mu.Unlock()
	if ended != nil && last {
		<-ended
	}
	if last {
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	_ = c.Close()
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readAhead); return &b }}
