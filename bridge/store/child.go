package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const (
	stopPatience   = 10 * time.Second // for an orderly end, before the child is killed
	firstBackOff   = 20 * time.Millisecond
	longestBackOff = 5 * time.Second
	steady         = time.Second // a life this long was not the start's fault
)

// child is a redis-server that is kept running from start to stop.
type child struct {
	program string
	dir     *directory
	sock    string
	cleanup func() error // of the socket's directory
	log     *slog.Logger
	output  *output

	end   context.CancelFunc
	ended chan struct{} // closed when the last process is gone and will have no successor
	first chan error    // how the first start went

	// For supervise and the goroutine it waits for.
	started bool // it has answered once
	up      bool // it has answered since its last start
}

// startChild returns when the child has loaded its data and answers.
func startChild(ctx context.Context, program string, c Config) (*child, error) {
	dir, err := dataDir(c.Data)
	if err != nil {
		return nil, err
	}
	if err := dir.take(); err != nil {
		return nil, err
	}
	k := &child{
		program: program, dir: dir, log: c.Log,
		ended: make(chan struct{}), first: make(chan error, 1),
	}
	if err := k.prepare(); err != nil {
		return nil, errors.Join(err, dir.release())
	}
	life, end := context.WithCancel(context.Background())
	k.end = end
	go k.supervise(life)
	select {
	case err = <-k.first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, k.stop(), k.output.lastWords())
	}
	return k, nil
}

// prepare finds a place for the socket, ends what an earlier run may have left
// behind, and opens the pipe for the child's output.
func (k *child) prepare() (err error) {
	if k.sock, k.cleanup, err = k.dir.socket(); err != nil {
		return err
	}
	if err := endStale(k.dir.path, k.log); err != nil {
		return errors.Join(err, k.cleanup())
	}
	if k.output, err = newOutput(k.log); err != nil {
		return errors.Join(err, k.cleanup())
	}
	return nil
}

// supervise runs one process after the other until life ends, or the first
// one fails.
//
// The kernel sends the child its parent-death signal when the thread that
// started it ends (prctl(2)), not the process: this goroutine keeps its thread.
func (k *child) supervise(life context.Context) {
	defer close(k.ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for backOff := firstBackOff; ; backOff = min(2*backOff, longestBackOff) {
		began := time.Now()
		err := k.runOnce(life)
		if life.Err() != nil || !k.started {
			k.reportFirst(err)
			return
		}
		if k.up {
			k.log.Warn("redis-server ended, starting it again", "error", err)
		}
		k.up = false
		if time.Since(began) > steady {
			backOff = firstBackOff
		}
		select {
		case <-life.Done():
			return
		case <-time.After(backOff):
		}
	}
}

// runOnce runs one process from start to end; the end is always an error.
func (k *child) runOnce(life context.Context) error {
	cmd := k.command(life)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	running, cancel := context.WithCancel(life)
	var wait sync.WaitGroup
	wait.Go(func() {
		if awaitAnswer(running, k.sock) == nil {
			k.serving()
		}
	})
	err := cmd.Wait()
	cancel()
	wait.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("redis-server: %w", err)
}

// serving notes that the child answers.
func (k *child) serving() {
	if k.started && !k.up {
		k.log.Info("redis-server runs again")
	}
	k.started, k.up = true, true
	k.reportFirst(nil)
}

func (k *child) reportFirst(err error) {
	select {
	case k.first <- err:
	default: // reported before
	}
}

// command is the child's command line: durable at every write, reachable by
// this user only.
func (k *child) command(life context.Context) *exec.Cmd {
	cmd := exec.CommandContext(life, k.program,
		"--port", "0", "--unixsocket", k.sock, "--unixsocketperm", "700",
		"--dir", k.dir.path, "--pidfile", filepath.Join(k.dir.path, pidFile), "--daemonize", "no",
		"--appendonly", "yes", "--appendfsync", "always", "--save", "",
		// Full means refuse. Without a bound of its own the kernel would end it,
		// or us; half is left for us and for its rewriting of the file.
		"--maxmemory", strconv.FormatInt(AvailableMemory()/2, 10), "--maxmemory-policy", "noeviction",
		"--logfile", "", "--loglevel", "notice", "--always-show-logo", "no",
		"--set-proc-title", "no",
	)
	cmd.Stdout, cmd.Stderr = k.output.pipe, k.output.pipe
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return askToEnd(cmd.Process) }
	cmd.WaitDelay = stopPatience
	return cmd
}

func (k *child) target() target {
	return target{
		form: "unix", addrs: []string{k.sock}, checksVersion: true, ownsItsPersistence: true,
		name: "redis-server of our own, data in " + k.dir.root,
	}
}

// stop asks the child to end and returns when it has. Every write it answered
// is on disk (appendfsync always).
func (k *child) stop() error {
	k.output.ending.Store(true) // what it says at its end is no news either
	k.end()
	<-k.ended
	_ = os.Remove(k.sock) // left behind by a child that was killed
	return errors.Join(k.output.close(), k.cleanup(), k.dir.release())
}
