package store

import (
	"testing"
	"testing/fstest"
)

func TestAvailableMemory(t *testing.T) {
	const own = "0::/system.slice/m2mbridge.service\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, 0},
		{"a machine", map[string]string{"proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB\n"}, 1 << 20},
		{"a container", map[string]string{"proc/meminfo": "MemTotal: 1024 kB\n", "sys/fs/cgroup/memory.max": "4096\n"}, 4096},
		{"no limit", map[string]string{"proc/meminfo": "MemTotal: 1024 kB\n", "sys/fs/cgroup/memory.max": "max\n"}, 1 << 20},
		{"version 1", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "8192\n", "proc/meminfo": "MemTotal: 1024 kB\n"}, 8192},
		{"version 1, no limit", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "proc/meminfo": "MemTotal: 1024 kB\n"}, 1 << 20},
		{"a service", map[string]string{"proc/self/cgroup": own, "sys/fs/cgroup/system.slice/m2mbridge.service/memory.max": "2048\n", "proc/meminfo": "MemTotal: 1024 kB\n"}, 2048},
		{"the root group", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "512\n"}, 512},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := availableMemory(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
