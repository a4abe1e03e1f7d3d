//go:build !linux

package ingest

import (
	"net"
	"time"
)

// Taken cannot look into a connection here: that it was written must do.
func Taken(net.Conn, time.Duration) error { return nil }
