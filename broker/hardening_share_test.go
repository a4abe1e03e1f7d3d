package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// flakyShare fails Join as often as it is told, on one shard, say.
type flakyShare struct {
	*shelf
	fails atomic.Int32
}

func (f *flakyShare) Join(ctx context.Context, k ShareKey, streams []Stream, members []Member, start func(Stream) Position) ([]Position, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, errors.New("one shard fails over")
	}
	return f.shelf.Join(ctx, k, streams, members, start)
}

// A login whose join fails must not end the shared subscription that waits.
func TestFailedJoinEndsNoSubscription(t *testing.T) {
	var share flakyShare
	e := newEdge(t, func(c *Config) { share.shelf = c.Keeper.(*shelf); c.Share = &share })
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "$share/g/uplinks/#")
	e.Deliver(numbered(0, 3))
	p.collect(3, 3)
	p.leave(e)
	e.Deliver(numbered(3, 10)) // waits for the session that is away
	share.fails.Store(1)
	d := e.dial(version5)
	d.send(connect(version5, c.change...))
	if got := d.next(packets.Connack); got.ReasonCode == 0 {
		t.Fatal("login should have been refused")
	}
	p = c.on(e, true)
	want(t, 3, p.collect(7, 7))
}

// lateKeeper holds up one save that has the subscriptions, until another save came.
type lateKeeper struct {
	*shelf
	armed atomic.Bool
	other chan struct{}
}

func (l *lateKeeper) Save(ctx context.Context, list []Saved) []error {
	if len(list) == 1 && list[0].Subscriptions != nil && len(list[0].Subscriptions) > 0 && l.armed.CompareAndSwap(true, false) {
		<-l.other // a retry on another connection, say
		return l.shelf.Save(ctx, list)
	}
	errs := l.shelf.Save(ctx, list)
	if len(list) > 0 && len(list[0].Cursors) > 0 && !list[0].Detached {
		select {
		case l.other <- struct{}{}:
		default:
		}
	}
	return errs
}

// What SUBACK promised must be kept, also if the saver overtook that save.
func TestOvertakenSaveLosesNoSubscription(t *testing.T) {
	keeper := &lateKeeper{other: make(chan struct{})}
	e := newEdge(t, func(c *Config) { keeper.shelf = c.Keeper.(*shelf); c.Keeper = keeper; c.LoginTimeout = 8 * time.Second })
	c := e.client(version5)
	p := c.on(e, false)
	keeper.armed.Store(true)
	p.subOK(1, "uplinks/#")
	s, _ := e.shelf.kept("reader", "c")
	if len(s.Subscriptions) != 1 {
		t.Errorf("SUBACK was sent, kept: %+v cursors %+v seq %d", s.Subscriptions, s.Cursors, s.Seq)
	}
	<-time.After(quiet)
	s, _ = e.shelf.kept("reader", "c")
	if len(s.Subscriptions) != 1 {
		t.Errorf("a while later: %+v", s.Subscriptions)
	}
}

// Messages too large for the member with room must not hold it up.
func TestLargeMessageHoldsUpNoSmallOne(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	a := e.device(version5, login("team", key), clientID("a"), receiveMaximum(1))
	a.subOK(1, "$share/g/uplinks/#")
	e.Deliver(numbered(0, 1))
	a.next(packets.Publish) // and is not acknowledged
	b := e.device(version5, login("team", key), clientID("b"), receiveMaximum(1), func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 300 })
	b.subOK(1, "$share/g/uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), strings.Repeat("x", 400))})
	e.Deliver(numbered(2, 5))
	want(t, 2, b.collect(3, 1))
}

// What a member that left had must come to another node while those here have no room.
func TestClaimsWithoutRoomGoToOtherNodes(t *testing.T) {
	e := newEdge(t)
	other := e.second()
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	a := e.device(version5, login("team", key), clientID("a"), receiveMaximum(1))
	a.subOK(1, "$share/g/uplinks/#")
	b := e.device(version5, login("team", key), clientID("b"), receiveMaximum(1))
	b.subOK(1, "$share/g/uplinks/#")
	e.Deliver(numbered(0, 2))
	a.next(packets.Publish)
	m := b.next(packets.Publish)
	c := other.device(version5, login("team", key), clientID("c"))
	c.subOK(1, "$share/g/uplinks/#")
	_ = b.conn.Close()
	done := make(chan string, 1)
	go func() {
		_ = c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.r.Peek(1); err != nil {
			done <- err.Error()
			return
		}
		done <- ""
	}()
	if err := <-done; err != "" {
		t.Errorf("in 30 s nobody got %s, which b left, though c is idle on another node: %v", m.Payload, err)
	}
}

// What was acknowledged does not come again after an orderly end.
func TestReplayRewindsNoOther(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Window = 4 })
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	var msgs []*Message
	for i := range 100 {
		id := imei
		if i%10 == 0 {
			id = imei2
		}
		msgs = append(msgs, message(uplinksOf(id), fmt.Sprint(i)))
	}
	e.Deliver(msgs)
	want(t, 0, p.collect(100, 4)) // all acknowledged
	p.alive()
	sub := subscribe(7, packets.Subscription{Filter: uplinksOf(imei2), Qos: 1})
	sub.Properties.User = []packets.UserProperty{{Key: "after", Val: "5-0"}}
	p.send(sub)
	p.next(packets.Suback)
	for _, n := range []string{"10", "20", "30", "40"} { // a window full of the replay, nothing else
		if m := p.next(packets.Publish); string(m.Payload) != n {
			t.Fatalf("%s for %s", m.Payload, n)
		}
	}
	p.silent()
	p.leave(e)
	s, _ := e.shelf.kept("reader", "c")
	t.Logf("kept %+v cursors %+v in flight %+v", s.Subscriptions, s.Cursors, s.InFlight)
	p = c.on(e, true)
	got := p.collect(9, 4)
	if fmt.Sprint(got) != "[10 20 30 40 50 60 70 80 90]" {
		t.Errorf("got %v", got)
	}
}
