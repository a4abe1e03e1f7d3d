package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/stream"
)

// check holds what there is against what may be, after each step.
func (w *world) check(*rapid.T) {
	w.quiet()
	for _, it := range w.made {
		if it.id != "" {
			w.checkItem(it)
		}
	}
	for _, d := range w.devices {
		w.checkDevice(d)
	}
	faults, err := w.nodes[0].downlinks.Check(context.Background())
	if err != nil {
		faults, err = w.nodes[0].downlinks.Check(context.Background()) // a reply may have been lost
	}
	if err != nil || len(faults) > 0 {
		w.Fatalf("the doctor finds %v, %v", faults, err)
	}
}

func (w *world) checkItem(it *item) {
	now := w.clock.now()
	d, err := w.nodes[0].downlinks.Get(context.Background(), it.id)
	if errors.Is(err, downlink.ErrUnknown) && it.state.Final() && !now.Before(it.since.Add(modelKeep)) {
		it.forgotten = true
		return
	}
	switch late := now.Add(-modelAskEvery); {
	case err != nil || d.State != it.state || it.forgotten:
		w.Fatalf("%s is %+v, %v; by its events it is %s", it.id, d, err, it.state)
	case it.state.Final():
	case !d.LeaseEnds.IsZero() && d.LeaseEnds.Before(late):
		w.Fatalf("%s is stuck: its lease ended at %s, now it is %s", it.id, d.LeaseEnds, now)
	case d.LeaseEnds.IsZero() && it.expires.Before(late):
		w.Fatalf("%s is stuck in %s: it expired at %s, now it is %s", it.id, it.state, it.expires, now)
	}
}

// checkDevice: one is EXECUTING if one may be.
func (w *world) checkDevice(d *modelDevice) {
	executing, waiting := 0, 0
	for _, it := range w.made {
		if it.device != d {
			continue
		}
		if it.state == downlink.Executing {
			executing++
		}
		if it.state == downlink.Queued && it.draft.NotBefore.IsZero() {
			waiting++
		}
	}
	if executing > 1 || executing == 0 && waiting > 0 {
		w.Fatalf("of %s %d are EXECUTING, and %d wait", d.id, executing, waiting)
	}
}

// quiet waits until the couriers have nothing to do that they can do, and follows what they did.
func (w *world) quiet() {
	deadline := time.After(modelPatience)
	for {
		w.follow()
		w.receive()
		if w.busy.Load() == 0 && w.awaited() == "" {
			w.follow()
			if w.receive(); w.busy.Load() == 0 {
				return
			}
		}
		select {
		case <-w.signal:
		case <-time.After(2 * time.Millisecond): // a courier may be about to ask
		case <-deadline:
			w.Fatalf("a downlink does not reach its connected device: %s; at work %d", w.awaited(), w.busy.Load())
		}
	}
}

// awaited is a downlink that a courier can take to its device now.
func (w *world) awaited() string {
	for _, it := range w.made {
		if it.id == "" || it.state != downlink.Executing || it.draft.Channel == downlink.HTTP || it.draft.Channel == downlink.SMS || it.generation != it.device.generation || it.device.gone {
			continue
		}
		for _, n := range w.nodes {
			if _, free := n.sessions.waits(it.device.id); free && !w.underWay(it) && w.clock.now().Before(it.expires) {
				return it.id
			}
		}
	}
	return ""
}

func (w *world) free() {
	w.busy.Add(-1)
	w.wake()
}

func (w *world) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// arrived notes what a device got; it is judged by receive.
func (w *world) arrived(h *handed) {
	w.mu.Lock()
	w.inbox = append(w.inbox, h)
	w.mu.Unlock()
	w.wake()
}

// settle tells the outcome of what a device got.
func (w *world) settle(h *handed, delivered bool, cause string) {
	w.follow()
	w.receive()
	w.open = slices.DeleteFunc(w.open, func(o *handed) bool { return o == h })
	if delivered {
		h.it.confirmed = true
		if h.it.draft.Ack && !h.it.state.Final() && h.it.taken.IsZero() {
			h.it.taken = w.clock.now()
		}
	}
	h.settle(delivered, cause)
}

// follow reads the events, for the model and for the nodes.
func (w *world) follow() {
	for p := range w.events {
		list, err := w.plain.XRange(context.Background(), stream.Key(w.keys, stream.Events, p), "("+w.events[p], "+").Result()
		if err != nil {
			w.Fatalf("read events: %v", err)
		}
		var entries []stream.Entry
		for _, m := range list {
			w.events[p] = m.ID
			e := stream.Entry{Kind: stream.Events, Partition: p}
			for k, v := range m.Values {
				e.Fields = append(e.Fields, k, v.(string))
			}
			entries = append(entries, e)
			if e.Fields.Text("kind") == "downlink" {
				w.event(e.Fields)
			}
		}
		for _, n := range w.nodes {
			n.courier.Events(entries)
		}
	}
}

// event is a change of a downlink: forward only, in order, and only what is true.
func (w *world) event(f stream.Fields) {
	id, state := f.Text("id"), downlink.State(f.Text("state"))
	it := w.byID[id]
	if it == nil {
		it = w.adopt(id)
	}
	before := it.state
	it.state, it.since = state, w.clock.now()
	bad := func(why string) { w.Fatalf("%s from %q to %s (%s): %s", id, before, state, f.Text("cause"), why) }
	switch {
	case before == "" && state != downlink.Queued, before != "" && state == downlink.Queued, before.Final() && before != "":
		bad("not forward")
	case state == downlink.Executing && before == downlink.Queued:
		if first := w.firstBefore(it); first != nil {
			bad("it is not the turn of " + first.id)
		}
	case state == downlink.Executing && !it.taken.IsZero() && !w.clock.now().Before(it.taken.Add(modelAckWait)):
		it.taken = time.Time{}
	case state == downlink.Succeeded && !it.acked && (it.draft.Ack || !it.confirmed):
		bad("nobody said so")
	case state == downlink.Expired && w.clock.now().Before(it.expires):
		bad("it has until " + it.expires.String())
	case state == downlink.Cancelled && !it.cancelled && !it.mayBeCancelled && it.generation == it.device.generation:
		bad("nobody cancelled it")
	case state == downlink.Failed && it.draft.Channel == downlink.SMS:
		if d, err := w.nodes[0].downlinks.Get(context.Background(), id); err == nil && !it.hopeless && w.clock.now().Before(d.SMS.Limit) {
			bad("its schedule is not over")
		}
	case state == downlink.Failed:
		if d, err := w.nodes[0].downlinks.Get(context.Background(), id); err != nil || d.Attempts < modelAttempts {
			bad(fmt.Sprintf("after %d attempts, %v", d.Attempts, err))
		}
	}
	if state == downlink.Executing {
		w.alone(it)
	}
}

// adopt finds the model's own of a downlink whose creator was told nothing.
func (w *world) adopt(id string) *item {
	d, err := w.nodes[0].downlinks.Get(context.Background(), id)
	if err != nil {
		w.Fatalf("event of %s: %v", id, err)
	}
	for _, it := range w.made {
		if it.id == "" && it.device.id == d.Device && string(d.Pack) == it.wantAs(id) || it.id == id {
			it.id = id
			w.byID[id] = it
			return it
		}
	}
	w.Fatalf("nobody created %s: %+v", id, d)
	return nil
}

func (it *item) want() string {
	return it.wantAs(it.id)
}

// wantAs is want if the downlink had that id.
func (it *item) wantAs(id string) string {
	if it.draft.Ack {
		id = `,{"n":"downlinkId","vs":"` + id + `"}`
	} else {
		id = ""
	}
	return fmt.Sprintf(`[{"bn":"%s"},{"n":"n","v":%d}%s]`, it.device.id.BaseName(), it.n, id)
}

// firstBefore is one that would have its turn before it.
func (w *world) firstBefore(it *item) *item {
	for _, other := range w.made { // in the order of their creation
		if other.device != it.device || other.state != downlink.Queued || !other.draft.NotBefore.IsZero() {
			continue
		}
		if other.draft.Priority > it.draft.Priority || other.draft.Priority == it.draft.Priority && other.n < it.n {
			return other
		}
	}
	return nil
}

// alone wants no other one of its device to be EXECUTING.
func (w *world) alone(it *item) {
	for _, other := range w.made {
		if other != it && other.device == it.device && other.state == downlink.Executing {
			w.Fatalf("%s and %s are EXECUTING", it.id, other.id)
		}
	}
}

// receive judges what devices got.
func (w *world) receive() {
	w.mu.Lock()
	inbox := w.inbox
	w.inbox = nil
	w.mu.Unlock()
	if len(inbox) > 0 {
		w.follow()
	}
	for _, h := range inbox {
		w.got(h)
	}
}

func (w *world) got(h *handed) {
	for _, it := range w.made {
		if it.device.id == h.device && it.want() == h.body {
			h.it = it
		}
	}
	it := h.it
	if it == nil || it.id == "" || h.mqtt && h.topic != "things/"+h.device.Type()+"/"+h.device.Value()+"/downlink" {
		w.Fatalf("%s got %s on %q, which nobody sent it", h.device, h.body, h.topic)
	}
	bad := func(why string) { w.Fatalf("%s got %s, which is %s: %s", h.device, it.id, it.state, why) }
	repeated := false // the answer to a repeated uplink
	for _, o := range w.open {
		if o.device == h.device && !h.mqtt && o.token == h.token && o.it == it {
			o.superseded, repeated = true, true
		}
	}
	repeated = repeated || !h.mqtt && (it.device.got == it.id && it.device.last == h.token || it.device.answer == it.id && it.device.answered == h.token)
	switch {
	case it.generation != it.device.generation:
		bad("it was for the device that was removed")
	case it.cancelled:
		bad("it was cancelled")
	case it.state != downlink.Executing && !(it.state == downlink.Succeeded && repeated):
		bad("it is not its turn")
	case it.state == downlink.Executing && !w.clock.now().Before(it.expires) && !repeated:
		bad("its time is over")
	case w.clock.now().Before(it.draft.NotBefore):
		bad("its time has not come")
	case !it.taken.IsZero() && w.clock.now().Before(it.taken.Add(modelAckWait)) && !repeated:
		bad("the device is to acknowledge it")
	}
	settled := repeated && it.state == downlink.Succeeded // its answer changes nothing, whatever else is on its way
	for _, o := range w.open {
		lasts := !settled && o.device == h.device && !o.superseded && h.at.Sub(o.at) < modelLease && o.node == w.nodes[o.node.number]
		if lasts && (o.it == it && it.state == downlink.Executing || !o.it.state.Final()) && o.it.taken.IsZero() {
			bad("it has " + o.it.id + " on its way already")
		}
	}
	it.device.got = it.id
	if !h.mqtt {
		it.device.answer, it.device.answered = it.id, h.token
	}
	w.open = append(w.open, h)
}
