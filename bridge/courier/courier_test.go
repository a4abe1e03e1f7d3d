package courier

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

const imei = auth.DeviceID("IMEI:356726104408422")

// delivery is one that a device has in hand.
type delivery struct {
	payload string
	done    func(delivered bool, cause string)
}

// devices are those of one node: imei, if it is there.
type devices struct {
	mu   sync.Mutex
	here bool
	busy bool
	got  chan delivery
}

func (d *devices) HasDevice(id auth.DeviceID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.here && id == imei
}

func (d *devices) DeliverDevice(m *broker.Message, done func(bool, string)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.here || d.busy || m.Topic != "things/IMEI/356726104408422/downlink" {
		return false
	}
	d.busy = true
	d.got <- delivery{string(m.Payload), func(delivered bool, cause string) {
		d.mu.Lock()
		d.busy = false
		d.mu.Unlock()
		done(delivered, cause)
	}}
	return true
}

func (d *devices) come(here bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.here = here
}

// node is a courier that runs, and is told of the events as a bridge tells it.
type node struct {
	*Courier
	*devices
}

func newNode(t *testing.T, s *redistest.Server, d *downlink.Service) *node {
	t.Helper()
	n := &node{New(d, slog.New(slog.DiscardHandler)), &devices{got: make(chan delivery, 100)}}
	n.GoTo(n.devices)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	wg.Go(func() { n.tail(ctx, s) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return n
}

// tail passes the events on.
func (n *node) tail(ctx context.Context, s *redistest.Server) {
	reader := stream.NewReader(s.Client(), auth.Keyspace{})
	at := stream.At(stream.ID{})
	for ctx.Err() == nil {
		page, err := reader.Page(ctx, stream.Events, 0, at, 100)
		if err != nil || len(page.Entries) == 0 {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		at = page.Next
		n.Events(page.Entries)
	}
}

func (n *node) next(t *testing.T) delivery {
	t.Helper()
	select {
	case d := <-n.got:
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return delivery{}
	}
}

func (n *node) nothing(t *testing.T) {
	t.Helper()
	select {
	case d := <-n.got:
		t.Errorf("%s came", d.payload)
	case <-time.After(100 * time.Millisecond):
	}
}

func setup(t *testing.T) (*redistest.Server, *downlink.Service) {
	t.Helper()
	s := redistest.Start(t)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.PutDevice(t.Context(), auth.Device{ID: imei, Unsigned: true}, auth.Upsert); err != nil {
		t.Fatal(err)
	}
	return s, downlink.New(downlink.Config{Client: s.Client()})
}

func create(t *testing.T, d *downlink.Service, n int) string {
	t.Helper()
	made, _, err := d.Create(t.Context(), downlink.Draft{Device: imei, Channel: downlink.MQTT, Pack: fmt.Appendf(nil, `[{"n":"n","v":%d}]`, n), Priority: 5})
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func becomes(t *testing.T, d *downlink.Service, id string, want downlink.State) downlink.Downlink {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; {
		got, err := d.Get(t.Context(), id)
		if err == nil && got.State == want {
			return got
		}
		if time.Now().After(limit) {
			t.Fatalf("%s is %s (%s), %v; want %s", id, got.State, got.Cause, err, want)
		}
	}
}

func payload(n int) string {
	return fmt.Sprintf(`[{"bn":"urn:dev:IMEI:356726104408422:"},{"n":"n","v":%d}]`, n)
}

func TestCourier(t *testing.T) {
	s, d := setup(t)
	here, there := newNode(t, s, d), newNode(t, s, d)
	var ids []string
	for i := range 3 {
		ids = append(ids, create(t, d, i))
	}
	here.nothing(t) // the device is not there
	here.come(true)
	here.Ready(imei)
	first := here.next(t)
	if first.payload != payload(0) {
		t.Errorf("first came %s", first.payload)
	}
	here.Ready(imei) // again and again: one is on its way
	here.nothing(t)
	first.done(true, "test")
	becomes(t, d, ids[0], downlink.Succeeded)
	second := here.next(t) // by the event alone
	// The device goes, before it acknowledges, to the other node.
	here.come(false)
	there.come(true)
	second.done(false, "its session ended")
	if again := there.next(t); again.payload != payload(1) {
		t.Errorf("then came %s", again.payload)
	} else {
		again.done(true, "test")
	}
	if got := becomes(t, d, ids[1], downlink.Succeeded); got.Attempts != 2 {
		t.Errorf("%d attempts", got.Attempts)
	}
	there.next(t).done(true, "test")
	becomes(t, d, ids[2], downlink.Succeeded)
	late := create(t, d, 3)
	there.next(t).done(true, "test")
	becomes(t, d, late, downlink.Succeeded)
	here.nothing(t)
}

func TestCourierWithoutRedis(t *testing.T) {
	s, d := setup(t)
	n := newNode(t, s, d)
	n.come(true)
	s.Kill()
	n.Ready(imei) // asks in vain, and again
	s.Restart()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.PutDevice(t.Context(), auth.Device{ID: imei, Unsigned: true}, auth.Upsert); err != nil {
		t.Fatal(err)
	}
	id := create(t, d, 7)
	got := n.next(t)
	got.done(true, "test")
	becomes(t, d, id, downlink.Succeeded)
}
