package broker

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Write queues p and never blocks; it goes out with the next flush. For small
// packets of the protocol: messages go through put.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.last {
		return 0, net.ErrClosed
	}
	c.grow()
	c.out = append(c.out, p...)
	return len(p), nil
}

// dupBit of a PUBLISH that was sent before (MQTT 5 §3.3.1.1).
const dupBit = 1 << 3

// put queues a message with its packet id, or reports that there is no room;
// room is called when there is again. A connection that has ended has room.
func (c *conn) put(f *frame, id uint16, dup bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.last {
		return true
	}
	if len(c.out)+len(c.rest) >= highWater {
		c.wantRoom = true
		return false
	}
	c.grow()
	at := len(c.out)
	c.out = append(append(c.out, f.head...), f.msg.Payload...)
	if f.idAt > 0 {
		c.out[at+f.idAt], c.out[at+f.idAt+1] = byte(id>>8), byte(id)
	}
	if dup {
		c.out[at] |= dupBit // [MQTT-3.3.1-1]
	}
	return true
}

// hasRoom reports whether put would take a message; if not, its owner is told when it would.
func (c *conn) hasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.last {
		return false
	}
	if len(c.out)+len(c.rest) >= highWater {
		c.wantRoom = true
		return false
	}
	return true
}

func (c *conn) grow() {
	if c.out == nil {
		c.out = (*writeBuffers.Get().(*[]byte))[:0]
	}
}

// flush writes what waits as far as the socket takes it now, and leaves the
// rest to a goroutine. It never blocks.
func (c *conn) flush() {
	c.mu.Lock()
	if c.writing || len(c.out) == 0 && (!c.last || c.hungUp) {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	if c.raw == nil || !c.drain(false) {
		c.mu.Lock()
		c.slow = true
		c.mu.Unlock()
		go c.drain(true)
	}
}

// drain writes until nothing waits. Unless it may block it stops where the
// socket is full, and reports false: the caller is still the writer.
func (c *conn) drain(block bool) bool {
	held := c.held(block)
	for c.next() {
		n, err := c.writePiece(block)
		c.mu.Lock()
		c.rest = c.rest[n:]
		c.mu.Unlock()
		switch now := c.held(block); {
		case err == nil:
			held = now
		case err == syscall.EAGAIN:
			return false
		case errors.Is(err, os.ErrDeadlineExceeded) && now < held:
			held = now // the peer took some: the socket just has no room for a piece yet
		default:
			c.failed(err)
		}
	}
	return true
}

// held is how much the kernel has that the peer has not taken. It is asked
// only where a write may block.
func (c *conn) held(block bool) int {
	if !block || c.raw == nil {
		return 0
	}
	return unacknowledged(c.raw)
}

// failed ends the connection, since nothing can be written to it.
func (c *conn) failed(err error) {
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && c.owner != nil {
		c.owner.stalled()
	}
	_ = c.Close()
}

// next takes more to write into hand, or ends the writing.
func (c *conn) next() bool {
	c.mu.Lock()
	for !c.broken && len(c.rest) == 0 {
		if len(c.out) > 0 {
			c.keep()
			c.rest, c.piece, c.out = c.out, c.out, nil
			break
		}
		c.release()
		if !c.wantRoom {
			break
		}
		c.wantRoom = false
		c.mu.Unlock()
		c.owner.roomy()
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if !c.broken && len(c.rest) > 0 {
		return true
	}
	c.end()
	return false
}

// end gives the buffer back and, after the last packet, closes our direction.
func (c *conn) end() {
	c.writing, c.rest = false, nil
	c.keep()
	if c.slow && !c.broken {
		_ = c.SetWriteDeadline(time.Time{})
	}
	c.slow = false
	if c.ended != nil {
		defer close(c.ended)
		c.ended = nil
	}
	if c.last && !c.hungUp && !c.broken {
		c.hungUp = true
		if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			_ = cw.CloseWrite()
		}
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	}
}

// keep leaves the written buffer for other connections.
func (c *conn) keep() {
	if c.piece != nil && cap(c.piece) <= keepBuffer {
		buf := c.piece[:0]
		writeBuffers.Put(&buf)
	}
	c.piece = nil
}

// writePiece writes some of rest. Each piece that makes progress has the whole time-out.
func (c *conn) writePiece(block bool) (int, error) {
	if block {
		timeout := c.timeout
		c.mu.Lock()
		if c.last {
			timeout = min(timeout, lingerTime)
		}
		c.mu.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(timeout))
	}
	if c.raw == nil {
		return c.Conn.Write(c.rest[:min(len(c.rest), pieceSize)])
	}
	c.block, c.wrote, c.outErr = block, 0, nil
	if err := c.raw.Write(c.writeFn); err != nil {
		return 0, err
	}
	return c.wrote, c.outErr
}

func (c *conn) writeNow(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), c.rest)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN && c.block:
			return false
		}
		c.wrote, c.outErr = max(n, 0), err
		return true
	}
}

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}
