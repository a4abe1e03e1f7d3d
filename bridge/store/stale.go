package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is written by the child into its directory, and removed at its
// orderly end.
const pidFile = "redis.pid"

// endStale ends the redis-server of an earlier run that was killed without its
// child. We hold the directory's lock, so no living m2mbridge owns it. It is
// not adopted: a child of ours ends with us, somebody else's does not.
func endStale(dir string, log *slog.Logger) error {
	pid, ok := stalePID(dir)
	if !ok {
		return nil
	}
	log.Info("ending the redis-server of an earlier run", "pid", pid)
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil // gone by itself
	}
	for _, ask := range []func(*os.Process) error{askToEnd, (*os.Process).Kill} {
		if err := ask(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end redis-server %d of an earlier run: %w", pid, err)
		}
		for deadline := time.Now().Add(stopPatience / 2); time.Now().Before(deadline); {
			if _, still := stalePID(dir); !still || p.Signal(syscall.Signal(0)) != nil {
				return nil
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return fmt.Errorf("redis-server %d of an earlier run does not end", pid)
}

// stalePID reads the pid file and makes sure that the number is still, or
// again, a redis-server that works in this directory: after a reboot, or in
// another container, it may be anybody's.
func stalePID(dir string) (pid int, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, false
	}
	return pid, worksIn(pid, dir)
}
