// Package courier takes downlinks to the devices that have an MQTT session on this node, one at a time for each, and tells
// what became of them. Which downlink is a device's next, and whether it may go, is for bridge/downlink to say.
package courier

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// Downlinks is what a courier asks of *downlink.Service.
type Downlinks interface {
	Hand(ctx context.Context, id auth.DeviceID, via downlink.Channel) (h downlink.Handed, ok bool, err error)
	Settle(ctx context.Context, h downlink.Handed, delivered bool, cause string) error
}

// Devices is what it asks of *broker.Broker.
type Devices interface {
	HasDevice(id auth.DeviceID) bool
	DeliverDevice(m *broker.Message, done func(delivered bool, cause string)) bool
}

// Courier goes to devices; make one with New.
type Courier struct {
	downlinks Downlinks
	devices   Devices
	log       *slog.Logger

	more chan struct{} // of one: there is something to do

	mu       sync.Mutex
	waiting  map[auth.DeviceID]struct{} // each once, however often it was named
	order    []auth.DeviceID
	busy     map[auth.DeviceID]after // visited, or with a message on its way
	resting  map[auth.DeviceID]*time.Timer
	outcomes []outcome
	failing  bool // told in the log
}

// after is what comes when a visit is over.
type after uint8

const (
	asItWent after = iota
	again          // something came up meanwhile
	anew           // the device came anew: no rest
)

// outcome is what became of a message.
type outcome struct {
	device    auth.DeviceID
	handed    downlink.Handed
	delivered bool
	cause     string
}

const (
	goers     = 8                      // at once
	failPause = 200 * time.Millisecond // before a device is tried again for which Redis gave no answer

	// A device that is here and does not take its message rests, longer each time.
	restFirst, restMost = time.Second, time.Minute
)

// New makes a courier; GoTo says whose devices it goes to.
func New(d Downlinks, log *slog.Logger) *Courier {
	return &Courier{
		downlinks: d, log: log, more: make(chan struct{}, 1),
		waiting: map[auth.DeviceID]struct{}{}, busy: map[auth.DeviceID]after{}, resting: map[auth.DeviceID]*time.Timer{},
	}
}

// GoTo is called before Run.
func (c *Courier) GoTo(d Devices) { c.devices = d }

// Ready is told of a device that takes downlinks from now on. It does not block.
func (c *Courier) Ready(id auth.DeviceID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if timer, ok := c.resting[id]; ok { // it has come anew
		timer.Stop()
		delete(c.resting, id)
	}
	c.queue(id, anew)
}

// queue has a device visited. Called with mu held.
func (c *Courier) queue(id auth.DeviceID, why after) {
	if before, ok := c.busy[id]; ok {
		c.busy[id] = max(before, why)
		return
	}
	if _, ok := c.waiting[id]; ok {
		return
	}
	if _, ok := c.resting[id]; ok {
		return
	}
	c.waiting[id] = struct{}{}
	c.order = append(c.order, id)
	c.wake()
}

func (c *Courier) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// Events is told what is new in the events streams, by whichever node it was written: a downlink whose turn it is, or is
// again, may be one for a device that is here. It does not block.
func (c *Courier) Events(entries []stream.Entry) {
	for i := range entries {
		text := entries[i].Fields.Text
		if text("kind") != "downlink" || text("state") != string(downlink.Executing) {
			continue
		}
		if id := auth.DeviceID(text("device")); c.devices.HasDevice(id) {
			c.mu.Lock()
			c.queue(id, again)
			c.mu.Unlock()
		}
	}
}

// Run goes to those that are ready until ctx ends, and returns nil then, when all is told that is known by then: the sessions
// should have ended before.
func (c *Courier) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(goers)
	for {
		step, ok := c.next(ctx)
		if !ok {
			_ = g.Wait()
			c.tellRest()
			return nil
		}
		g.Go(func() error { step(); return nil })
	}
}

// next waits for something to do; it is false when ctx has ended. Outcomes come first.
func (c *Courier) next(ctx context.Context) (step func(), ok bool) {
	for ctx.Err() == nil {
		if step := c.step(); step != nil {
			return step, true
		}
		select {
		case <-c.more:
		case <-ctx.Done():
		}
	}
	return nil, false
}

func (c *Courier) step() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.outcomes) > 0 {
		return c.outcome()
	}
	if len(c.order) == 0 {
		return nil
	}
	id := c.order[0]
	if c.order = c.order[1:]; len(c.order) == 0 {
		c.order = nil
	}
	delete(c.waiting, id)
	c.busy[id] = asItWent
	return func() { c.visit(id) }
}

// outcome takes the first one. Called with mu held.
func (c *Courier) outcome() func() {
	o := c.outcomes[0]
	if c.outcomes = c.outcomes[1:]; len(c.outcomes) == 0 {
		c.outcomes = nil
	}
	return func() { c.settle(o) }
}

// tellRest tells what the end of the sessions has left.
func (c *Courier) tellRest() {
	for {
		c.mu.Lock()
		if len(c.outcomes) == 0 {
			c.mu.Unlock()
			return
		}
		step := c.outcome()
		c.mu.Unlock()
		step()
	}
}

// visit takes the device its downlink, if there is one that may go.
func (c *Courier) visit(id auth.DeviceID) {
	if !c.devices.HasDevice(id) {
		c.leave(id, 0)
		return
	}
	h, ok, err := c.downlinks.Hand(context.Background(), id, downlink.MQTT) // which has its own time
	c.report(err)
	if err != nil {
		c.leave(id, failPause)
		return
	}
	if !ok {
		c.leave(id, 0)
		return
	}
	m, err := message(id, &h)
	if err != nil {
		c.settle(outcome{id, h, false, "the pack cannot be written for the device"})
		return
	}
	done := func(delivered bool, cause string) { c.learn(outcome{id, h, delivered, cause}) }
	if !c.devices.DeliverDevice(m, done) {
		h.Unsent = true
		c.settle(outcome{id, h, false, "the device's session took no message: it is not subscribed, has one on its way, or takes none of this size"})
	}
}

// leave lets others visit the device: at once, if something came up meanwhile, or after a rest.
func (c *Courier) leave(id auth.DeviceID, rest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	why := c.busy[id]
	delete(c.busy, id)
	if rest > 0 && why != anew {
		c.rest(id, rest)
	} else if why != asItWent {
		c.queue(id, why)
	}
}

// rest has the device visited after a while, or when it comes anew. Called with mu held.
func (c *Courier) rest(id auth.DeviceID, d time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.resting[id] == timer {
			delete(c.resting, id)
			c.queue(id, again)
		}
	})
	c.resting[id] = timer
}

// message is the downlink on the device's topic, with the base name as it logs in with.
func message(id auth.DeviceID, h *downlink.Handed) (*broker.Message, error) {
	body, err := h.Spell(id.BaseName())
	return &broker.Message{Topic: "things/" + id.Type() + "/" + id.Value() + "/downlink", Payload: body, Device: id}, err
}

// learn notes an outcome. It does not block.
func (c *Courier) learn(o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes = append(c.outcomes, o)
	c.wake()
}

// settle tells the outcome, and goes on with the device's next.
func (c *Courier) settle(o outcome) {
	c.report(c.downlinks.Settle(context.Background(), o.handed, o.delivered, o.cause))
	rest := time.Duration(0)
	if !o.delivered && c.devices.HasDevice(o.device) {
		rest = min(restFirst<<min(o.handed.Attempt-1, 10), restMost)
	}
	if rest == 0 {
		c.mu.Lock()
		c.queue(o.device, again)
		c.mu.Unlock()
	}
	c.leave(o.device, rest)
}

// report logs a change of state only.
func (c *Courier) report(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !c.failing {
		c.log.Warn("downlinks are not handed over", "error", err)
	}
	if err == nil && c.failing {
		c.log.Info("downlinks are handed over again")
	}
	c.failing = err != nil
}
