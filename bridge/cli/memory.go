package cli

import (
	"bufio"
	"bytes"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent instead of Go's 100: with little live heap and much garbage the
// collector then runs a third as often, which measured a fifth of the CPU.
const gcPercent = 300

// tuneMemory sets what the environment left open. The limit makes the
// collector work harder before the container is killed; an embedded
// redis-server is in the same container and gets the other half.
func tuneMemory(s *Settings, shared bool, log *slog.Logger) {
	if s.environ["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	if s.environ["GOMEMLIMIT"] != "" {
		return
	}
	available := availableMemory()
	if available == 0 {
		return
	}
	share := 0.8
	if shared {
		share = 0.4
	}
	limit := int64(float64(available) * share)
	debug.SetMemoryLimit(limit)
	log.Debug("memory limit set", "bytes", limit)
}

// availableMemory is the smaller of the container's limit and the machine's
// memory, in bytes; 0 if neither is known.
func availableMemory() int64 {
	available := int64(math.MaxInt64)
	for _, n := range []int64{
		readNumber("/sys/fs/cgroup/memory.max"),                   // cgroup v2
		readNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes"), // v1
		machineMemory(),
	} {
		if n > 0 {
			available = min(available, n)
		}
	}
	if available == math.MaxInt64 {
		return 0
	}
	return available
}

func readNumber(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return n
}

func machineMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
