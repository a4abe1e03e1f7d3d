//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is a process of ours. It ends with us, whatever ends us.
type child struct {
	name  string
	pid   int
	out   *transcript
	end   context.CancelFunc
	ended chan struct{}
	err   error // how it ended
}

// patience is how long a child may take to be ready, and to end.
const patience = 20 * time.Second

// start runs a program until stop. The goroutine keeps its thread: the parent-death signal comes when the thread that started
// the child ends, not the process (prctl(2), PR_SET_PDEATHSIG).
func start(name string, environ []string, program string, args ...string) (*child, error) {
	ctx, end := context.WithCancel(context.Background())
	c := &child{name: name, out: newTranscript(), end: end, ended: make(chan struct{})}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = c.out, c.out
	cmd.Env = append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			c.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// stop asks the child to end, and returns when it has; it is killed if it takes too long.
func (c *child) stop() {
	c.end()
	<-c.ended
}

// await calls ready until it is true. The end of the child is an error, with its last words.
func (c *child) await(ctx context.Context, ready func() bool) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		if ready() {
			return nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-c.ended:
			return fmt.Errorf("%s has ended: %w\n%s", c.name, errors.Join(c.err, io.EOF), c.out.String())
		case <-limit.C:
			return fmt.Errorf("%s is not ready after %s\n%s", c.name, patience, c.out.String())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// transcript keeps the beginning of what a child prints.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const transcriptLimit = 16 << 10

func newTranscript() *transcript { return &transcript{} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p[:min(len(p), max(transcriptLimit-t.text.Len(), 0))])
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
