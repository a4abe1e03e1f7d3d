//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says on what, with what and when, in one line.
func machine(ctx context.Context) string {
	var u unix.Utsname
	kernel := "kernel unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	redis := "no redis-server"
	if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
		if words := strings.Fields(string(out)); len(words) > 2 {
			redis = "Redis " + strings.TrimPrefix(words[2], "v=")
		}
	}
	return fmt.Sprintf("%d × %s, %s, %s, %s, %s", runtime.NumCPU(), processor(), kernel, runtime.Version(), redis,
		time.Now().UTC().Format("2006-01-02 15:04 MST"))
}

// processor is the model's name.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
