package broker

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

const (
	imei   = auth.DeviceID("IMEI:356726104408422")
	imei2  = auth.DeviceID("IMEI:356726104408423")
	secret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	pack   = `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1600000000,"n":"temperature","u":"Cel","v":21.5}]`

	uplinks   = "things/IMEI/356726104408422/uplink"
	downlinks = "things/IMEI/356726104408422/downlink"

	// patience bounds every wait of the tests.
	patience = 10 * time.Second
	// quiet is how long nothing must come, where that is what is tested.
	quiet = 150 * time.Millisecond
	// shareBeat is of the brokers of tests: what the third one brings about is waited for.
	shareBeat = 250 * time.Millisecond
)

// edge is a broker that serves, on a registry in a real Redis, with what it handed on.
type edge struct {
	*Broker
	t     testing.TB
	reg   *auth.Registry
	redis *redistest.Server
	addr  string // of its TCP listener

	uplinks chan Uplink
	rejects chan Refusal
	gaps    chan Missed
	tape    *tape
	shelf   *shelf

	tapeLock sync.Mutex // one goroutine delivers a stream
	others   []*Broker  // further nodes
}

// newEdge serves until the test ends, with imei and imei2 registered. Uplinks
// are answered with success, unless an option sets Submit.
func newEdge(t testing.TB, options ...func(*Config)) *edge {
	t.Helper()
	noLeaks(t)
	e := &edge{t: t, redis: redistest.Start(t), uplinks: make(chan Uplink, 10000), rejects: make(chan Refusal, 1000), gaps: make(chan Missed, 1000),
		tape: &tape{}, shelf: newShelf()}
	e.reg = e.registry()
	cfg := Config{
		Registry: e.reg,
		Submit:   func(u Uplink, done func(Outcome)) { e.uplinks <- u; done(Outcome{}) },
		Reject: func(r Refusal) {
			r.Body = append([]byte(nil), r.Body...)
			e.rejects <- r
		},
		OnGap:  func(g Missed) { e.gaps <- g },
		Source: e.tape, Keeper: e.shelf, Share: e.shelf,
		SessionExpiry: time.Hour, SaveEvery: 20 * time.Millisecond, ShareBeat: shareBeat,
	}
	for _, o := range options {
		o(&cfg)
	}
	e.Broker = e.node(cfg)
	e.addr = e.serve(KindTCP)
	return e
}

// node is a broker that keeps sessions until the test ends.
func (e *edge) node(cfg Config) *Broker {
	e.t.Helper()
	b, err := New(cfg)
	if err != nil {
		e.t.Fatalf("new broker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = b.Run(ctx) }()
	e.t.Cleanup(func() {
		within, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_ = b.Shutdown(within)
		cancel()
		<-ended
	})
	return b
}

// second is another node of the same site.
func (e *edge) second() *edge {
	e.t.Helper()
	other := &edge{t: e.t, reg: e.reg, redis: e.redis, uplinks: e.uplinks, rejects: e.rejects, gaps: e.gaps, tape: e.tape, shelf: e.shelf}
	other.Broker = e.node(e.Broker.cfg)
	other.addr = other.serve(KindTCP)
	e.tapeLock.Lock()
	defer e.tapeLock.Unlock()
	e.others = append(e.others, other.Broker)
	return other
}

func noLeaks(t testing.TB) {
	if t, ok := t.(*testing.T); ok {
		before := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, before) })
	}
}

// registry runs a registry until the test ends; its cache is trusted when it returns.
func (e *edge) registry() *auth.Registry {
	e.t.Helper()
	client, blocking := e.redis.Client(), e.redis.Client()
	r, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Blocking: blocking, AdminKey: "the admin's own key"})
	if err != nil {
		e.t.Fatalf("new registry: %v", err)
	}
	trusted := make(chan struct{}, 1000)
	r.OnChange(func(c auth.Change) {
		if c.Kind == auth.ChangeAll {
			trusted <- struct{}{}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		_ = blocking.Close() // ends its XREAD
		<-ended
		_ = client.Close()
	})
	receive(e.t, trusted)
	for _, id := range []auth.DeviceID{imei, imei2} {
		if _, err := r.PutDevice(ctx, auth.Device{ID: id, Secret: secret}, auth.Create); err != nil {
			e.t.Fatalf("put device: %v", err)
		}
	}
	return r
}

// serve listens on a free port and returns its address.
func (e *edge) serve(kind Kind) string {
	e.t.Helper()
	return e.serveOn("tcp", "127.0.0.1:0", kind)
}

func (e *edge) serveOn(network, address string, kind Kind) string {
	e.t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		e.t.Fatalf("listen: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(context.Background(), ln, kind) }()
	e.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.Shutdown(ctx)
		if err := receive(e.t, ended); err != nil {
			e.t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// app registers an app and returns its key.
func (e *edge) app(a auth.App) (key string) {
	e.t.Helper()
	_, key, err := e.reg.PutApp(context.Background(), a, auth.Create)
	if err != nil {
		e.t.Fatalf("put app: %v", err)
	}
	return key
}

// receive takes one from a channel, within patience.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// nothing checks that a channel stays empty for a while.
func nothing[T any](t testing.TB, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("unexpected: %+v", v)
	case <-time.After(quiet):
	}
}

// await waits until ok, within patience, asking now and then.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("still not: %s", what)
		}
	}
}

func message(topic, payload string) *Message {
	m := &Message{Topic: topic, Payload: []byte(payload)}
	if d, _, ok := cutDevice(topic[indexByte(topic)+1:]); ok {
		m.Device = d
	}
	return m
}

func indexByte(s string) int {
	for i := range len(s) {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

func logTo(h slog.Handler) func(*Config) { return func(c *Config) { c.Log = slog.New(h) } }

func contextWith(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// Deliver puts messages of streams on the tape and delivers them.
func (e *edge) Deliver(msgs []*Message) {
	e.tapeLock.Lock()
	defer e.tapeLock.Unlock()
	for len(msgs) > 0 {
		n := 1
		for n < len(msgs) && streamOf(msgs[n].Topic) == streamOf(msgs[0].Topic) {
			n++
		}
		e.tape.add(msgs[:n]...)
		for _, b := range append([]*Broker{e.Broker}, e.others...) {
			b.Deliver(msgs[0].Stream, msgs[:n], msgs[n-1].position())
		}
		msgs = msgs[n:]
	}
}
