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
	Done(ctx context.Context, h downlink.Handed, delivered bool, cause string) (bool, error)
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

	more chan struct{} // of one: somebody waits

	mu      sync.Mutex
	waiting map[auth.DeviceID]struct{} // each once, however often it was named
	order   []auth.DeviceID
	failing bool // told in the log
}

const (
	goers     = 8                      // at once
	failPause = 200 * time.Millisecond // before a device is tried again for which Redis gave no answer
)

// New makes a courier; GoTo says whose devices it goes to.
func New(d Downlinks, log *slog.Logger) *Courier {
	return &Courier{downlinks: d, log: log, more: make(chan struct{}, 1), waiting: map[auth.DeviceID]struct{}{}}
}

// GoTo is called before Run.
func (c *Courier) GoTo(d Devices) { c.devices = d }

// Ready is told of a device that takes downlinks from now on. It does not block.
func (c *Courier) Ready(id auth.DeviceID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.waiting[id]; ok {
		return
	}
	c.waiting[id] = struct{}{}
	c.order = append(c.order, id)
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
			c.Ready(id)
		}
	}
}

// Run goes to those that are ready until ctx ends, and returns nil then. What is on its way by then is settled by the end of
// the sessions.
func (c *Courier) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(goers)
	for {
		id, ok := c.next(ctx)
		if !ok {
			return g.Wait()
		}
		g.Go(func() error { c.visit(id); return nil })
	}
}

// next waits for a device; it is false when ctx has ended.
func (c *Courier) next(ctx context.Context) (auth.DeviceID, bool) {
	for {
		c.mu.Lock()
		if len(c.order) > 0 {
			id := c.order[0]
			if c.order = c.order[1:]; len(c.order) == 0 {
				c.order = nil
			}
			delete(c.waiting, id)
			c.mu.Unlock()
			return id, true
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-ctx.Done():
			return "", false
		}
	}
}

// visit takes the device its downlink, if there is one that may go.
func (c *Courier) visit(id auth.DeviceID) {
	if !c.devices.HasDevice(id) {
		return
	}
	ctx := context.Background() // each step has its own time
	h, ok, err := c.downlinks.Hand(ctx, id, downlink.MQTT)
	c.report(err)
	if err != nil {
		time.AfterFunc(failPause, func() { c.Ready(id) })
		return
	}
	if !ok {
		return
	}
	m, err := message(id, &h)
	if err != nil {
		c.settle(id, h, false, "the pack cannot be written for the device")
		return
	}
	taken := c.devices.DeliverDevice(m, func(delivered bool, cause string) { go c.settle(id, h, delivered, cause) })
	if !taken {
		c.settle(id, h, false, "the device's session took no message: it is not subscribed, has one on its way, or takes none of this size")
	}
}

// message is the downlink on the device's topic, with the base name as it logs in with.
func message(id auth.DeviceID, h *downlink.Handed) (*broker.Message, error) {
	body, err := h.Spell(id.BaseName())
	return &broker.Message{Topic: "things/" + id.Type() + "/" + id.Value() + "/downlink", Payload: body, Device: id}, err
}

// settle tells the outcome, and goes on with the device's next. If it cannot be told the attempt's lease ends.
func (c *Courier) settle(id auth.DeviceID, h downlink.Handed, delivered bool, cause string) {
	_, err := c.downlinks.Done(context.Background(), h, delivered, cause)
	c.report(err)
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
