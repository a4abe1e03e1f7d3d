//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge/fleet"
)

// shape is how many send to how many: every subscriber gets every message.
type shape struct {
	publishers, audience int
	qos                  byte
}

func (s shape) String() string {
	return fmt.Sprintf("%d → %d, QoS %d", s.publishers, s.audience, s.qos)
}

const (
	// ahead is how many messages the publishers may be ahead of the slowest subscriber: fewer than any broker drops at QoS 0.
	ahead = 64
	// publisherWindow is how many messages a publisher has unacknowledged.
	publisherWindow = 16
)

// deliver measures devices' uplinks going out to apps. Ours come from the stream, verified, stored and normalised; bare Mochi
// passes on what it gets.
func (b *bench) deliver(ctx context.Context, sh shape, rate goal) error {
	ours, theirs, stop, err := b.stage(ctx, sh)
	if err != nil {
		return err
	}
	defer stop()
	p, err := b.inTurn(ctx,
		b.profiled(ours.program, func(ctx context.Context) (sample, error) { return b.perform(ctx, ours) }),
		func(ctx context.Context) (sample, error) { return b.perform(ctx, theirs) })
	if err != nil {
		return err
	}
	b.add(p.row(fmt.Sprintf("delivery %s, to bare Mochi", sh), perSecond, rateOf, rate))
	if sh.qos == 0 {
		b.add(p.row("  CPU", duration, costOf, goal{}))
		return nil
	}
	slower := min(median(values(p.ours, rateOf)), median(values(p.reference, rateOf)))
	return b.deliveryCost(ctx, ours, theirs, halfOf(slower/float64(sh.audience)))
}

// halfOf is half a rate, in round figures.
func halfOf(rate float64) float64 { return max(math.Floor(rate/200)*100, 100) }

// deliveryCost measures at one rate, which both sides can keep up with, what a delivered message costs: once with all that its
// uplink costs, and once by itself, which is what the uplinks cost more with the audience there than without one.
func (b *bench) deliveryCost(ctx context.Context, ours, theirs show, rate float64) error {
	ours.rate, theirs.rate = rate, rate
	var whole, alone pairs
	for range b.o.rounds {
		for _, side := range []struct {
			show
			whole, alone *[]sample
		}{{ours, &whole.ours, &alone.ours}, {theirs, &whole.reference, &alone.reference}} {
			with, without, err := b.withAndWithout(ctx, side.show)
			if err != nil {
				return err
			}
			*side.whole = append(*side.whole, with)
			*side.alone = append(*side.alone, with.beyond(without, side.audience))
		}
	}
	b.add(
		whole.row(fmt.Sprintf("  CPU of all servers for a message, at %.0f uplinks/s", rate), duration, costOf, goal{}),
		alone.row("  CPU of delivery itself: with the audience less without", duration, costOf, atMost(1)),
	)
	return nil
}

// turns of a round are taken in turn with and without the audience, so that what else the machine does meets both.
const turns = 3

// withAndWithout is a round with the audience and one without anybody.
func (b *bench) withAndWithout(ctx context.Context, s show) (with, without sample, err error) {
	short := *b
	short.o.measure /= turns
	empty := s
	empty.audience = 0
	for range turns {
		w, err := short.perform(ctx, s)
		if err != nil {
			return with, without, err
		}
		wo, err := short.perform(ctx, empty)
		if err != nil {
			return with, without, err
		}
		with, without = with.plus(w), without.plus(wo)
	}
	return with, without, nil
}

// beyond is the round less what its uplinks cost without an audience.
func (s sample) beyond(without sample, audience int) sample {
	uplinks := s.messages / float64(audience)
	s.server -= time.Duration(uplinks * float64(without.cost()))
	return s
}

// show is publishers and their audience on one broker.
type show struct {
	shape
	program *program // ours; nil: the reference
	addr    string
	pids    []int
	filter  string
	devices []fleet.Device
	key     string
	keep    bool    // the audience's sessions are kept
	rate    float64 // uplinks a second; 0: as fast as the slowest subscriber follows
}

// stage starts both sides.
func (b *bench) stage(ctx context.Context, sh shape) (ours, theirs show, stop func(), err error) {
	ours, stopOurs, err := b.ourStage(ctx, sh)
	if err != nil {
		return ours, theirs, nil, err
	}
	theirs, stopTheirs, err := bareStage(ctx, ours)
	if err != nil {
		stopOurs()
		return ours, theirs, nil, err
	}
	return ours, theirs, func() { stopTheirs(); stopOurs() }, nil
}

func (b *bench) ourStage(ctx context.Context, sh shape) (s show, stop func(), err error) {
	stack, err := b.startStack(ctx, aofOff, sh.publishers)
	if err != nil {
		return s, nil, err
	}
	key, err := stack.program.client().AddApp(ctx, "audience", "uplink.read")
	if err != nil {
		stack.stop()
		return s, nil, err
	}
	return show{
		shape: sh, program: stack.program, addr: stack.program.mqtt, pids: stack.pids(), filter: "uplinks/#",
		devices: stack.devices, key: key,
	}, stack.stop, nil
}

// bareStage is the same show on bare Mochi.
func bareStage(ctx context.Context, s show) (show, func(), error) {
	bare, addr, err := startReference(ctx, "mqtt")
	if err != nil {
		return s, nil, err
	}
	s.program, s.addr, s.pids, s.filter = nil, addr, []int{bare.pid}, "things/#"
	return s, bare.stop, nil
}

// perform runs one round, and measures messages delivered; without an audience, uplinks.
func (b *bench) perform(ctx context.Context, s show) (sample, error) {
	return s.play(ctx, func(ctx context.Context, count func() uint64) (sample, error) {
		m, err := b.between(ctx, count, s.pids)
		if err != nil {
			return m, err
		}
		m.memory, err = resident(s.pids[0])
		return m, err
	})
}

// play runs the show as long as watch watches it.
func (s show) play(ctx context.Context, watch func(ctx context.Context, count func() uint64) (sample, error)) (m sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	running, runCtx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, running.Wait())
	}()
	seats, err := s.seat(ctx)
	if err != nil {
		return sample{}, err
	}
	for _, seat := range seats {
		running.Go(func() error { return seat.Run(runCtx) })
	}
	l, err := s.load(seats)
	if err != nil {
		return sample{}, err
	}
	running.Go(func() error {
		if report := l.Run(runCtx); report.Failures() > 0 {
			return fmt.Errorf("%d messages were not accepted: %v", report.Failures(), report.Failed)
		}
		return nil
	})
	if len(seats) == 0 {
		return watch(runCtx, l.Accepted)
	}
	return watch(runCtx, func() uint64 { return received(seats) })
}

func (s show) load(seats []*fleet.Subscriber) (*fleet.Load, error) {
	cfg := fleet.LoadConfig{Via: fleet.MQTT, Addr: s.addr, Devices: s.devices, Window: publisherWindow, Rate: s.rate}
	if len(seats) > 0 {
		cfg.Gate = func(sent uint64) bool { return sent < slowest(seats)+ahead }
	}
	return fleet.NewLoad(cfg)
}

// seat subscribes the audience.
func (s show) seat(ctx context.Context) ([]*fleet.Subscriber, error) {
	seats := make([]*fleet.Subscriber, s.audience)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range seats {
		group.Go(func() (err error) {
			seats[i], err = fleet.Subscribe(ctx, s.seatConfig(i))
			return err
		})
	}
	return seats, group.Wait()
}

func (s show) seatConfig(i int) fleet.SubscriberConfig {
	return fleet.SubscriberConfig{
		Addr: s.addr, Filter: s.filter, QoS: s.qos,
		Login: fleet.Login{ClientID: fmt.Sprintf("seat-%d", i), Username: "audience", Password: s.key, Keep: s.keep},
	}
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
