//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"m2mbridge/bridge/fleet"
)

// idleConnections are enough to tell what one costs.
const idleConnections = 2000

// idle measures the memory of MQTT connections on which nothing happens. Every round has fresh processes.
func (b *bench) idle(ctx context.Context) error {
	devices := fleet.Devices(seed, 0, idleConnections)
	var ours, theirs, ratios, heaps []float64
	for i := range b.o.rounds {
		own, heap, err := b.idleProgram(ctx, devices)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		bare, err := b.idleReference(ctx, devices)
		if err != nil {
			return fmt.Errorf("round %d of the reference: %w", i+1, err)
		}
		ours, theirs, ratios, heaps = append(ours, own), append(theirs, bare), append(ratios, own/bare), append(heaps, heap)
	}
	b.add(
		row{job: "resident memory for an idle MQTT connection", unit: bytesOf, ours: median(ours), goal: atMost(20 << 10)},
		row{job: "  to bare Mochi", unit: bytesOf, ours: median(ours), reference: median(theirs), ratio: median(ratios)},
		row{job: "  Go heap of it", unit: bytesOf, ours: median(heaps), goal: atMost(5 << 10)},
	)
	b.note("%d connections, logged in; the difference to the process before them", idleConnections)
	return nil
}

// idleProgram measures the resident memory and the heap for a connection. The heap without connections is another process's:
// to read it costs memory that the connections would then seem to need less of.
func (b *bench) idleProgram(ctx context.Context, devices []fleet.Device) (memory, heap float64, err error) {
	r, _, err := b.registered(ctx, len(devices))
	if err != nil {
		return 0, 0, err
	}
	defer r.stop()
	empty, err := b.startProgram(ctx, r.url)
	if err != nil {
		return 0, 0, err
	}
	before, err := heapOf(ctx, empty)
	empty.stop()
	if err != nil {
		return 0, 0, err
	}
	p, err := b.startProgram(ctx, r.url)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	if err := b.settled(ctx, p.mqtt); err != nil {
		return 0, 0, err
	}
	memory, err = b.hold(ctx, p.mqtt, p.pid, devices, func() (err error) {
		heap, err = heapOf(ctx, p)
		return err
	})
	return memory, (heap - before) / float64(len(devices)), err
}

// settled waits until one connection has been served, so that what the first one needs is not counted for all.
func (b *bench) settled(ctx context.Context, addr string) error {
	one, err := fleet.Hold(ctx, addr, fleet.DeviceLogins(fleet.Devices(seed, 0, 1)))
	if err != nil {
		return err
	}
	one.Close()
	return sleep(ctx, b.o.warm)
}

func (b *bench) idleReference(ctx context.Context, devices []fleet.Device) (memory float64, err error) {
	bare, addr, err := startReference(ctx, "mqtt")
	if err != nil {
		return 0, err
	}
	defer bare.stop()
	if err := b.settled(ctx, addr); err != nil {
		return 0, err
	}
	return b.hold(ctx, addr, bare.pid, devices, func() error { return nil })
}

// hold connects all devices, and returns by how much resident memory has grown for each. Then, while they are connected, it
// calls then.
func (b *bench) hold(ctx context.Context, addr string, pid int, devices []fleet.Device, then func() error) (float64, error) {
	before, err := resident(pid)
	if err != nil {
		return 0, err
	}
	connections, err := fleet.Hold(ctx, addr, fleet.DeviceLogins(devices))
	if err != nil {
		return 0, err
	}
	defer connections.Close()
	if err := sleep(ctx, b.o.measure); err != nil {
		return 0, err
	}
	after, err := resident(pid)
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(len(devices)), then()
}

// heapOf is what is alive on the program's heap, right after a collection.
func heapOf(ctx context.Context, p *program) (float64, error) {
	text, err := get(ctx, "http://"+p.pprof+"/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(text, []byte("# HeapAlloc = "))
	if !ok {
		return 0, errors.New("the profiler's answer has no HeapAlloc")
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.ParseFloat(string(line), 64)
}
