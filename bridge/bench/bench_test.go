//go:build linux

package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// TestMain lets the test binary be its own reference servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], reference) {
		exit(serveReference(context.Background(), strings.TrimPrefix(os.Args[1], reference)))
	}
	os.Exit(m.Run())
}

func testBench(t *testing.T) *bench {
	t.Helper()
	o := options{rounds: 1, measure: 200 * time.Millisecond, warm: 20 * time.Millisecond}
	return &bench{o: o, dir: t.TempDir(), table: newTable(o, ""), out: t.Output()}
}

// A round on each reference server has messages, and costs CPU on both sides but no more than there is.
func TestRoundsOnReferences(t *testing.T) {
	for _, via := range []fleet.Via{fleet.HTTP, fleet.MQTT} {
		t.Run(string(via), func(t *testing.T) {
			c, addr, err := startReference(t.Context(), string(via))
			if err != nil {
				t.Fatal(err)
			}
			cfg := fleet.LoadConfig{Via: via, Addr: addr, Devices: fleet.Devices(seed, 0, 4)}
			s, _, err := testBench(t).load(t.Context(), cfg, []int{c.pid})
			if err != nil {
				t.Fatal(err)
			}
			if s.messages < 10 || s.cost() <= 0 || s.generator <= 0 || s.elapsed < 200*time.Millisecond {
				t.Errorf("%v messages in %v, servers %v, generator %v", s.messages, s.elapsed, s.server, s.generator)
			}
			c.stop()
			if _, err := cpuTime(c.pid); err == nil {
				t.Error("the child is still there after stop")
			}
		})
	}
}

// What a server refuses makes a round void.
func TestRoundWithFailures(t *testing.T) {
	c, addr, err := startReference(t.Context(), "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	cfg := fleet.LoadConfig{Via: fleet.HTTP, Addr: addr, Devices: fleet.Devices(seed, 0, 1)}
	if _, _, err := testBench(t).load(t.Context(), cfg, []int{c.pid}); err == nil {
		t.Error("a round of HTTP on an MQTT broker is taken for good")
	}
}

func TestDeliveryOnReference(t *testing.T) {
	for _, sh := range []shape{{1, 100, 0}, {1, 100, 1}, {100, 1, 1}, {4, 0, 1}} {
		t.Run(sh.String(), func(t *testing.T) {
			s, stop, err := bareStage(t.Context(), show{shape: sh, devices: fleet.Devices(seed, 0, sh.publishers), key: "k"})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			m, err := testBench(t).perform(t.Context(), s)
			if err != nil || m.messages < 5 || m.memory < 1<<20 { // hundreds, where nothing else runs
				t.Errorf("%v messages, %d bytes, error %v", m.messages, m.memory, err)
			}
		})
	}
}

func TestBeyond(t *testing.T) {
	with, without := sample{messages: 1000, server: 50 * time.Millisecond}, sample{messages: 20, server: 20 * time.Millisecond}
	if got := with.beyond(without, 100); got.cost() != 40*time.Microsecond {
		t.Errorf("10 uplinks of 1 ms to 100 each, at 5 ms an uplink: %v a delivery", got.cost())
	}
}

func TestChildThatEnds(t *testing.T) {
	c, err := start("false", nil, "sh", "-c", "echo last words; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	if err := c.await(t.Context(), func() bool { return false }); err == nil || !strings.Contains(err.Error(), "last words") {
		t.Errorf("error %v", err)
	}
}

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for start := time.Now(); err == nil && after-before < 5*time.Millisecond && time.Since(start) < 10*time.Second; { // others may have the CPU
		after, err = cpuTime(os.Getpid())
	}
	if err != nil || after-before < 5*time.Millisecond || after-before > time.Second {
		t.Errorf("work took %v of CPU, error %v", after-before, err)
	}
	if _, err := cpuTime(1 << 22); err == nil {
		t.Error("a process that is not there has CPU time")
	}
}

func TestResident(t *testing.T) {
	n, err := resident(os.Getpid())
	if err != nil || n < 1<<20 || n > 1<<36 {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

func TestBanner(t *testing.T) {
	p := &program{child: &child{out: newTranscript()}}
	banner := "m2mbridge dev\n  http      http://127.0.0.1:1\n  api       http://127.0.0.1:2\n  mqtt      mqtt://127.0.0.1:3\n"
	_, _ = p.out.Write([]byte(banner))
	if p.readBanner() {
		t.Error("ready before it says so")
	}
	_, _ = p.out.Write([]byte("  store     redis unix\nready\n"))
	if !p.readBanner() || p.http != "127.0.0.1:1" || p.api != "127.0.0.1:2" || p.mqtt != "127.0.0.1:3" {
		t.Errorf("%q %q %q", p.http, p.api, p.mqtt)
	}
}
