package store

import (
	"bufio"
	"context"
	"net"
	"strings"
	"time"
)

// awaitAnswer returns nil when the server on the socket answers and has loaded
// its data, and the context's error otherwise. It does not use go-redis, whose
// pool remembers failures to connect.
func awaitAnswer(ctx context.Context, sock string) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if answers(ctx, sock) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func answers(ctx context.Context, sock string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", sock)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(commandTimeout))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}
