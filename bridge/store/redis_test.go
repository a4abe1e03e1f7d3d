package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/store"
)

// needServer skips a test that needs redis-server, and fails it in CI.
func needServer(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
}

// server is a redis-server that the test runs itself.
type server struct {
	sock string
	cmd  *exec.Cmd
}

// startServer runs redis-server on a socket, with more arguments; it ends with
// the test.
func startServer(t *testing.T, arguments ...string) *server {
	t.Helper()
	needServer(t)
	s := &server{sock: filepath.Join(shortDir(t), "s")}
	s.start(t, arguments...)
	return s
}

func (s *server) start(t *testing.T, arguments ...string) {
	t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", "0", "--unixsocket", s.sock, "--dir", filepath.Dir(s.sock), "--save", "",
	}, arguments...)...)
	out := new(logBook)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := store.AwaitAnswer(ctx, s.sock); err != nil {
		t.Fatalf("redis-server does not answer: %v\n%s", err, out)
	}
}

// signal sends a signal to the server; after SIGKILL it has ended.
func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGKILL {
		_ = s.cmd.Wait()
	}
}

// shortDir is a temporary directory whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "m2m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// freePort is a TCP port of the loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// open opens a store, which the test's end closes.
func open(t *testing.T, c store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// logBook is a log that a test can read while it is written.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// await waits until the log has the text.
func (b *logBook) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the log says "+text, func() bool { return strings.Contains(b.String(), text) })
}

// eventually asks again and again, for a bounded time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to be that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
