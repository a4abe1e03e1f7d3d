//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Ways for Redis to keep what it has.
const (
	aofOff      = "off"
	aofEverySec = "everysec"
	aofAlways   = "always"
)

// redisServer is a redis-server child with a directory of its own.
type redisServer struct {
	*child
	url string
	dir string
}

// startRedis starts one on a Unix socket, or on a free port of the loopback interface.
func (b *bench) startRedis(ctx context.Context, aof string) (*redisServer, error) {
	dir, err := os.MkdirTemp(b.dir, "redis-")
	if err != nil {
		return nil, fmt.Errorf("make a place for Redis: %w", err)
	}
	network, addr := "unix", filepath.Join(dir, "s")
	url, place := "unix://"+addr, []string{"--port", "0", "--unixsocket", addr}
	if b.o.tcp {
		if addr, err = freeAddr(); err != nil {
			return nil, err
		}
		network, url, place = "tcp", "redis://"+addr, []string{"--port", portOf(addr)}
	}
	args := append(place, "--dir", dir, "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning")
	if aof == aofOff {
		args = append(args, "--appendonly", "no")
	} else {
		args = append(args, "--appendonly", "yes", "--appendfsync", aof)
	}
	c, err := start("redis-server", nil, "redis-server", args...)
	if err != nil {
		return nil, err
	}
	r := &redisServer{child: c, url: url, dir: dir}
	if err := c.await(ctx, func() bool { return pongs(network, addr) }); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// pongs says whether a Redis answers there.
func pongs(network, addr string) bool {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 7)
	n, err := conn.Read(answer)
	return err == nil && string(answer[:n]) == "+PONG\r\n"
}

func (r *redisServer) stop() {
	r.child.stop()
	_ = os.RemoveAll(r.dir)
}

// freeAddr is an address on the loopback interface whose port was free a moment ago.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String(), nil
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
