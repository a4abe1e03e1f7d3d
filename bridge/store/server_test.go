package store_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/store"
)

func TestServer(t *testing.T) {
	s := startServer(t, "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--requirepass", "open sesame")
	book := &logBook{}
	st := open(t, store.Config{URL: "unix://:open%20sesame@" + s.sock + "?db=2", Log: book.logger()})
	if st.Kind != store.KindServer || st.Describe() != "unix "+s.sock+" db 2" {
		t.Errorf("kind %q, %q", st.Kind, st.Describe())
	}
	if err := st.CanStore(t.Context()); err != nil {
		t.Errorf("cannot store: %v", err)
	}
	if n, err := st.Client.DBSize(t.Context()).Result(); n != 1 || err != nil {
		t.Errorf("database 2 holds %d keys, %v", n, err)
	}
	if text := book.String(); text != "" {
		t.Errorf("a well set up server is warned of: %s", text)
	}
}

func TestServerWarnings(t *testing.T) {
	s := startServer(t, "--maxmemory-policy", "allkeys-lru")
	book := &logBook{}
	open(t, store.Config{URL: "unix://" + s.sock, Log: book.logger()})
	for _, text := range []string{"no append-only file", "policy=allkeys-lru"} {
		if strings.Count(book.String(), text) != 1 {
			t.Errorf("%q is not said once: %s", text, book)
		}
	}
}

func TestServerRefusals(t *testing.T) {
	s := startServer(t, "--requirepass", "right")
	for _, c := range []struct{ url, says string }{
		{"unix://" + s.sock, "redis wants a password"},
		{"unix://:PassWord@" + s.sock, "redis refuses the user or password"},
		{"unix://:right@" + s.sock + "?db=99", "DB index is out of range"},
		{"unix:///does/not/exist.sock", "redis cannot be reached"},
		{"redis://:PassWord@127.0.0.1:" + freePort(t), "connection refused"},
		{"redis+cluster://127.0.0.1:" + freePort(t), "cannot be reached"},
	} {
		start := time.Now()
		_, err := store.Open(t.Context(), store.Config{URL: c.url, Patience: 200 * time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "PassWord") {
			t.Errorf("%s: %v, want %q", c.url, err, c.says)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("%s: refused after %v", c.url, d)
		}
	}
}

func TestOpenWaitsForServer(t *testing.T) {
	s := startServer(t)
	s.signal(t, syscall.SIGKILL)
	book, opened := &logBook{}, make(chan error)
	go func() {
		st, err := store.Open(t.Context(), store.Config{URL: "unix://" + s.sock, Log: book.logger(), Patience: 20 * time.Second})
		if err == nil {
			err = st.Close()
		}
		opened <- err
	}()
	book.await(t, "waiting for redis")
	s.start(t)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestCanStoreSaysWhyNot(t *testing.T) {
	s := startServer(t)
	st := open(t, store.Config{URL: "unix://" + s.sock})
	set := func(name, value string) {
		t.Helper()
		if err := st.Client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	says := func(text string) {
		t.Helper()
		start := time.Now()
		err := st.CanStore(t.Context())
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
		if d := time.Since(start); d > 1200*time.Millisecond {
			t.Errorf("%q came after %v", text, d)
		}
	}

	set("maxmemory", "1")
	says("redis is out of memory")
	set("maxmemory", "0")

	set("min-replicas-to-write", "1")
	says("redis has too few replicas")
	set("min-replicas-to-write", "0")

	if err := st.Client.SlaveOf(t.Context(), "127.0.0.1", freePort(t)).Err(); err != nil {
		t.Fatal(err)
	}
	says("redis is a read-only replica")
	st.Client.SlaveOf(t.Context(), "NO", "ONE")

	s.signal(t, syscall.SIGSTOP)
	says("redis cannot be reached")
	s.signal(t, syscall.SIGCONT)

	eventually(t, "it can store again", func() bool { return st.CanStore(t.Context()) == nil })
	s.signal(t, syscall.SIGKILL)
	says("redis cannot be reached")
}

func TestLostReplyIsNotRepeated(t *testing.T) {
	s := startServer(t)
	cut := newCutter(t, s.sock)
	st := open(t, store.Config{URL: "unix://" + cut.sock})
	cut.next.Store(true)
	err := st.Client.XAdd(t.Context(), &redis.XAddArgs{Stream: "s", Values: []string{"a", "1"}}).Err()
	if err == nil || cut.next.Load() {
		t.Fatalf("the reply was not lost: %v", err)
	}
	if n, err := st.Client.XLen(t.Context(), "s").Result(); n != 1 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

// cutter stands between client and server and cuts a connection instead of
// handing on the next reply.
type cutter struct {
	sock string
	next atomic.Bool
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	c := &cutter{sock: filepath.Join(filepath.Dir(server), "cutter")}
	ln, err := net.Listen("unix", c.sock)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("unix", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(backend, client); _ = backend.Close() })
			all.Go(func() { c.reply(client, backend) })
		}
	})
	return c
}

func (c *cutter) reply(client, backend net.Conn) {
	defer client.Close()
	for b := make([]byte, 4096); ; {
		n, err := backend.Read(b)
		if err != nil || c.next.CompareAndSwap(true, false) {
			_ = backend.Close()
			return
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

func TestContextBoundsBlockingRead(t *testing.T) {
	s := startServer(t)
	st := open(t, store.Config{URL: "unix://" + s.sock})
	if err := st.Blocking.Ping(t.Context()).Err(); err != nil { // it has a connection now
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGSTOP)
	defer s.signal(t, syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := st.Blocking.XRead(ctx, &redis.XReadArgs{Streams: []string{"s", "$"}, Block: time.Second}).Err()
	if err == nil || time.Since(start) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestRunLogsChangesOnce(t *testing.T) {
	s := startServer(t, "--appendonly", "yes")
	book := &logBook{}
	st := open(t, store.Config{URL: "unix://" + s.sock, Log: book.logger()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- st.Run(ctx) }()
	s.signal(t, syscall.SIGKILL)
	book.await(t, "redis is away")
	s.start(t, "--appendonly", "yes")
	book.await(t, "redis is back")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(book.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, book)
	}
}
