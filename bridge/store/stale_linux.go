package store

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// worksIn tells whether pid is a redis-server whose directory is dir.
func worksIn(pid int, dir string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	name, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(name)), "-server") {
		return false
	}
	theirs, err1 := os.Stat(filepath.Join(proc, "cwd"))
	ours, err2 := os.Stat(dir)
	return err1 == nil && err2 == nil && os.SameFile(theirs, ours)
}
