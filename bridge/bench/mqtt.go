//go:build linux

package main

import (
	"context"
	"fmt"

	"m2mbridge/bridge/fleet"
)

// mqttConnections of the MQTT jobs, each a device's.
const mqttConnections = 50

// mqtt measures uplinks over MQTT at QoS 1 that are stored before they are acknowledged, with so many of them in flight on
// each connection.
func (b *bench) mqtt(ctx context.Context, aof string, window int, rate float64) error {
	s, err := b.startStack(ctx, aof, mqttConnections)
	if err != nil {
		return err
	}
	defer s.stop()
	bare, addr, err := startReference(ctx, "mqtt")
	if err != nil {
		return err
	}
	defer bare.stop()
	cfg := fleet.LoadConfig{Via: fleet.MQTT, Devices: s.devices, Window: window}
	p, err := b.inTurn(ctx,
		b.profiled(s.program, b.loading(cfg, s.program.mqtt, s.pids())),
		b.loading(cfg, addr, []int{bare.pid}))
	if err != nil {
		return err
	}
	name := fmt.Sprintf("MQTT QoS 1 uplink, stored, window %d, AOF %s, to bare Mochi", window, aof)
	b.add(p.row(name, perSecond, rateOf, atLeast(rate)))
	b.add(p.row("  CPU", duration, costOf, goal{}))
	b.noteLatency(p)
	return nil
}
