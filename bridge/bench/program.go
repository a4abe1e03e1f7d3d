//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"m2mbridge/bridge/fleet"
)

// program is a running m2mbridge child.
type program struct {
	*child
	http, api, mqtt, pprof string // host:port
	key                    string // the admin's
}

// build compiles the program as it is shipped, and returns where it is.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "m2mbridge")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "m2mbridge")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build m2mbridge: %w\n%s", err, out)
	}
	return binary, nil
}

// startProgram starts the binary on free ports, and returns when it says that it is ready.
func (b *bench) startProgram(ctx context.Context, redisURL string, flags ...string) (*program, error) {
	p := &program{key: rand.Text()}
	args := append([]string{
		"serve", "--redis", redisURL, "--admin-key", p.key, "--log-level", "warn",
		"--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--pprof", "127.0.0.1:0",
	}, flags...)
	var err error
	if p.child, err = start("m2mbridge", nil, b.binary, args...); err != nil {
		return nil, err
	}
	if err := p.await(ctx, p.readBanner); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// readBanner finds the addresses among what serve prints before "ready".
func (p *program) readBanner() bool {
	banner, _, ready := strings.Cut(p.out.String(), "\nready\n")
	for line := range strings.Lines(banner) {
		words := strings.Fields(line)
		if len(words) != 2 {
			continue
		}
		_, addr, _ := strings.Cut(words[1], "://")
		switch words[0] {
		case "http":
			p.http = addr
		case "api":
			p.api = addr
		case "mqtt":
			p.mqtt = addr
		case "pprof":
			p.pprof = addr
		}
	}
	return ready
}

func (p *program) client() fleet.API { return fleet.API{URL: "http://" + p.api, Key: p.key} }

// stack is the bridge with its Redis and a registered fleet.
type stack struct {
	redis   *redisServer
	program *program
	devices []fleet.Device
}

// startStack starts both, and registers the first n devices of the bench's seed.
func (b *bench) startStack(ctx context.Context, aof string, n int, flags ...string) (*stack, error) {
	s := &stack{devices: fleet.Devices(seed, 0, n)}
	var err error
	if s.redis, err = b.startRedis(ctx, aof); err != nil {
		return nil, err
	}
	if s.program, err = b.startProgram(ctx, s.redis.url, flags...); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.program.client().AddDevices(ctx, s.devices); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// pids are all server processes of the stack.
func (s *stack) pids() []int { return []int{s.program.pid, s.redis.pid} }

func (s *stack) stop() {
	if s.program != nil {
		s.program.stop()
	}
	s.redis.stop()
}

// seed makes the devices of all jobs.
const seed = "bench"
