package store

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
)

// AvailableMemory is the smaller of what the machine has and what this
// process's control group may use, in bytes; 0 if neither is known.
func AvailableMemory() int64 { return availableMemory(os.DirFS("/")) }

func availableMemory(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	for _, n := range []int64{
		readNumber(root, "sys/fs/cgroup/memory.max"),                   // version 2, from inside a container
		readNumber(root, "sys/fs/cgroup"+ownGroup(root)+"/memory.max"), // version 2, a service of the machine
		readNumber(root, "sys/fs/cgroup/memory/memory.limit_in_bytes"), // version 1
		machineMemory(root),
	} {
		if n > 0 {
			least = min(least, n)
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// ownGroup is the path of our control group of version 2 (cgroups(7)).
func ownGroup(root fs.FS) string {
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return strings.TrimSuffix(path, "/")
		}
	}
	return ""
}

func readNumber(root fs.FS, file string) int64 {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return n
}

func machineMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
