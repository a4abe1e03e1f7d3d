package cli

import (
	"log/slog"
	"runtime/debug"

	"m2mbridge/bridge/store"
)

// gcPercent instead of Go's 100: with little live heap and much garbage the
// collector then runs a third as often, which measured a fifth of the CPU.
const gcPercent = 300

// tuneMemory sets what the environment left open. The limit makes the
// collector work harder before the container is killed; an embedded
// redis-server, in the same container, takes its half of it.
func tuneMemory(s *Settings, shared bool, log *slog.Logger) {
	if s.environ["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	available := store.AvailableMemory()
	if s.environ["GOMEMLIMIT"] != "" || available == 0 {
		return
	}
	limit := available / 10 * 8
	if shared {
		limit = available / 10 * 4
	}
	debug.SetMemoryLimit(limit)
	log.Debug("memory limit set", "bytes", limit)
}
