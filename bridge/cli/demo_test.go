package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The whole story is told, and nothing is left of it.
func TestDemo(t *testing.T) {
	needRedis(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	out := newLines()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- Run(ctx, []string{"demo", "--rate", "20"}, nil, strings.NewReader(""), out, &stderr) }()
	for _, pattern := range []string{
		`uplink +IMEI/`, `same bytes again.*status 200`, `status 403`, `reject .*\(token-wrong\)`, `curl -H`,
	} {
		out.await(t, pattern)
	}
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("exit %d\n%s", got, stderr.String())
	}
	if text := out.String(); strings.Contains(text, "\x1b[") || strings.Contains(text, "failed") || !strings.Contains(text, "bridge stopped") {
		t.Errorf("the story has colours without a terminal, failures, or no end:\n%s", text)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDemoInterruptedAtOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	if code := Run(ctx, []string{"demo"}, nil, strings.NewReader(""), io.Discard, &stderr); code != exitOK {
		t.Errorf("exit %d\n%s", code, stderr.String())
	}
}

// The built program, with a reader that leaves: `demo | head -1`.
func TestDemoUnread(t *testing.T) {
	needRedis(t)
	program, left := buildProgram(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "demo", "--rate=20")
	cmd.Env = append(os.Environ(), "TMPDIR="+left)
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !bufio.NewScanner(out).Scan() {
		t.Error("it says nothing")
	}
	_ = out.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
	if entries, err := os.ReadDir(left); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// Other commands end without a word.
func TestConfigUnread(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	defer w.Close()
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "config")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitFailure || stderr.Len() > 0 {
		t.Errorf("%v: %s", err, &stderr)
	}
}

func TestPackSummary(t *testing.T) {
	for pack, want := range map[string]string{
		`[{"bn":"urn:dev:IMEI:1:","n":"t","u":"Cel","v":21.50},{"n":"open","vb":false},{"n":"s","vs":"x"}]`: `t 21.50 Cel, open false, s "x"`,
		`[{"n":"a","v":1},{"n":"b","vd":"AA"},{"n":"e","u":"J","s":3},{"n":"d","v":4},{"n":"e","v":5}]`:     `a 1, b bytes AA, e sum 3J, and 2 more`,
		`[]`:         "2 bytes",
		`not a pack`: "10 bytes",
	} {
		if got := packSummary([]byte(pack)); got != want {
			t.Errorf("%s: %q, not %q", pack, got, want)
		}
	}
}
