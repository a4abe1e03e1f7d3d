//go:build unix && !linux

package store

import (
	"os"
	"syscall"
)

// childAttributes: a process group of its own, so that a Ctrl-C in the terminal
// reaches only us. There is no parent-death signal here; see endStale.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// askToEnd makes redis-server flush and end; it may have been stopped before.
func askToEnd(p *os.Process) error {
	err := p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
	return err
}
