package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func after(id string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: "after", Val: id})
	}
}

func (p *peer) subAfter(id uint16, start string, filters ...string) []byte {
	p.t.Helper()
	var list []packets.Subscription
	for _, f := range filters {
		list = append(list, packets.Subscription{Filter: f, Qos: 1})
	}
	pk := subscribe(id, list...)
	if start != "" {
		after(start)(&pk)
	}
	p.send(pk)
	return nil
}

// payloads collects publishes, as many as must come.
func (p *peer) payloads(acked bool, max int) (got []string, ids []uint16) {
	for len(got) < max {
		pk, err := p.read()
		if err != nil {
			break
		}
		if pk.FixedHeader.Type != packets.Publish {
			continue
		}
		got, ids = append(got, string(pk.Payload)), append(ids, pk.PacketID)
		if acked && pk.PacketID > 0 {
			p.send(ack(packets.Puback, pk.PacketID))
		}
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	return got, ids
}

type lossy struct {
	Keeper
	loseOpen atomic.Bool
	hook     func(list []Saved) // before a save
}

func (f *lossy) Open(ctx context.Context, s Saved, clean bool, limit int) (Saved, bool, error) {
	found, ok, err := f.Keeper.Open(ctx, s, clean, limit)
	if f.loseOpen.Swap(false) {
		return Saved{}, false, errors.New("the reply was lost")
	}
	return found, ok, err
}

func (f *lossy) Save(ctx context.Context, list []Saved) []error {
	if f.hook != nil {
		f.hook(list)
	}
	return f.Keeper.Save(ctx, list)
}

// Open was done, its reply lost: the refused login saves an empty session over what was kept.
func TestRefusedLoginLeavesWhatIsKept(t *testing.T) {
	var fl *lossy
	e := newEdge(t, func(c *Config) { fl = &lossy{Keeper: c.Keeper}; c.Keeper = fl })
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	e.Deliver(numbered(0, 3))
	want(t, 0, p.collect(3, 3))
	p.leave(e)
	before, _ := e.shelf.kept("reader", "c")
	fl.loseOpen.Store(true)
	q := e.dial(version5)
	q.send(connect(version5, c.change...))
	if got := q.next(packets.Connack); got.ReasonCode == 0 {
		t.Fatal("let in")
	}
	<-time.After(quiet)
	after, _ := e.shelf.kept("reader", "c")
	if len(after.Subscriptions) != len(before.Subscriptions) || len(after.Cursors) != len(before.Cursors) {
		t.Errorf("kept before: %+v\nafter a refused login: %+v", before, after)
	}
	e.Deliver(numbered(3, 6))
	p = c.on(e, true)
	got, _ := p.payloads(true, 3)
	equal(t, "got", got, []string{"3", "4", "5"})
}

// a shared subscription cannot be joined again: the others are forgotten, and a ghost stays in the index.
func TestFailedRestoreLeavesWhatIsKept(t *testing.T) {
	e := newEdge(t)
	sh := &failingShare{Share: e.shelf}
	e.Broker.cfg.Share = sh
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, "$share/g/uplinks/#")
	p.subOK(1, "uplinks/#")
	p.leave(e)
	sh.fail.Store(true)
	q := e.dial(version5)
	q.send(connect(version5, c.change...))
	if got := q.next(packets.Connack); got.ReasonCode == 0 {
		t.Fatal("let in")
	}
	<-time.After(quiet)
	sh.fail.Store(false)
	s, _ := e.shelf.kept("reader", "c")
	if len(s.Subscriptions) != 2 {
		t.Errorf("kept %+v", s)
	}
	for _, g := range e.index.allGroups() {
		for _, m := range g.members {
			t.Errorf("a ghost in the index: ended %v, wants %v", m.s.ended, e.Wants("uplinks/"))
		}
	}
}

type failingShare struct {
	Share
	fail atomic.Bool
}

func (f *failingShare) Join(ctx context.Context, k ShareKey, streams []Stream, members []Member, start func(Stream) Position) ([]Position, error) {
	if f.fail.Load() {
		return nil, errors.New("away")
	}
	return f.Share.Join(ctx, k, streams, members, start)
}

// rights narrowed between the claim and another member's turn
func TestHandedOverClaimIsAskedOfAgain(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	a := e.device(version5, login("team", key), clientID("a"))
	a.subOK(1, "$share/g/uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), "secret of imei")})
	a.next(packets.Publish) // not acknowledged
	b := e.device(version5, login("team", key), clientID("b"))
	b.subOK(1, "$share/g/uplinks/#")
	app, err := e.reg.GetApp(context.Background(), "team")
	if err != nil {
		t.Fatal(err)
	}
	app.Devices = []string{string(imei2)}
	if _, _, err := e.reg.PutApp(context.Background(), app, auth.Replace); err != nil {
		t.Fatal(err)
	}
	await(t, "known", func() bool {
		for _, s := range e.sessions.of("team") {
			if len(s.access.Load().app.Devices) != 1 {
				return false
			}
		}
		return true
	})
	_ = a.conn.Close()
	b.silentFor(5 * shareBeat) // the app sees imei2 alone
}

// a re-created app of the same name gets what the old one had claimed
func TestAppOfTheSameNameInheritsNoShare(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	a := e.device(version5, login("team", key), clientID("a"), keeps(600))
	a.subOK(1, "$share/g/uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), "secret of imei")})
	a.next(packets.Publish) // not acknowledged
	if err := e.reg.DeleteApp(context.Background(), "team", auth.AnyRevision); err != nil {
		t.Fatal(err)
	}
	await(t, "cut", func() bool { return e.Stats().Apps == 0 })
	<-time.After(quiet)
	key = e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}, Devices: []string{string(imei2)}})
	b := e.device(version5, login("team", key), clientID("b"))
	b.subOK(1, "$share/g/uplinks/#")
	b.silentFor(5 * shareBeat) // another app of the same name, which may see imei2 alone
}

// after on a live lane
func TestAfterOnALiveLane(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, uplinksOf(imei2)) // nothing ever comes from it
	e.Deliver(numbered(0, 10))
	p.silent()
	p.subAfter(7, "5-0", uplinksOf(imei))
	p.next(packets.Suback)
	got, _ := p.payloads(true, 5)
	equal(t, "got", got, []string{"5", "6", "7", "8", "9"})
}

// after with unacknowledged messages of another subscription, then a reconnect
func TestAfterForgetsNothingInFlight(t *testing.T) {
	for _, how := range []string{"orderly", "lost"} {
		e := newEdge(t)
		c := e.client(version5)
		p := c.on(e, false)
		p.subOK(1, uplinksOf(imei))
		e.Deliver([]*Message{message(uplinksOf(imei2), "b1"), message(uplinksOf(imei), "a1"), message(uplinksOf(imei), "a2")})
		equal(t, "a1", string(p.next(packets.Publish).Payload), "a1")
		equal(t, "a2", string(p.next(packets.Publish).Payload), "a2")
		p.subAfter(7, "0-0", uplinksOf(imei2))
		p.next(packets.Suback)
		equal(t, "b1", string(p.next(packets.Publish).Payload), "b1")
		if how == "orderly" {
			p.leave(e)
		} else {
			_ = p.conn.Close()
			await(t, "away", func() bool { s, _ := e.shelf.kept("reader", "c"); return s.Detached })
		}
		p = c.on(e, true)
		got, _ := p.payloads(true, 3)
		slices.Sort(got)
		if !slices.Equal(got, []string{"a1", "a2", "b1"}) {
			t.Errorf("%s: none was acknowledged; came again: %v", how, got)
		}
	}
}

// after while a kept session still reads on
func TestAfterDuringRedelivery(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5, receiveMaximum(1))
	p := c.on(e, false)
	p.subOK(1, uplinksOf(imei))
	e.Deliver([]*Message{message(uplinksOf(imei2), "b1"), message(uplinksOf(imei), "a1"), message(uplinksOf(imei), "a2")})
	equal(t, "a1", string(p.next(packets.Publish).Payload), "a1")
	p.leave(e)
	p = c.on(e, true)
	m := p.next(packets.Publish) // a1 again
	p.subAfter(7, "0-0", uplinksOf(imei2))
	p.next(packets.Suback)
	p.send(ack(packets.Puback, m.PacketID))
	got, _ := p.payloads(true, 2)
	slices.Sort(got)
	if !slices.Equal(got, []string{"a2", "b1"}) {
		t.Errorf("got %v", got)
	}
}

// a member unsubscribes with messages unacknowledged, then goes
func TestClaimsOfAMemberThatUnsubscribedAndLeft(t *testing.T) {
	e := newEdge(t)
	list := e.members(2, 1, version5, receiveMaximum(3))
	e.Deliver(numbered(0, 6))
	for range 3 {
		list[0].next(packets.Publish)
	}
	got := list[1].collect(3, 3)
	list[0].send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 9, Filters: packets.Subscriptions{{Filter: "$share/group/uplinks/#"}}})
	list[0].next(packets.Unsuback)
	_ = list[0].conn.Close()
	await(t, "gone", func() bool { return e.Stats().Apps == 1 })
	more, _ := list[1].payloads(true, 3)
	if got = append(got, more...); len(got) != 6 {
		t.Errorf("got %v", got)
	}
	for _, g := range e.index.allGroups() {
		g.mu.Lock()
		t.Logf("open claims for ever, renewed with each beat: %d", len(g.open))
		g.mu.Unlock()
	}
}

// a gap that stands for a message that is too large, not acknowledged
func TestGapOfALargeMessageComesAgain(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5, func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 400 })
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), "1"), message(uplinksOf(imei), strings.Repeat("x", 500)), message(uplinksOf(imei), "3")})
	p.send(ack(packets.Puback, p.next(packets.Publish).PacketID))
	equal(t, "topic", p.next(packets.Publish).TopicName, "events/gap") // not acknowledged
	p.leave(e)
	p = c.on(e, true)
	if m := p.next(packets.Publish); m.TopicName != "events/gap" {
		t.Errorf("neither the message nor its gap, but %s %s", m.TopicName, m.Payload)
	}
}

// a save under way overtakes the one before SUBACK
func TestSaveUnderWayIsOvertaken(t *testing.T) {
	var fl *lossy
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var armed atomic.Bool
	e := newEdge(t, func(c *Config) {
		fl = &lossy{Keeper: c.Keeper}
		fl.hook = func(list []Saved) {
			if armed.Load() && len(list) == 1 && list[0].Subscriptions == nil {
				once.Do(func() { close(held); <-hold })
			}
		}
		c.Keeper = fl
	})
	c := e.client(version5)
	p := c.on(e, false)
	p.subOK(1, uplinksOf(imei))
	<-time.After(quiet)
	armed.Store(true)
	e.Deliver(numbered(0, 1))
	p.send(ack(packets.Puback, p.next(packets.Publish).PacketID)) // so that the saver saves
	receive(t, held)
	p.subOK(1, uplinksOf(imei2)) // SUBACK: it is kept now
	close(hold)
	<-time.After(quiet)
	s, _ := e.shelf.kept("reader", "c")
	if len(s.Subscriptions) != 2 {
		t.Errorf("SUBACK was sent, kept is %+v", s.Subscriptions)
	}
}

// logins that fail at the store pile up
func TestRefusedLoginsAreNotHeld(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5)
	e.shelf.ruin(errors.New("OOM command not allowed when used memory > 'maxmemory'"))
	for i := range 200 {
		q := e.dial(version5)
		q.send(connect(version5, append(c.change, clientID(fmt.Sprint("c", i)))...))
		q.next(packets.Connack)
		_ = q.conn.Close()
	}
	if n := len(e.saver.ended()); n > 10 {
		t.Errorf("%d refused logins are held in memory, until the store can be written again", n)
	}
	e.shelf.ruin(nil)
}

// the session ends between the moment that a shared subscription is noted and that it is put into the index
func TestEndBeforeASubscriptionIsInTheIndex(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	p := e.device(version5, login("team", key), clientID("a"))
	_ = p
	s := e.sessions.app(SessionKey{"team", "a"})
	panicked := make(chan any, 1)
	// as note does, up to where it lets session.mu go
	s.mu.Lock()
	s.subs = append(s.subs, &subscription{s: s, filter: "$share/g/uplinks/#", inner: "uplinks/#", qos: 1, shared: true, share: "g"})
	s.mu.Unlock()
	func() {
		defer func() { panicked <- recover() }()
		s.end(endTakenOver) // on the goroutine of another login, of a recheck, of Run
	}()
	if r := <-panicked; r != nil {
		t.Errorf("the process ends: %v", r)
	}
}

// a gap's notice greater than the client's Maximum Packet Size
func TestGapNoticeTooLargeIsNotSent(t *testing.T) {
	e := newEdge(t)
	c := e.client(version5, func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 100 })
	p := c.on(e, false)
	p.subOK(1, "uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), strings.Repeat("x", 500))})
	p.silent()
	equal(t, "told all the same", receive(t, e.gaps).Count, int64(1))
}

// one member does not take a large message, the other, which does, acknowledges nothing: the first starves
func TestLargeMessageHoldsUpNoOther(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "team", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	dead := e.device(version5, login("team", key), clientID("dead"), receiveMaximum(1))
	dead.subOK(1, "$share/g/uplinks/#")
	e.Deliver(numbered(0, 1))
	dead.next(packets.Publish) // never acknowledged
	small := e.device(version5, login("team", key), clientID("small"), func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 300 })
	small.subOK(1, "$share/g/uplinks/#")
	e.Deliver([]*Message{message(uplinksOf(imei), strings.Repeat("x", 500))})
	e.Deliver(numbered(2, 10))
	if got, _ := small.payloads(true, 8); len(got) == 0 {
		t.Error("the member with room gets nothing any more")
	}
}

type badClaims struct {
	Share
	left atomic.Int64
}

func (f *badClaims) Claim(ctx context.Context, k ShareKey, s Stream, from, to Position, ids []ID) (Position, bool, error) {
	if f.left.Add(-1) >= 0 {
		return Position{}, false, errors.New("away")
	}
	return f.Share.Claim(ctx, k, s, from, to, ids)
}

// one gap, told with each try
func TestGapIsToldOnce(t *testing.T) {
	sh := &badClaims{}
	e := newEdge(t, func(c *Config) { sh.Share = c.Share; c.Share = sh; c.Window = 2 })
	e.tape.ring = 5
	p := e.members(1, 1, version5)[0]
	e.Deliver(numbered(0, 2))
	ids := []uint16{p.next(packets.Publish).PacketID, p.next(packets.Publish).PacketID}
	e.Deliver(numbered(2, 50))
	e.tape.trim(0, 5)
	sh.left.Store(6)
	for _, id := range ids {
		p.send(ack(packets.Puback, id))
	}
	n, text := 0, ""
	for text != "49" { // the last
		m := p.next(packets.Publish)
		p.send(ack(packets.Puback, m.PacketID))
		if text = string(m.Payload); strings.Contains(text, "gap") {
			n++
		}
	}
	p.silentFor(3 * shareBeat)
	if n != 1 {
		t.Errorf("%d notices of one gap; missed counts %d", n, e.Stats().Missed)
	}
}

// a SUBSCRIBE that fails takes away the subscription that there was
func TestFailedSubscribeLeavesTheOneBefore(t *testing.T) {
	sh := &failingShare{}
	e := newEdge(t, func(c *Config) { sh.Share = c.Share; c.Share = sh })
	p := e.members(1, 1, version5)[0]
	sh.fail.Store(true)
	equal(t, "SUBACK", p.sub(1, "$share/group/uplinks/#"), []byte{0x80})
	sh.fail.Store(false)
	e.Deliver(numbered(0, 3))
	if got, _ := p.payloads(true, 3); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

// data race on subscription.group
func TestSubscribeDuringDelivery(t *testing.T) {
	e := newEdge(t)
	p := e.members(1, 1, version5)[0]
	_ = p
	s := e.sessions.app(SessionKey{"team", "0"})
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			s.roomy() // as PUBACKs, flushes and timers do
		}
	})
	for i := range 50 {
		s.note(&packets.Subscription{Filter: fmt.Sprintf("$share/g%d/uplinks/#", i), Qos: 1}, nil)
	}
	stop.Store(true)
	wg.Wait()
}
