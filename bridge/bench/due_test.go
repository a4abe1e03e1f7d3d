//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// Both sides of the jobs do what they are measured for, on a small scale.
func TestDue(t *testing.T) {
	b := testBench(t)
	b.o.registered, b.o.quick = 2000, true
	for name, run := range map[string]func() error{
		"claims":   func() error { return b.dueClaims(t.Context()) },
		"lateness": func() error { return b.lateness(t.Context()) },
	} {
		if err := run(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, r := range b.table.rows {
		early := strings.Contains(r.job, "early")
		if early && r.ours != 0 || !early && r.ours <= 0 {
			t.Errorf("%s: %v", r.job, r.ours)
		}
	}
}

func TestDueTime(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_123_456)
	e := dueEntry("x", 7, at)
	if e.At.Text() != "1700000000124" || !strings.HasSuffix(e.Data, " 1700000000123456") || len(e.ID) != 23 {
		t.Errorf("%+v", e)
	}
}
