package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// needRedis skips a test that needs a redis-server; in CI there must be one.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no redis-server")
	}
	t.Skip("there is no redis-server")
}

// lines is what a command prints, to be read while it runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed by the next Write
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

func (l *lines) read() (text string, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String(), l.more
}

func (l *lines) String() string {
	text, _ := l.read()
	return text
}

// await waits until the text matches.
func (l *lines) await(t *testing.T, pattern string) {
	t.Helper()
	re, limit := regexp.MustCompile(pattern), time.After(20*time.Second)
	for {
		text, more := l.read()
		if re.MatchString(text) {
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("nothing like %s in 20 s:\n%s", pattern, text)
		}
	}
}

const simAdminKey = "simulated-admin-key-0123456789"

func TestSim(t *testing.T) {
	needRedis(t)
	s := startServe(t, nil, "--data", t.TempDir(), "--admin-key", simAdminKey)
	http, api, mqtt := s.url["http"], s.url["api"], s.url["mqtt"]
	t.Run("devices unknown", func(t *testing.T) {
		code, stdout, stderr := run(t, nil, "sim", "--to", http, "--devices", "2", "--count", "2")
		if code != exitFailure || !strings.Contains(stdout, "failed    2: 403") || !strings.Contains(stderr, "give --key") {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
	})
	key := []string{"M2M_KEY=" + simAdminKey, "M2M_API_URL=" + api}
	for name, args := range map[string][]string{
		"HTTP":           {"--to", http, "--connections", "2"},
		"HTTP reconnect": {"--to", http, "--reconnect"},
		"MQTT":           {"--to", mqtt, "--window", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"sim", "--devices", "5", "--rate", "0", "--count", "200"}, args...)
			code, stdout, stderr := run(t, key, args...)
			if code != exitOK || !strings.Contains(stdout, "accepted  200,") || !strings.Contains(stdout, "latency   p50 ") {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
		})
	}
	t.Run("pace and time", func(t *testing.T) {
		code, stdout, stderr := run(t, key, "sim", "--to", http, "--rate", "50", "--for", "500ms")
		if code != exitOK || !regexp.MustCompile(`accepted  2[0-9],`).MatchString(stdout) {
			t.Errorf("exit %d\n%s%s", code, stdout, stderr)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stdout, stderr, code := newLines(), newLines(), make(chan int, 1)
		args := []string{"sim", "--to", http, "--rate", "50", "--for", "0"}
		go func() { code <- Run(ctx, args, key, strings.NewReader(""), stdout, stderr) }()
		stderr.await(t, "10 devices registered")
		cancel()
		if got := <-code; got != exitOK || !strings.Contains(stdout.String(), "sent ") {
			t.Errorf("exit %d\n%s%s", got, stdout, stderr)
		}
	})
	t.Run("key wrong", func(t *testing.T) {
		code, _, stderr := run(t, []string{"M2M_KEY=wrong", "M2M_API_URL=" + api}, "sim", "--to", http)
		if code != exitFailure || !strings.Contains(stderr, "401") {
			t.Errorf("exit %d\n%s", code, stderr)
		}
	})
	if code, said := s.stop(); code != exitOK {
		t.Errorf("serve ended with %d: %s", code, said)
	}
}

func TestSimUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--devices", "-1"}, {"--rate", "-1"}, {"--via", "coap"}, {"--to", "127.0.0.1:8080"}, {"--to", "ftp://127.0.0.1"},
	} {
		if code, _, stderr := run(t, nil, append([]string{"sim"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit %d\n%s", args, code, stderr)
		}
	}
}
