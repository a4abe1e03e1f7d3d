package ingest

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCP states in which the peer can still read (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpCloseWait   = 8 // it sends no more
)

// Taken waits until the peer's TCP has acknowledged all that was written on a
// connection. Its error says why that does not come. Of a connection that is no
// TCP socket nothing more is known than that it was written.
func Taken(c net.Conn, limit time.Duration) error {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return errGone
	}
	until := time.Now().Add(limit)
	for pause := 200 * time.Microsecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, open, err := unacknowledged(raw)
		switch {
		case err != nil || !open:
			return errGone
		case !left:
			return nil
		case time.Now().After(until):
			return errNotTaken
		}
		time.Sleep(pause)
	}
}

// unacknowledged tells whether anything written is not acknowledged, and
// whether the connection is one that the peer can still read from.
func unacknowledged(raw syscall.RawConn) (left, open bool, err error) {
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(err, failed); err != nil {
		return false, false, err
	}
	open = info.State == tcpEstablished || info.State == tcpCloseWait
	return info.Unacked > 0 || info.Notsent_bytes > 0, open, nil
}
