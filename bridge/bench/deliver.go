//go:build linux

package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge/fleet"
)

const (
	// audience is how many subscribers get each message.
	audience = 100
	// ahead is how many messages the publisher may be ahead of the slowest subscriber: fewer than any broker drops at QoS 0.
	ahead = 64
	// publisherWindow is how many messages the publisher has unacknowledged.
	publisherWindow = 16
)

// deliver measures one device's uplinks going out to a hundred apps. Ours come from the stream, verified, stored and
// normalised; bare Mochi passes on what it gets.
func (b *bench) deliver(ctx context.Context, qos byte) error {
	s, err := b.startStack(ctx, aofOff, 1)
	if err != nil {
		return err
	}
	defer s.stop()
	key, err := s.program.client().AddApp(ctx, "audience", "uplink.read")
	if err != nil {
		return err
	}
	bare, addr, err := startReference(ctx, "mqtt")
	if err != nil {
		return err
	}
	defer bare.stop()
	ours := show{addr: s.program.mqtt, pids: s.pids(), filter: "uplinks/#", qos: qos, device: s.devices[0], key: key}
	theirs := show{addr: addr, pids: []int{bare.pid}, filter: "things/#", qos: qos, device: s.devices[0], key: key}
	p, err := b.inTurn(ctx,
		b.profiled(s.program, func(ctx context.Context) (sample, error) { return b.perform(ctx, ours) }),
		func(ctx context.Context) (sample, error) { return b.perform(ctx, theirs) })
	if err != nil {
		return err
	}
	b.add(p.row(fmt.Sprintf("delivery 1 → %d, QoS %d, to bare Mochi", audience, qos), perSecond, rateOf, atLeast(1)))
	b.add(p.row("  CPU", duration, costOf, goal{}))
	return nil
}

// show is one publisher and its audience on one broker.
type show struct {
	addr   string
	pids   []int
	filter string
	qos    byte
	device fleet.Device
	key    string
}

// perform runs one round: the publisher goes on as long as the slowest subscriber follows.
func (b *bench) perform(ctx context.Context, s show) (m sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	running, runCtx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		if ended := running.Wait(); err == nil && ended != nil {
			err = ended
		}
	}()
	seats, err := s.seat(ctx)
	if err != nil {
		return sample{}, err
	}
	for _, seat := range seats {
		running.Go(func() error { return seat.Run(runCtx) })
	}
	l, err := fleet.NewLoad(fleet.LoadConfig{
		Via: fleet.MQTT, Addr: s.addr, Devices: []fleet.Device{s.device}, Window: publisherWindow,
		Gate: func(sent uint64) bool { return sent < slowest(seats)+ahead },
	})
	if err != nil {
		return sample{}, err
	}
	running.Go(func() error {
		if report := l.Run(runCtx); report.Failures() > 0 {
			return fmt.Errorf("%d messages were not accepted: %v", report.Failures(), report.Failed)
		}
		return nil
	})
	return b.between(runCtx, func() uint64 { return received(seats) }, s.pids)
}

// seat subscribes the audience.
func (s show) seat(ctx context.Context) ([]*fleet.Subscriber, error) {
	seats := make([]*fleet.Subscriber, audience)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range seats {
		group.Go(func() (err error) {
			seats[i], err = fleet.Subscribe(ctx, fleet.SubscriberConfig{
				Addr: s.addr, Filter: s.filter, QoS: s.qos,
				Login: fleet.Login{ClientID: fmt.Sprintf("seat-%d", i), Username: "audience", Password: s.key},
			})
			return err
		})
	}
	return seats, group.Wait()
}

func received(seats []*fleet.Subscriber) (n uint64) {
	for _, s := range seats {
		n += s.Received()
	}
	return n
}

// slowest is what the subscriber furthest behind has received.
func slowest(seats []*fleet.Subscriber) uint64 {
	least := seats[0].Received()
	for _, s := range seats[1:] {
		least = min(least, s.Received())
	}
	return least
}
