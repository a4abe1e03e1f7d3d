// Package redistest runs a real redis-server for a test, and lets the test kill, stop and restart it. It is imported by
// tests only and knows nothing of what is stored.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// startLimit bounds how long a server may take to be ready, its append-only file loaded.
const startLimit = 20 * time.Second

// Server is one redis-server process, on one port and one data directory all its life.
type Server struct {
	Addr string // host:port
	Dir  string // where its append-only file is

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	mini *miniredis.Miniredis // set instead of cmd: no process
}

// Option is an argument of redis-server.
type Option []string

// AppendOnly keeps the data across Kill and Restart, synced before each reply.
func AppendOnly() Option { return Option{"--appendonly", "yes", "--appendfsync", "always"} }

// EverySec keeps the data too, synced each second.
func EverySec() Option { return Option{"--appendonly", "yes", "--appendfsync", "everysec"} }

// MaxMemory makes writes fail above so many bytes.
func MaxMemory(bytes int) Option {
	return Option{"--maxmemory", fmt.Sprint(bytes), "--maxmemory-policy", "noeviction"}
}

// Config sets any one setting.
func Config(name string, values ...string) Option { return append(Option{"--" + name}, values...) }

// Start runs a redis-server until the test ends. Where there is none, the test is skipped; with CI=true it fails.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no redis-server, which CI must have: %v", err)
		}
		t.Skipf("no redis-server: %v", err)
	}
	s := &Server{t: t, Dir: t.TempDir()}
	for _, o := range options {
		s.args = append(s.args, o...)
	}
	// A port that was free a moment ago may be taken by another test's server: try a few.
	var err error
	for range 5 {
		s.Addr = freeAddr(t)
		if err = s.run(); err == nil {
			t.Cleanup(s.end)
			return s
		}
	}
	t.Fatalf("start redis-server: %v", err)
	return nil
}

// Mini runs miniredis in the test's process: no persistence, no signals, but the commands and scripts.
func Mini(t testing.TB) *Server {
	t.Helper()
	m := miniredis.RunT(t)
	return &Server{t: t, Addr: m.Addr(), mini: m}
}

// Each runs f against redis-server and against miniredis.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) { f(t, Start(t)) })
	t.Run("miniredis", func(t *testing.T) { f(t, Mini(t)) })
}

// URL is redis://host:port.
func (s *Server) URL() string { return "redis://" + s.Addr }

// IsMini reports whether this is miniredis.
func (s *Server) IsMini() bool { return s.mini != nil }

// Client is a new client as the program makes them: no retries, commands bounded by their contexts, short time-outs. It
// is closed when the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:                     s.Addr,
		Protocol:                 2,
		MaxRetries:               -1,
		ContextTimeoutEnabled:    true,
		DialTimeout:              500 * time.Millisecond,
		DialerRetries:            1,
		ReadTimeout:              s.replyLimit(),
		WriteTimeout:             500 * time.Millisecond,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// replyLimit is the program's, but for miniredis: its Lua takes its time under the race detector, and nothing stops it for a test.
func (s *Server) replyLimit() time.Duration {
	if s.IsMini() {
		return 10 * time.Second
	}
	return 500 * time.Millisecond
}

// Kill ends the server at once, as a crash or the out-of-memory killer does (SIGKILL).
func (s *Server) Kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Stop freezes the server: connections stay open and are accepted, nothing is answered (SIGSTOP).
// It has stopped when Stop returns.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for !status.Stopped() {
		if _, err := syscall.Wait4(s.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil && err != syscall.EINTR {
			s.t.Fatalf("wait for redis-server to stop: %v", err)
		}
	}
}

// Cont lets a frozen server go on (SIGCONT).
func (s *Server) Cont() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// Restart starts a killed server again, on the same port and data; a running one is killed first.
func (s *Server) Restart() {
	s.t.Helper()
	if s.cmd != nil {
		s.Kill()
	}
	if err := s.run(); err != nil {
		s.t.Fatalf("restart redis-server: %v", err)
	}
}

// Running reports whether the server has been started and not killed.
func (s *Server) Running() bool { return s.cmd != nil || s.mini != nil }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatalf("send %s to a redis-server that does not run", sig)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("send %s to redis-server: %v", sig, err)
	}
}

// run starts the process and returns when it accepts connections.
func (s *Server) run() error {
	host, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{
		"--bind", host, "--port", port, "--dir", s.Dir, "--save", "", "--daemonize", "no", "--logfile", "",
	}, s.args...)
	cmd := exec.Command("redis-server", args...)
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if err := awaitReady(out); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	s.cmd = cmd
	return nil
}

// awaitReady reads the server's log until it says that it accepts connections, and goes on draining it.
func awaitReady(out io.Reader) error {
	ready := make(chan error, 1)
	go func() {
		var last string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			last = lines.Text()
			if strings.Contains(last, "Ready to accept connections") {
				ready <- nil
				_, _ = io.Copy(io.Discard, out)
				return
			}
		}
		ready <- fmt.Errorf("redis-server ended: %s", last)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		return fmt.Errorf("redis-server not ready after %s", startLimit)
	}
}

func (s *Server) end() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // SIGKILL ends a stopped process too
		_ = s.cmd.Wait()
		s.cmd = nil
	}
	// redis-server may have left read-only or temporary files behind; TempDir removes what it can see.
	_ = os.RemoveAll(filepath.Join(s.Dir, "appendonlydir"))
}

// freeAddr is a loopback port that nothing listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}
