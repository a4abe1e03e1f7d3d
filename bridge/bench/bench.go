//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// bench is one run of the program.
type bench struct {
	o      options
	dir    string // for all that the run leaves on disk
	binary string
	table  *table
	out    io.Writer
	job    string // the one that is running
}

// job measures one thing, and adds its rows to the table.
type job struct {
	name string
	run  func(*bench, context.Context) error
}

// jobs in the order they are run in.
func jobs() []job {
	return []job{
		{"http", func(b *bench, ctx context.Context) error { return b.http(ctx, aofOff, 0.70, 1.8) }},
		{"aof-http", func(b *bench, ctx context.Context) error { return b.http(ctx, aofEverySec, 0.55, 0) }},
		{"wake", (*bench).wake},
		{"core", (*bench).core},
		{"senml", (*bench).senml},
		{"mqtt", func(b *bench, ctx context.Context) error { return b.mqtt(ctx, aofOff, 1, 0.70) }},
		{"aof-mqtt", func(b *bench, ctx context.Context) error { return b.mqtt(ctx, aofAlways, 1, 0.45) }},
		{"window", func(b *bench, ctx context.Context) error { return b.mqtt(ctx, aofOff, 16, 0.50) }},
		{"deliver0", func(b *bench, ctx context.Context) error { return b.deliver(ctx, shape{1, 100, 0}, atLeast(1)) }},
		{"deliver1", func(b *bench, ctx context.Context) error { return b.deliver(ctx, shape{1, 100, 1}, atLeast(1)) }},
		{"deliver1-one", func(b *bench, ctx context.Context) error { return b.deliver(ctx, shape{1, 1, 1}, goal{}) }},
		{"deliver1-many", func(b *bench, ctx context.Context) error { return b.deliver(ctx, shape{100, 1, 1}, goal{}) }},
		{"audience", (*bench).audience},
		{"stall", (*bench).stall},
		{"acks", (*bench).acks},
		{"idle", (*bench).idle},
		{"due-claims", (*bench).dueClaims},
		{"due-lateness", (*bench).lateness},
		{"start", (*bench).start},
		{"million", (*bench).million},
	}
}

func jobNames() []string {
	var names []string
	for _, j := range jobs() {
		names = append(names, j.name)
	}
	return names
}

// chosen are the jobs whose names begin with one of only's words; all if it is empty.
func chosen(only string) ([]job, error) {
	if only == "" {
		return jobs(), nil
	}
	wanted := make(map[string]bool)
	for word := range strings.SplitSeq(only, ",") {
		found := false
		for _, name := range jobNames() {
			if strings.HasPrefix(name, word) {
				wanted[name], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no job begins with %q; jobs: %s", word, strings.Join(jobNames(), " "))
		}
	}
	var some []job
	for _, j := range jobs() {
		if wanted[j.name] {
			some = append(some, j)
		}
	}
	return some, nil
}

// newBench makes the place to work in, and builds what is measured.
func newBench(ctx context.Context, o options, stdout, stderr io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp(o.dir, "m2mbridge-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place to work in: %w", err)
	}
	b := &bench{o: o, dir: dir, binary: o.binary, out: stdout, table: newTable(o, machine(ctx))}
	if b.binary == "" {
		fmt.Fprintln(stderr, "building m2mbridge")
		if b.binary, err = build(ctx, dir); err != nil {
			b.close()
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

// runJobs runs one after the other. One that fails is told of, and the next one runs.
func (b *bench) runJobs(ctx context.Context, jobs []job) error {
	var failed []error
	for _, j := range jobs {
		b.job = j.name
		began := time.Now()
		err := j.run(b, ctx)
		if ctx.Err() != nil {
			return errors.Join(append(failed, fmt.Errorf("%s: %w", j.name, context.Cause(ctx)))...)
		}
		if err != nil {
			b.note("%s FAILED: %v", j.name, err)
			failed = append(failed, fmt.Errorf("%s: %w", j.name, err))
		}
		b.note("%s took %s", j.name, time.Since(began).Round(time.Second))
	}
	return errors.Join(failed...)
}

func (b *bench) add(rows ...row) { b.table.add(b.out, rows...) }

func (b *bench) note(format string, args ...any) { b.table.note(b.out, format, args...) }
