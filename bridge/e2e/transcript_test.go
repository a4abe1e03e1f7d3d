package e2e_test

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// transcript is all that a process wrote.
type transcript struct {
	mu     sync.Mutex
	text   bytes.Buffer
	grown  chan struct{} // closed and replaced when something is written
	before *transcript   // of the process that this one follows
}

func newTranscript() *transcript { return &transcript{grown: make(chan struct{})} }

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grown)
	s.grown = make(chan struct{})
	return s.text.Write(p)
}

func (s *transcript) String() string {
	text, _ := s.now()
	return text
}

func (s *transcript) now() (text string, grown <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.grown
}

// whole is the text with that of the processes before.
func (s *transcript) whole() string {
	if s.before == nil {
		return s.String()
	}
	return s.before.whole() + s.String()
}

// await gives each whole line to f, from the first, until f says yes. False: the
// limit passed or the process ended before that.
func (s *transcript) await(limit time.Duration, ended <-chan struct{}, f func(line string) bool) bool {
	timeout := time.After(limit)
	for seen, last := 0, false; ; {
		text, grown := s.now()
		for {
			line, _, ok := strings.Cut(text[seen:], "\n")
			if !ok {
				break
			}
			if seen += len(line) + 1; f(line) {
				return true
			}
		}
		if last {
			return false
		}
		select {
		case <-grown:
		case <-ended: // look once more: it may have written just before
			last, ended = true, nil
		case <-timeout:
			return false
		}
	}
}

// last is the last line.
func (s *transcript) last() string {
	lines := strings.Split(strings.TrimRight(s.String(), "\n"), "\n")
	return lines[len(lines)-1]
}

// What must never be logged, whatever the test: message tokens (and hashes of
// anything), JSON (packs, as they are, quoted, or as numbers), a whole telephone
// number.
var never = map[string]*regexp.Regexp{
	"a token":            regexp.MustCompile(`(?i)\b[0-9a-f]{64}\b`),
	"a pack":             regexp.MustCompile(`\{\\?"|\[\{`),
	"bytes of a pack":    regexp.MustCompile(`91 123 34`),
	"a pack in base64":   regexp.MustCompile(`W3si`),
	"a telephone number": regexp.MustCompile(`\b31612345678\b`),
	"a data race":        regexp.MustCompile(`WARNING: DATA RACE`),
	"a panic":            regexp.MustCompile(`(?m)^(panic:|fatal error:|goroutine \d+ \[)`),
}

// confess fails the test if the text holds what must never be logged, or
// anything that was told in confidence.
func confess(t testing.TB, text string, confided map[string]string) {
	t.Helper()
	for what, pattern := range never {
		if at := pattern.FindStringIndex(text); at != nil {
			t.Errorf("the program logged %s: %q", what, lineAround(text, at[0]))
		}
	}
	for secret, what := range confided {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("the program logged %s: %q", what, lineAround(text, at))
		}
	}
}

func lineAround(text string, at int) string {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	return line
}

func TestConfess(t *testing.T) {
	for name, text := range map[string]string{
		"a token":     "level=INFO msg=x token=" + strings.Repeat("0a", 32),
		"a pack":      `level=INFO msg=x body="[{\"bn\":\"urn\"}]"`,
		"a JSON pack": `[{"bn":"urn"}]`,
		"a secret":    "login of confidential1 failed",
		"a number":    "sms to=31612345678",
	} {
		t.Run(name, func(t *testing.T) {
			inner := &recorder{TB: t}
			confess(inner, "ready\n"+text+"\n", map[string]string{"confidential1": "a secret"})
			if !inner.failed {
				t.Errorf("not noticed: %s", text)
			}
		})
	}
	confess(t, "level=WARN msg=\"redis is away\" device=IMEI:356726104408422 error=\"record 2: field \\\"v\\\" is missing\"\n", nil)
}

// recorder is a test that notes its failure instead.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
