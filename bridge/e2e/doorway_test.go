package e2e_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// doorway stands before several nodes, as a load balancer does: a connection
// goes to the next of them that takes it.
type doorway struct {
	ln    net.Listener
	addrs []string
	turn  atomic.Uint64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// door opens a doorway to one listener of the nodes; it closes with the test.
func door(t testing.TB, listener string, nodes ...*node) *doorway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorway{ln: ln, conns: map[net.Conn]struct{}{}}
	for _, n := range nodes {
		d.addrs = append(d.addrs, n.addr(listener))
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { d.join(client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		d.closeAll()
		running.Wait()
	})
	return d
}

func (d *doorway) addr() string { return d.ln.Addr().String() }

func (d *doorway) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

// keep has a connection closed with the doorway; false: it is closed already.
func (d *doorway) keep(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

func (d *doorway) drop(c net.Conn) {
	_ = c.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

func (d *doorway) dial() (net.Conn, error) {
	first := d.turn.Add(1)
	var last error
	for i := range d.addrs {
		conn, err := net.DialTimeout("tcp", d.addrs[(int(first)+i)%len(d.addrs)], time.Second)
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// join carries one connection until either side ends it.
func (d *doorway) join(client net.Conn) {
	defer d.drop(client)
	server, err := d.dial()
	if err != nil {
		return
	}
	defer d.drop(server)
	if !d.keep(client) || !d.keep(server) {
		return
	}
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
	}
	both.Go(func() { carry(server, client) })
	carry(client, server)
	both.Wait()
}
