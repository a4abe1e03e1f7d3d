//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"m2mbridge/bridge/fleet"
)

// start measures how soon a started program takes an uplink, how large it is, and what it holds when nothing happens.
func (b *bench) start(ctx context.Context) error {
	r, devices, err := b.registered(ctx, 1)
	if err != nil {
		return err
	}
	defer r.stop()
	var took, memory []float64
	for range max(b.o.rounds, 3) {
		d, p, err := b.firstUplink(ctx, r.url, devices[0])
		if err != nil {
			return err
		}
		took = append(took, float64(d))
		err = sleep(ctx, b.o.measure)
		rss, memoryErr := resident(p.pid)
		p.stop()
		if err = errors.Join(err, memoryErr); err != nil {
			return err
		}
		memory = append(memory, float64(rss))
	}
	info, err := os.Stat(b.binary)
	if err != nil {
		return fmt.Errorf("measure the binary: %w", err)
	}
	b.add(
		row{job: "start to first accepted uplink, Redis running", unit: duration, ours: median(took), goal: atMost(20e6)},
		row{job: "binary", unit: bytesOf, ours: float64(info.Size()), goal: atMost(25 << 20)},
		row{job: "resident memory idle, Redis aside", unit: bytesOf, ours: median(memory), goal: atMost(20 << 20)},
	)
	return nil
}

// registered starts a Redis with n devices registered.
func (b *bench) registered(ctx context.Context, n int) (*redisServer, []fleet.Device, error) {
	r, err := b.startRedis(ctx, aofOff)
	if err != nil {
		return nil, nil, err
	}
	devices := fleet.Devices(seed, 0, n)
	if err := register(ctx, r.url, devices); err != nil {
		r.stop()
		return nil, nil, err
	}
	return r, devices, nil
}

// firstUplink starts the program and sends an uplink over and over until it is accepted.
func (b *bench) firstUplink(ctx context.Context, redisURL string, d fleet.Device) (time.Duration, *program, error) {
	addr, err := freeAddr()
	if err != nil {
		return 0, nil, err
	}
	began := time.Now()
	c, err := start("m2mbridge", nil, b.binary, "serve", "--redis", redisURL, "--log-level", "warn",
		"--http", addr, "--api", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	p := &program{child: c, http: addr}
	numbered := fleet.NewNumbered(fleet.NumberedConfig{
		Via: fleet.HTTP, Addr: addr, Devices: []fleet.Device{d}, Count: 1, Pause: 200 * time.Microsecond,
	})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = numbered.Run(ctx)
	took := time.Since(began)
	if err == nil && numbered.Acked() == 0 {
		err = fmt.Errorf("no uplink was accepted within %s\n%s", patience, c.out.String())
	}
	if err != nil {
		c.stop()
		return 0, nil, err
	}
	return took, p, nil
}
