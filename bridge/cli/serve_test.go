package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/store"
)

// served is a `serve` that runs in this process.
type served struct {
	lines  *bufio.Scanner
	banner []string
	url    map[string]string // of the listeners, by name
	cancel context.CancelFunc
	code   chan int
}

// startServe runs `serve` on free ports until it says that it is ready.
func startServe(t *testing.T, environ []string, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	s := &served{lines: bufio.NewScanner(out), url: map[string]string{}, cancel: cancel, code: make(chan int, 1)}
	args = append([]string{"serve", "--http=127.0.0.1:0", "--api=127.0.0.1:0", "--mqtt=127.0.0.1:0"}, args...)
	go func() {
		code := Run(ctx, args, environ, strings.NewReader(""), in, in)
		_ = in.Close()
		s.code <- code
	}()
	t.Cleanup(func() { cancel(); _, _ = io.Copy(io.Discard, out) })
	for s.lines.Scan() {
		line := s.lines.Text()
		s.banner = append(s.banner, line)
		if words := strings.Fields(line); len(words) == 2 {
			s.url[words[0]] = words[1]
		}
		if line == "ready" {
			return s
		}
	}
	t.Fatalf("it was never ready: %s", strings.Join(s.banner, "\n"))
	return nil
}

// stop asks for an orderly stop and returns the exit code and what is said.
func (s *served) stop() (code int, said string) {
	s.cancel()
	for s.lines.Scan() {
		said += s.lines.Text() + "\n"
	}
	return <-s.code, said
}

func get(t *testing.T, url, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestServe(t *testing.T) {
	t.Setenv("PATH", "") // no redis-server: in memory
	s := startServe(t, []string{"M2M_HTPP=typo"}, "--data="+t.TempDir())
	banner := strings.Join(s.banner, "\n")
	for _, text := range []string{"M2M_HTPP", "NOTHING IS KEPT", "lost at exit", "generated for this run"} {
		if !strings.Contains(banner, text) {
			t.Errorf("%q is missing in\n%s", text, banner)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if code := get(t, s.url["api"]+path, ""); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	var key string
	for _, line := range s.banner {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "admin key"); ok {
			key = strings.Fields(rest)[0]
		}
	}
	if code := get(t, s.url["api"]+"/v1/devices", key); code != http.StatusOK {
		t.Errorf("the key that was printed: %d", code)
	}
	if code, said := s.stop(); code != exitOK || !strings.HasSuffix(said, "stopped\n") || strings.Contains(said, key) {
		t.Errorf("exit %d: %s", code, said)
	}
}

func TestServeKeepsGivenKeyToItself(t *testing.T) {
	t.Setenv("PATH", "")
	s := startServe(t, []string{"M2M_ADMIN_KEY=PassWord"}, "--data="+t.TempDir(), "--log-level=debug")
	if code := get(t, s.url["api"]+"/v1/devices", "PassWord"); code != http.StatusOK {
		t.Errorf("the key that was given: %d", code)
	}
	_, said := s.stop()
	if strings.Contains(strings.Join(s.banner, "\n")+said, "PassWord") {
		t.Error("the key is printed")
	}
}

// The log's stream is nothing but the log's: each line can be parsed.
func TestServeLogsJSON(t *testing.T) {
	t.Setenv("PATH", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var logged bytes.Buffer
	code := make(chan int, 1)
	go func() {
		args := []string{"serve", "--log-format=json", "--http=127.0.0.1:0", "--api=127.0.0.1:0", "--mqtt=127.0.0.1:0", "--data=" + t.TempDir()}
		got := Run(ctx, args, nil, strings.NewReader(""), in, &logged)
		_ = in.Close()
		code <- got
	}()
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if said += lines.Text() + "\n"; lines.Text() == "ready" {
			cancel()
		}
	}
	if got := <-code; got != exitOK || !strings.Contains(said, "admin key") || !strings.HasSuffix(said, "stopped\n") || logged.Len() == 0 {
		t.Errorf("exit %d: %s%s", got, said, &logged)
	}
	for line := range strings.Lines(logged.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("logged: %s", line)
		}
	}
}

// Whoever is told to end while Redis is not there yet has lost nothing.
func TestServeStoppedWhileItWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		args := []string{"serve", "--redis=redis://:PassWord@127.0.0.1:1", "--http=127.0.0.1:0", "--api=127.0.0.1:0", "--mqtt=127.0.0.1:0"}
		got := Run(ctx, args, nil, strings.NewReader(""), in, in)
		_ = in.Close()
		code <- got
	}()
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if said += lines.Text() + "\n"; strings.Contains(lines.Text(), "waiting for redis") {
			cancel()
		}
	}
	if got := <-code; got != exitOK || ctx.Err() == nil || strings.Contains(said, "PassWord") || strings.Contains(said, "ready\n") {
		t.Errorf("exit %d: %s", got, said)
	}
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program := t.TempDir() + "/m2mbridge"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "m2mbridge").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// The built program stops in order, with its redis-server, on either signal.
func TestSignals(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
	program := buildProgram(t)
	dir, err := os.MkdirTemp("", "m2m") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.CommandContext(t.Context(), program, "serve", "--data", dir, "--http=127.0.0.1:0", "--api=127.0.0.1:0", "--mqtt=127.0.0.1:0")
		cmd.WaitDelay = 10 * time.Second
		both, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = cmd.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, said := bufio.NewScanner(both), ""
		for lines.Scan() {
			if said += lines.Text() + "\n"; lines.Text() == "ready" {
				_ = cmd.Process.Signal(signal)
			}
		}
		if err := cmd.Wait(); err != nil || !strings.HasSuffix(said, "stopped\n") || !strings.Contains(said, "redis-server of our own") {
			t.Errorf("%v: %v\n%s", signal, err, said)
		}
		if s, err := store.Open(t.Context(), store.Config{Data: dir}); err != nil {
			t.Errorf("the data directory is not free afterwards: %v", err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
