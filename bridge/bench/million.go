//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/bridge/fleet"
)

// fewDevices is what the million are compared with.
const fewDevices = 1000

// million measures what an uplink and a start cost when very many devices are registered, to when few are.
func (b *bench) million(ctx context.Context) error {
	few, fewIDs, err := b.registered(ctx, fewDevices)
	if err != nil {
		return err
	}
	defer few.stop()
	began := time.Now()
	many, manyIDs, err := b.registered(ctx, b.o.registered)
	if err != nil {
		return err
	}
	defer many.stop()
	b.note("%d devices registered in %s, one transaction each", len(manyIDs), time.Since(began).Round(time.Second))
	if err := b.startUps(ctx, few, many, fewIDs[0]); err != nil {
		return err
	}
	return b.crowd(ctx, few, many, fewIDs, manyIDs)
}

// crowd compares the uplinks of both: of as many devices as the few are, and of all of them, so that hardly an uplink finds its
// device in the cache.
func (b *bench) crowd(ctx context.Context, few, many *redisServer, fewIDs, manyIDs []fleet.Device) error {
	small, err := b.startProgram(ctx, few.url)
	if err != nil {
		return err
	}
	defer small.stop()
	large, err := b.startProgram(ctx, many.url)
	if err != nil {
		return err
	}
	defer large.stop()
	cfg := fleet.LoadConfig{Via: fleet.HTTP, Devices: fewIDs, Connections: httpConnections}
	reference := b.loading(cfg, small.http, []int{small.pid, few.pid})
	for _, senders := range []struct {
		name    string
		devices []fleet.Device
	}{
		{fmt.Sprintf("uplink CPU, %d devices registered, to %d", len(manyIDs), fewDevices), fewIDs},
		{"  the same, but all of them send, each in its turn", manyIDs},
	} {
		cfg.Devices = senders.devices
		ours := b.loading(cfg, large.http, []int{large.pid, many.pid})
		p, err := b.inTurn(ctx, b.profiled(large, ours), reference)
		if err != nil {
			return err
		}
		b.add(p.row(senders.name, duration, costOf, atMost(1.1)))
	}
	return b.crowdMemory(small, large, len(manyIDs))
}

// crowdMemory compares what both hold in the end.
func (b *bench) crowdMemory(small, large *program, registered int) error {
	least, err := resident(small.pid)
	if err != nil {
		return err
	}
	most, err := resident(large.pid)
	if err != nil {
		return err
	}
	b.add(row{
		job: "  resident memory of the process after it", unit: bytesOf,
		ours: float64(most), reference: float64(least), ratio: float64(most) / float64(least),
	})
	b.note("%.0f bytes more for each registered device; the cache of devices is bounded by --device-cache, 64 MiB",
		float64(most-least)/float64(registered))
	return nil
}

// startUps compares the time from start to the first accepted uplink.
func (b *bench) startUps(ctx context.Context, few, many *redisServer, d fleet.Device) error {
	var ours, reference, ratios []float64
	for range max(b.o.rounds, 3) {
		large, p, err := b.firstUplink(ctx, many.url, d)
		if err != nil {
			return err
		}
		p.stop()
		small, p, err := b.firstUplink(ctx, few.url, d)
		if err != nil {
			return err
		}
		p.stop()
		ours, reference = append(ours, float64(large)), append(reference, float64(small))
		ratios = append(ratios, float64(large)/float64(small))
	}
	b.add(row{
		job: fmt.Sprintf("start-up, %d devices registered, to %d", b.o.registered, fewDevices), unit: duration,
		ours: median(ours), reference: median(reference), ratio: median(ratios), goal: atMost(1.5),
	})
	return nil
}

// register writes devices as the API does, many at a time, without the API between.
func register(ctx context.Context, url string, devices []fleet.Device) error {
	registry, stop, err := openRegistry(ctx, url)
	if err != nil {
		return err
	}
	defer stop()
	const writers = 128
	group, ctx := errgroup.WithContext(ctx)
	for w := range writers {
		group.Go(func() error {
			for i := w; i < len(devices); i += writers {
				d := auth.Device{ID: auth.DeviceID(devices[i].ID), Secret: devices[i].Secret}
				if _, err := registry.PutDevice(ctx, d, auth.Upsert); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
