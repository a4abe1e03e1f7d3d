//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/fleet"
)

const (
	// keptRate is what each of the sessions acknowledges a second.
	keptRate = 500
	// keptFor is how long it is measured, at least: sessions are kept about once a second.
	keptFor = 5 * time.Second
)

// keptShape is a hundred sessions: the commands of an uplink, which are many, are then few beside those of its acknowledgements.
var keptShape = shape{publishers: 1, audience: 100, qos: 1}

// acks measures what it costs that sessions are kept: Redis commands for acknowledged messages, with kept sessions and with
// ones that end with their connections.
func (b *bench) acks(ctx context.Context) error {
	stack, err := b.startStack(ctx, aofOff, keptShape.publishers)
	if err != nil {
		return err
	}
	defer stack.stop()
	key, err := stack.program.client().AddApp(ctx, "audience", "uplink.read")
	if err != nil {
		return err
	}
	clean := show{
		shape: keptShape, program: stack.program, addr: stack.program.mqtt, pids: stack.pids(), filter: "uplinks/#",
		devices: stack.devices, key: key, rate: keptRate,
	}
	kept := clean
	kept.keep = true
	// A clean round's logins have the clients' names, and so end the kept sessions of the round before.
	p, err := b.inTurn(ctx,
		b.profiled(stack.program, func(ctx context.Context) (sample, error) { return b.keeping(ctx, kept, stack.redis) }),
		func(ctx context.Context) (sample, error) { return b.keeping(ctx, clean, stack.redis) })
	if err != nil {
		return err
	}
	b.addAcks(p)
	return nil
}

func (b *bench) addAcks(p pairs) {
	more := make([]float64, len(p.ours))
	for i := range more {
		more[i] = perThousand(p.ours[i]) - perThousand(p.reference[i])
	}
	all := p.row(fmt.Sprintf("Redis commands for 1000 messages acknowledged by %d kept sessions, to ones not kept", keptShape.audience),
		number, perThousand, goal{})
	b.add(
		all,
		row{job: fmt.Sprintf("  those of keeping them, at %d messages/s to each", keptRate), unit: number, ours: median(more), goal: atMost(20)},
		p.row("  CPU of all servers for a message", duration, costOf, goal{}),
	)
}

func perThousand(s sample) float64 { return 1000 * s.commands / s.messages }

// keeping is one round with the commands that Redis was given meanwhile.
func (b *bench) keeping(ctx context.Context, s show, r *redisServer) (sample, error) {
	options, err := redis.ParseURL(r.url)
	if err != nil {
		return sample{}, fmt.Errorf("read the URL of Redis: %w", err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	m, err := s.play(ctx, func(ctx context.Context, count func() uint64) (sample, error) {
		if err := sleep(ctx, b.o.warm+time.Second); err != nil { // till all have been kept for the first time
			return sample{}, err
		}
		before, err := commands(ctx, client)
		if err != nil {
			return sample{}, err
		}
		quiet := *b
		quiet.o.warm, quiet.o.measure = 0, max(b.o.measure, keptFor)
		m, err := quiet.between(ctx, count, s.pids)
		if err != nil {
			return sample{}, fmt.Errorf("after %d messages: %w", count(), err)
		}
		after, err := commands(ctx, client)
		m.commands = after - before
		return m, err
	})
	if err == nil && s.keep {
		err = s.isKept(ctx)
	}
	return m, err
}

// isKept makes sure that what was measured was there.
func (s show) isKept(ctx context.Context) error {
	one, err := fleet.Subscribe(ctx, s.seatConfig(0))
	if err != nil {
		return err
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_ = one.Run(over)
	if !one.Present() {
		return errors.New("the session was not kept")
	}
	return nil
}

// commands is how many Redis has executed, those of scripts included.
func commands(ctx context.Context, client *redis.Client) (sum float64, err error) {
	text, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its statistics: %w", err)
	}
	for line := range strings.Lines(text) { // cmdstat_xadd:calls=1,usec=…
		if _, calls, ok := strings.Cut(line, ":calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			n, err := strconv.ParseFloat(calls, 64)
			if err != nil {
				return 0, fmt.Errorf("read the statistics of Redis: %w", err)
			}
			sum += n
		}
	}
	return sum, nil
}
