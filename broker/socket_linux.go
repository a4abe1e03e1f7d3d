package broker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentLimit bounds what the kernel holds of a connection's output beyond
// what the network has in flight. Else it takes megabytes for a peer that
// reads slowly: memory per connection, and a past that cannot be dropped.
const unsentLimit = 64 << 10

func limitUnsent(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit)
	})
}

// unacknowledged is how many bytes the kernel holds that the peer has not taken; -1 if it cannot say.
func unacknowledged(raw syscall.RawConn) (n int) {
	n = -1
	_ = raw.Control(func(fd uintptr) {
		if v, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = v
		}
	})
	return n
}
