package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// smsc is an SMSC that is not ours: npm's package smpp in a process of its own (testdata/smsc.js), which misbehaves as it is told.
type smsc struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *transcript
	port int
}

// smscPassword is the one that it takes.
const smscPassword = "secret08"

// modules is where npm has put what the SMSC needs, once for all tests.
var modules = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(workshop, "npm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", dir, "smpp@0.5.1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install the SMSC: %w\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules"), nil
})

func startSMSC(t testing.TB, options map[string]any) *smsc {
	t.Helper()
	need(t, "node", "npm")
	path, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	s := &smsc{t: t, out: newTranscript(), cmd: exec.Command("node", filepath.Join("testdata", "smsc.js"), string(text))}
	s.cmd.Env = append(environment(), "NODE_PATH="+path)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-exited
		if t.Failed() && testing.Verbose() {
			t.Logf("the SMSC said:\n%.40000s", s.out)
		}
	})
	if !s.out.await(startLimit, exited, func(line string) bool {
		var first struct{ Port int }
		if json.Unmarshal([]byte(line), &first) == nil {
			s.port = first.Port
		}
		return s.port != 0
	}) {
		t.Fatalf("the SMSC does not start:\n%s", s.out)
	}
	return s
}

// url is its gateway's for --sms.
func (s *smsc) url(parameters string) string {
	return fmt.Sprintf("smpp://m2m:%s@127.0.0.1:%d?%s", smscPassword, s.port, parameters)
}

// seen is one thing that happened at the SMSC.
type seen struct {
	At                           int64 // Unix ms
	Ev, ID, To, From, Text, Stat string
	Validity                     any
}

// journal is all that happened there of a kind, or of one of several.
func (s *smsc) journal(kinds ...string) (list []seen) {
	for line := range bytes.Lines([]byte(s.out.String())) {
		var one seen
		if json.Unmarshal(line, &one) != nil {
			continue
		}
		for _, k := range kinds {
			if one.Ev == k {
				list = append(list, one)
			}
		}
	}
	return list
}

func (s *smsc) await(n int, kinds ...string) []seen {
	s.t.Helper()
	var list []seen
	eventually(s.t, 15*time.Second, fmt.Sprintf("%d of %s at the SMSC", n, strings.Join(kinds, ", ")), func() bool {
		list = s.journal(kinds...)
		return len(list) >= n
	})
	return list
}
