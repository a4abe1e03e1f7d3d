package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
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
