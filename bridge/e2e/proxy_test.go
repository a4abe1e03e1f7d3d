package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// proxy stands between the program and Redis, and makes the way between them
// bad.
type proxy struct {
	target string
	ln     net.Listener
	delay  atomic.Int64 // of each reply, in ns
	cutAll atomic.Bool  // lets no reply to a commit through
	cuts   atomic.Int64 // replies and commands lost so far
	chance atomic.Int64 // in a thousand, that any reply breaks its connection instead

	mu      sync.Mutex
	cutting bool                      // loses each commit's reply once, and the command itself once
	seen    map[[sha256.Size]byte]int // how often a commit has come
	conns   map[net.Conn]struct{}
	gate    chan struct{} // until it is closed replies to commits wait; nil: they do not
}

// between starts a proxy before a Redis; it ends with the test.
func between(t testing.TB, server *redistest.Server) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: server.Addr, ln: ln, seen: map[[sha256.Size]byte]int{}, conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.join(client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.closeAll()
		running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "redis://" + p.ln.Addr().String() }

// loseOnce has every commit lose its reply the first time, and the command be
// lost the second time.
func (p *proxy) loseOnce(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutting = on
}

// hold keeps back the replies to commits, which have been executed, until
// release is called.
func (p *proxy) hold(t testing.TB) (release func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	p.gate = gate
	p.mu.Unlock()
	release = sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.gate = nil
		close(gate)
	})
	t.Cleanup(release)
	return release
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// join carries one connection until either side, or the proxy, ends it.
func (p *proxy) join(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.keep(client)
	p.keep(server)
	var doomed atomic.Bool                 // the next reply does not arrive
	var held atomic.Pointer[chan struct{}] // the next reply waits for this
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = server.Close() }()
		p.commands(client, server, &doomed, &held)
	}()
	p.replies(server, client, &doomed, &held)
	_ = client.Close()
	<-done
}

// commands carries what the program sends. A command is whole in one read: the
// tests' batches are small.
func (p *proxy) commands(client, server net.Conn, doomed *atomic.Bool, held *atomic.Pointer[chan struct{}]) {
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		switch p.judge(buf[:n]) {
		case loseCommand:
			p.cuts.Add(1)
			return
		case loseReply:
			p.cuts.Add(1)
			doomed.Store(true)
		case holdReply:
			p.mu.Lock()
			if gate := p.gate; gate != nil {
				held.Store(&gate)
			}
			p.mu.Unlock()
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// replies carries what Redis answers. When one is to be lost it waits for it
// first: then the command has been executed.
func (p *proxy) replies(server, client net.Conn, doomed *atomic.Bool, held *atomic.Pointer[chan struct{}]) {
	buf := make([]byte, 1<<20)
	for {
		n, err := server.Read(buf)
		if err != nil || doomed.Load() {
			return
		}
		if rand.Int64N(1000) < p.chance.Load() {
			p.cuts.Add(1)
			return
		}
		if gate := held.Swap(nil); gate != nil {
			<-*gate
		}
		time.Sleep(time.Duration(p.delay.Load()))
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

const (
	pass = iota
	loseReply
	loseCommand
	holdReply
)

// judge says what becomes of a command. Only commits are touched: EVALSHA, or
// EVAL the first time, on the uplinks stream.
func (p *proxy) judge(command []byte) int {
	head := command[:min(len(command), 64)]
	if !bytes.Contains(head, []byte("eval")) || !bytes.Contains(command, []byte("m2m:{0}:uplinks")) {
		return pass
	}
	if p.cutAll.Load() {
		return loseReply
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		return holdReply
	}
	if !p.cutting {
		return pass
	}
	print := sha256.Sum256(command)
	p.seen[print]++
	switch p.seen[print] {
	case 1:
		return loseReply
	case 2:
		return loseCommand
	}
	return pass
}
