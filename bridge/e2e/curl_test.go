package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// runFor runs a program to its end, within a limit. Its exit code is -1 when it
// had to be killed.
func runFor(t testing.TB, limit time.Duration, env []string, stdin, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(stdin), &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		t.Fatalf("run %s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// reply is what curl saw.
type reply struct {
	status int
	header string // as it came
	body   string
	took   time.Duration
}

// field gives a header field, "" for none.
func (r reply) field(name string) string {
	for line := range strings.Lines(r.header) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// curl makes one request.
func curl(t testing.TB, args ...string) reply {
	t.Helper()
	const report = `%{stderr}%{http_code} %{time_total}`
	args = append([]string{"-sS", "-i", "--max-time", "10", "-H", "Expect:", "-w", report}, args...)
	code, out, errs := runFor(t, 15*time.Second, environment(), "", "curl", args...)
	status, took, ok := strings.Cut(errs, " ")
	seconds, err := strconv.ParseFloat(took, 64)
	if code != 0 || !ok || err != nil {
		t.Fatalf("curl %v: exit code %d: %s", args, code, errs)
	}
	r := reply{took: time.Duration(seconds * float64(time.Second))}
	r.status, _ = strconv.Atoi(status)
	r.header, r.body, _ = strings.Cut(out, "\r\n\r\n")
	for strings.HasPrefix(r.body, "HTTP/1.1") { // after 100 Continue
		r.header, r.body, _ = strings.Cut(r.body, "\r\n\r\n")
	}
	return r
}

// post sends a body as a device does, with its right token.
func (s *site) post(n *node, d fleet.Device, body string, args ...string) reply {
	s.Helper()
	return s.postWith(n, d.Path(), s.token(d, body), body, args...)
}

// send posts until the answer is 200, as a device does that is told to try
// again: a disk that is busy for a second is no fault of the program's.
func (s *site) send(n *node, d fleet.Device, body string) {
	s.Helper()
	for range 10 {
		r := s.post(n, d, body)
		if r.status != 503 {
			r.accepted(s.T)
			return
		}
	}
	s.Fatalf("%s is told to try again and again", d.ID)
}

// postWith sends a body with any token; "" is none.
func (s *site) postWith(n *node, path, token, body string, args ...string) reply {
	s.Helper()
	args = append(args, "http://"+n.addr("http")+path, "-H", "Content-Type: application/json", "--data-binary", body)
	if token != "" {
		args = append(args, "-H", "Things-Message-Token: "+token)
	}
	return curl(s.T, args...)
}

// accepted wants a 200 as devices can read it.
func (r reply) accepted(t testing.TB) {
	t.Helper()
	if r.status != 200 || r.body != "" || r.field("Content-Length") != "0" || r.field("Transfer-Encoding") != "" {
		t.Fatalf("status %d, want an empty 200:\n%s\n\n%s", r.status, r.header, r.body)
	}
}
