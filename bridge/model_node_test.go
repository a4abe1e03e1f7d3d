package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/courier"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

// modelNode is one process: it may crash, and another one takes its place.
type modelNode struct {
	w         *world
	number    int
	downlinks *downlink.Service
	uplinks   *uplink.Service
	courier   *courier.Courier
	sessions  *fakeSessions
	stop      func()
}

// start makes a node of a world, with nothing of its predecessor but the client.
func (w *world) start(number int) {
	n := &modelNode{w: w, number: number}
	client := w.clients[number].Client
	n.downlinks = downlink.New(downlink.Config{
		Client: client, Keys: w.keys, Now: w.clock.now, Lease: modelLease, AckWait: modelAckWait, Attempts: modelAttempts, Keep: modelKeep, Room: modelRoom,
		Schedule: "0,60000,300000;1200000", SMS: func(string, []byte) (int, error) { return 1, nil },
	})
	var err error
	n.uplinks, err = uplink.New(uplink.Config{Client: client, Keys: w.keys, Registry: w.registry, Downlinks: n.downlinks, Now: w.clock.now})
	if err != nil {
		w.Fatalf("make uplinks: %v", err)
	}
	n.sessions = &fakeSessions{n: n, of: map[auth.DeviceID]*fakeSession{}}
	n.courier = courier.New(counted{n}, slog.New(slog.DiscardHandler))
	n.courier.GoTo(n.sessions)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.uplinks.Run(ctx) })
	wg.Go(func() { _ = n.courier.Run(ctx) })
	n.stop = func() { cancel(); wg.Wait() }
	w.nodes[number] = n
}

// look does what the time demands; a reply that is lost is Run's to ask for again.
func (n *modelNode) look() {
	for range 5 {
		if err := n.downlinks.Look(context.Background()); err == nil {
			return
		}
	}
	n.w.Fatalf("node %d cannot look", n.number)
}

// counted are a node's downlinks as its courier has them: the model waits while the courier is at something.
type counted struct{ n *modelNode }

func (c counted) Hand(ctx context.Context, id auth.DeviceID, via downlink.Channel) (downlink.Handed, bool, error) {
	c.n.w.busy.Add(1)
	h, ok, err := c.n.downlinks.Hand(ctx, id, via)
	if !ok {
		c.n.w.free()
	}
	return h, ok, err
}

func (c counted) Settle(ctx context.Context, h downlink.Handed, delivered bool, cause string) error {
	defer c.n.w.free()
	return c.n.downlinks.Settle(ctx, h, delivered, cause)
}

// fakeSessions is what a broker is to a courier.
type fakeSessions struct {
	n    *modelNode
	mu   sync.Mutex
	of   map[auth.DeviceID]*fakeSession
	dead bool
}

type fakeSession struct{ out *handed }

func (f *fakeSessions) HasDevice(id auth.DeviceID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[id] != nil && !f.dead
}

func (f *fakeSessions) DeliverDevice(m *broker.Message, done func(bool, string)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, w := f.of[m.Device], f.n.w
	if s == nil || s.out != nil || f.dead {
		return false
	}
	s.out = &handed{device: m.Device, body: string(m.Payload), topic: m.Topic, mqtt: true, node: f.n, at: w.clock.now()}
	s.out.settle = func(delivered bool, cause string) {
		w.busy.Add(1)
		done(delivered, cause)
	}
	w.arrived(s.out)
	w.free()
	return true
}

// end ends the device's session, if it has one here.
func (f *fakeSessions) end(id auth.DeviceID, cause string) {
	f.mu.Lock()
	s := f.of[id]
	delete(f.of, id)
	f.mu.Unlock()
	if s != nil && s.out != nil {
		f.n.w.settle(s.out, false, cause)
	}
}

func (f *fakeSessions) begin(id auth.DeviceID) {
	f.mu.Lock()
	f.of[id] = &fakeSession{}
	f.mu.Unlock()
	f.n.courier.Ready(id)
}

// waits is what the device has not acknowledged; free whether it could be given something.
func (f *fakeSessions) waits(id auth.DeviceID) (out *handed, free bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of[id]
	if s == nil {
		return nil, false
	}
	return s.out, s.out == nil
}

func (f *fakeSessions) acked(id auth.DeviceID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[id].out = nil
}

// lossy is a client whose replies may be lost: the script has run, and nobody is told.
type lossy struct {
	*redis.Client
	lose atomic.Int32 // so many of the next
}

var errReplyLost = errors.New("reply lost, by the test")

func (l *lossy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lossy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *lossy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && strings.HasPrefix(cmd.Name(), "eval") && l.lose.Load() > 0 && l.lose.Add(-1) >= 0 {
			cmd.SetErr(errReplyLost)
			return errReplyLost
		}
		return err
	}
}

// modelClock stands still but when the test moves it.
type modelClock struct{ ms atomic.Int64 }

func (c *modelClock) now() time.Time       { return time.UnixMilli(c.ms.Load()) }
func (c *modelClock) pass(d time.Duration) { c.ms.Add(d.Milliseconds()) }
