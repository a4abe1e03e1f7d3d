package e2e_test

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// How long a start and a stop may take, on a loaded machine with the race
// detector: a bound, not an expectation.
const (
	startLimit = 20 * time.Second
	stopLimit  = 15 * time.Second
)

// node is one process of `m2mbridge serve`.
type node struct {
	t      testing.TB
	args   []string
	env    []string
	cmd    *exec.Cmd
	out    *transcript
	exited chan struct{} // closed when the process is gone
	err    error         // of the process, once it is gone
	over   bool          // it was stopped or killed by the test

	urls  map[string]*url.URL // by listener
	store string              // what the banner says of it
}

// startNode runs serve and returns when it says that it is ready.
func startNode(t testing.TB, env []string, args ...string) *node {
	t.Helper()
	n := &node{t: t, env: env, args: append([]string{"serve"}, args...)}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// freePorts are the listeners of a node that no other test can be in the way of.
func freePorts() []string {
	return []string{"--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--log-level", "debug"}
}

func (n *node) start() {
	n.t.Helper()
	n.out, n.exited, n.over, n.urls = newTranscript(), make(chan struct{}), false, map[string]*url.URL{}
	n.cmd = exec.Command(program(n.t), n.args...)
	n.cmd.Env = n.env
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	n.cmd.SysProcAttr = dieWithParent()
	if err := n.cmd.Start(); err != nil {
		n.t.Fatalf("start the program: %v", err)
	}
	go func() {
		defer close(n.exited)
		n.err = n.cmd.Wait()
	}()
	if !n.out.await(startLimit, n.exited, func(line string) bool { return n.banner(line) }) {
		n.kill()
		n.t.Fatalf("the program did not become ready:\n%s", n.out)
	}
}

// banner takes one line of what serve says at its start; true at the last.
func (n *node) banner(line string) bool {
	if line == "ready" {
		return true
	}
	name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
	value = strings.TrimSpace(value)
	switch {
	case !ok || !strings.HasPrefix(line, "  "):
	case name == "store":
		n.store = value
	default:
		if u, err := url.Parse(value); err == nil && u.Host != "" {
			n.urls[name] = u
		}
	}
	return false
}

// addr is host:port of a listener, by the name of its flag.
func (n *node) addr(name string) string {
	n.t.Helper()
	u := n.urls[name]
	if u == nil {
		n.t.Fatalf("the program names no address for %q:\n%s", name, n.out)
	}
	return u.Host
}

func (n *node) port(name string) string { n.t.Helper(); return portOf(n.addr(name)) }

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// stop ends it as an operator does, and holds it to its promise: exit code 0,
// soon. It does nothing to a node that is gone by the test's own doing.
func (n *node) stop() {
	n.t.Helper()
	if n.over {
		return
	}
	n.over = true
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Errorf("send SIGTERM: %v", err)
	}
	if !n.gone(stopLimit) {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT) // shows where it hangs
		if !n.gone(5 * time.Second) {
			_ = n.cmd.Process.Kill()
		}
		n.t.Errorf("the program did not stop within %s of SIGTERM:\n%s", stopLimit, n.out)
		return
	}
	if n.err != nil {
		n.t.Errorf("the program ended with %v:\n%s", n.err, n.out)
	} else if last := n.out.last(); last != "stopped" {
		n.t.Errorf("its last line is %q", last)
	}
}

// kill ends it with SIGKILL.
func (n *node) kill() {
	n.t.Helper()
	n.over = true
	_ = n.cmd.Process.Kill()
	if !n.gone(stopLimit) {
		n.t.Fatal("the program outlives SIGKILL")
	}
}

// again starts a node that is gone once more, on the ports it had.
func (n *node) again() {
	n.t.Helper()
	for i, arg := range n.args {
		if u := n.urls[strings.TrimPrefix(arg, "--")]; u != nil {
			n.args[i+1] = u.Host
		}
	}
	kept := n.out
	n.start()
	n.out.before = kept
}

func (n *node) gone(limit time.Duration) bool {
	select {
	case <-n.exited:
		return true
	case <-time.After(limit):
		return false
	}
}
