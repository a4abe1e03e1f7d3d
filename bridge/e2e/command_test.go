package e2e_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// background is a command that runs until it is interrupted.
type background struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *transcript // standard output
	errs   *transcript
	exited chan struct{}
}

func startCommand(t *testing.T, env []string, args ...string) *background {
	t.Helper()
	return start(t, env, program(t), args...)
}

func start(t *testing.T, env []string, name string, args ...string) *background {
	t.Helper()
	b := &background{t: t, cmd: exec.Command(name, args...), out: newTranscript(), errs: newTranscript(), exited: make(chan struct{})}
	b.cmd.Env, b.cmd.Stdout, b.cmd.Stderr, b.cmd.SysProcAttr = env, b.out, b.errs, dieWithParent()
	b.cmd.SysProcAttr.Setpgid = true // a shell's commands end with it
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(b.exited); _ = b.cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL); <-b.exited })
	return b
}

// eventually waits until a text has been printed so often.
func (b *background) eventually(text string, times int) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); strings.Count(b.out.String(), text) < times; {
		if time.Now().After(deadline) {
			b.t.Fatalf("%v did not print %s %d times:\n%s\n%s", b.cmd.Args, text, times, b.out, b.errs)
		}
		rest(10 * time.Millisecond)
	}
}

// interrupt is Ctrl-C; it gives the exit code.
func (b *background) interrupt() int {
	b.t.Helper()
	_ = b.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-b.exited:
	case <-time.After(stopLimit):
		b.t.Fatalf("%v did not end", b.cmd.Args)
	}
	return b.cmd.ProcessState.ExitCode()
}
