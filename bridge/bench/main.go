//go:build linux

// Command bench measures the bridge against bare servers, side by side in one run: it builds the binary, starts it with a real
// redis-server, starts a bare net/http server and a bare Mochi broker as children of its own, and lets one and the same
// generator load them in turn, round after round. It prints the goals of DESIGN.md 11 beside what it measured.
//
// It knows the program under test by its binary, its flags and the wire alone, but for the jobs that measure a function.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], reference) {
		exit(serveReference(ctx, strings.TrimPrefix(os.Args[1], reference)))
	}
	exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func exit(err error) {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errUsage):
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

var errUsage = errors.New("usage")

// options are the flags.
type options struct {
	rounds     int
	measure    time.Duration // of one round of load
	warm       time.Duration // before it
	quick      bool
	only       string
	out        string
	dir        string
	profile    string
	registered int
	tcp        bool
	timeout    time.Duration
	binary     string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each job; the medians are printed")
	f.DurationVar(&o.measure, "measure", 1500*time.Millisecond, "how long each round is measured")
	f.DurationVar(&o.warm, "warm", 300*time.Millisecond, "how long each round runs before it is measured")
	f.BoolVar(&o.quick, "quick", false, "one short round of everything, to see that it works; the numbers mean little")
	f.StringVar(&o.only, "only", "", "jobs to run, by comma; a name's beginning is enough. Jobs: "+strings.Join(jobNames(), " "))
	f.StringVar(&o.out, "o", "", "also write a Markdown copy to this file")
	f.StringVar(&o.dir, "dir", "", "where Redis keeps its files while it runs; it should be a real disk (default the system's place for such)")
	f.StringVar(&o.profile, "profile", "", "capture a CPU profile of the bridge in the first round of this job, to <job>.pprof")
	f.IntVar(&o.registered, "registered", 1_000_000, "devices of the job million")
	f.BoolVar(&o.tcp, "tcp", false, "connect the bridge to Redis over TCP, not a Unix socket as its embedded store does")
	f.DurationVar(&o.timeout, "timeout", 40*time.Minute, "end after this time, whatever is running")
	f.StringVar(&o.binary, "binary", "", "measure this binary instead of building one")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if o.quick {
		o.rounds, o.measure, o.warm = 1, 500*time.Millisecond, 100*time.Millisecond
		o.registered = min(o.registered, 20_000)
	}
	return o, nil
}

// run is the whole of it: build, measure, print. A missed goal is not an error: it is what the table says.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	jobs, err := chosen(o.only)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	b, err := newBench(ctx, o, stdout, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	b.table.head(stdout)
	failed := b.runJobs(ctx, jobs)
	b.table.foot(stdout)
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(b.table.markdown()), 0o644); err != nil {
			return fmt.Errorf("write the copy: %w", err)
		}
	}
	return failed
}
