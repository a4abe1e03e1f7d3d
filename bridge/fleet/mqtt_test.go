package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// devicesHook lets devices in by their secret and keeps what they publish.
type devicesHook struct {
	mqtt.HookBase
	secrets map[string]string // by user name
	publish func(cl *mqtt.Client, n int) error

	mu     sync.Mutex
	n      int
	bodies map[string]int
	dups   int
}

func (h *devicesHook) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish}, []byte{b})
}

func (h *devicesHook) OnConnectAuthenticate(_ *mqtt.Client, p packets.Packet) bool {
	secret, known := h.secrets[string(p.Connect.Username)]
	return known && secret == string(p.Connect.Password) || string(p.Connect.Username) == "app"
}

func (h *devicesHook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool { return true }

func (h *devicesHook) OnPublish(cl *mqtt.Client, p packets.Packet) (packets.Packet, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	h.bodies[string(p.Payload)]++
	if p.FixedHeader.Dup {
		h.dups++
	}
	if h.publish != nil {
		return p, h.publish(cl, h.n)
	}
	return p, nil
}

func serveMQTT(t *testing.T, devices []Device) (h *devicesHook, server *mqtt.Server, addr string) {
	t.Helper()
	h = &devicesHook{secrets: make(map[string]string), bodies: make(map[string]int)}
	for _, d := range devices {
		h.secrets[d.BaseName()] = d.Secret
	}
	server = mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler), InlineClient: true})
	if err := server.AddHook(h, nil); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.AddListener(listeners.NewNet("test", ln)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return h, server, ln.Addr().String()
}

func TestMQTTCount(t *testing.T) {
	for _, window := range []int{1, 16} {
		devices := Devices("seed", 0, 5)
		h, _, addr := serveMQTT(t, devices)
		report := run(t, LoadConfig{Via: MQTT, Addr: addr, Devices: devices, Window: window, Count: 1000})
		if report.Accepted != 1000 || report.Failures() != 0 || len(h.bodies) != 1000 || report.Latency.Count() != 1000 {
			t.Errorf("window %d: report %+v, broker saw %d", window, report, len(h.bodies))
		}
	}
}

func TestMQTTRate(t *testing.T) {
	for _, window := range []int{1, 4} {
		devices := Devices("seed", 0, 8)
		_, _, addr := serveMQTT(t, devices)
		report := run(t, LoadConfig{
			Via: MQTT, Addr: addr, Devices: devices, Window: window, Rate: 400, For: 500 * time.Millisecond,
		})
		if report.Accepted < 100 || report.Rate() > 440 || report.Failures() != 0 {
			t.Errorf("window %d: %d messages in %v at 400/s, %v", window, report.Accepted, report.Elapsed, report.Failed)
		}
	}
}

// A gate holds messages back, and lets them go on.
func TestMQTTGate(t *testing.T) {
	devices := Devices("seed", 0, 1)
	h, _, addr := serveMQTT(t, devices)
	var closed atomic.Int64
	report := run(t, LoadConfig{
		Via: MQTT, Addr: addr, Devices: devices, Window: 8, Count: 50,
		Gate: func(sent uint64) bool {
			if sent == 20 && closed.Add(1) < 10 {
				return false
			}
			return true
		},
	})
	if report.Accepted != 50 || len(h.bodies) != 50 || closed.Load() < 10 {
		t.Errorf("report %+v, broker saw %d, gate asked %d times", report, len(h.bodies), closed.Load())
	}
}

func TestMQTTRefusedLogin(t *testing.T) {
	devices := Devices("seed", 0, 1)
	_, _, addr := serveMQTT(t, nil)
	load, err := NewLoad(LoadConfig{Via: MQTT, Addr: addr, Devices: devices, For: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	report := load.Run(t.Context())
	if report.Accepted != 0 || report.Failed["connect refused: 0x04"]+report.Failed["connect refused: 0x05"] == 0 {
		t.Errorf("report %+v", report)
	}
}

// The broker never acknowledges: the message fails, and the next connection is tried.
func TestMQTTUnacknowledged(t *testing.T) {
	devices := Devices("seed", 0, 1)
	h, _, addr := serveMQTT(t, devices)
	h.publish = func(*mqtt.Client, int) error { return packets.ErrRejectPacket }
	report := run(t, LoadConfig{
		Via: MQTT, Addr: addr, Devices: devices, Window: 3, Count: 6, Timeout: 50 * time.Millisecond,
	})
	if report.Accepted != 0 || report.Failed["timed out"] != 6 {
		t.Errorf("report %+v", report)
	}
}

func TestSubscriber(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		_, server, addr := serveMQTT(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var topics, size int
		s, err := Subscribe(ctx, SubscriberConfig{
			Addr: addr, Login: Login{ClientID: "app", Username: "app"}, Filter: "uplinks/#", QoS: qos,
			OnMessage: func(topic, payload []byte) {
				if string(topic) == "uplinks/IMEI/1" {
					topics++
				}
				if size += len(payload); topics == 500 {
					cancel()
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 500 {
			if err := server.Publish("uplinks/IMEI/1", make([]byte, 300), false, qos); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Run(ctx); err != nil || topics != 500 || size != 500*300 || s.Received() != 500 {
			t.Errorf("QoS %d: %d messages, %d bytes, error %v", qos, s.Received(), s.Bytes(), err)
		}
	}
}

// Once it runs, only the context it runs with ends it.
func TestSubscriberOutlivesItsSubscribing(t *testing.T) {
	_, server, addr := serveMQTT(t, nil)
	subscribing, subscribed := context.WithCancel(t.Context())
	running, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	messages := 0
	s, err := Subscribe(subscribing, SubscriberConfig{
		Addr: addr, Login: Login{ClientID: "app", Username: "app"}, Filter: "#",
		OnMessage: func(_, _ []byte) {
			if messages++; messages == 2 {
				cancel()
				return
			}
			subscribed()
			if err := server.Publish("uplinks/2", nil, false, 0); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Publish("uplinks/1", nil, false, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(running); err != nil || messages != 2 {
		t.Errorf("%d messages, error %v", messages, err)
	}
}

func TestSubscriberIsToldOfTheEnd(t *testing.T) {
	_, server, addr := serveMQTT(t, nil)
	s, err := Subscribe(t.Context(), SubscriberConfig{Addr: addr, Login: Login{ClientID: "a", Username: "app"}, Filter: "#"})
	if err != nil {
		t.Fatal(err)
	}
	if client, ok := server.Clients.Get("a"); ok {
		client.Stop(io.EOF)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("the broker has hung up, and there is no error")
	}
}

func TestHold(t *testing.T) {
	devices := Devices("seed", 0, 20)
	_, server, addr := serveMQTT(t, devices)
	idle, err := Hold(t.Context(), addr, DeviceLogins(devices))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if n := server.Clients.Len() - 1; n != 20 { // less the inline client
		t.Errorf("%d connections", n)
	}
	var refused RefusedError
	if _, err := Hold(t.Context(), addr, DeviceLogins(Devices("other", 0, 1))); !errors.As(err, &refused) {
		t.Errorf("a wrong secret: %v", err)
	}
}

// Every fifth message ends its connection unacknowledged; the repeats come with DUP, and in the end all are acknowledged.
func TestNumberedMQTT(t *testing.T) {
	devices := Devices("seed", 0, 3)
	h, _, addr := serveMQTT(t, devices)
	h.publish = func(cl *mqtt.Client, n int) error {
		if n%5 == 0 {
			cl.Stop(io.ErrUnexpectedEOF)
			return packets.ErrRejectPacket
		}
		return nil
	}
	numbered := NewNumbered(NumberedConfig{Via: MQTT, Addr: addr, Devices: devices, Count: 20, Window: 4})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := numbered.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if numbered.Acked() != 60 || len(h.bodies) != 60 || h.dups == 0 || numbered.Repeats() == 0 || numbered.Broken() == 0 {
		t.Errorf("%d acknowledged, %d bodies, %d with DUP, %d repeats, %d broken connections",
			numbered.Acked(), len(h.bodies), h.dups, numbered.Repeats(), numbered.Broken())
	}
}

func TestNumberedMQTTRefused(t *testing.T) {
	_, _, addr := serveMQTT(t, nil)
	numbered := NewNumbered(NumberedConfig{Via: MQTT, Addr: addr, Devices: Devices("seed", 0, 1), Count: 1})
	var refused RefusedError
	if err := numbered.Run(t.Context()); !errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}

// A paused subscriber takes no more than one read, and goes on where it was.
func TestSubscriberPauses(t *testing.T) {
	_, server, addr := serveMQTT(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	all := make(chan struct{})
	var messages atomic.Int64
	s, err := Subscribe(ctx, SubscriberConfig{
		Addr: addr, Login: Login{ClientID: "app", Username: "app"}, Filter: "#", QoS: 1,
		OnMessage: func(_, _ []byte) {
			if messages.Add(1) == 20 {
				close(all)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Pause()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	client, _ := server.Clients.Get("app")
	for range 20 {
		if err := server.Publish("uplinks/1", nil, false, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := client.State.Inflight.Len(); n != 20 {
		t.Errorf("%d messages unacknowledged by a paused subscriber", n)
	}
	s.Resume()
	<-all
	s.Pause()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end while paused: %v", err)
	}
}

func TestSubscriberKept(t *testing.T) {
	_, _, addr := serveMQTT(t, nil)
	for i, want := range []bool{false, true} {
		s, err := Subscribe(t.Context(), SubscriberConfig{
			Addr: addr, Login: Login{ClientID: "app", Username: "app", Keep: true}, Filter: "#", QoS: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.Present() != want {
			t.Errorf("connection %d: present %v", i, s.Present())
		}
		s.link.close()
	}
}
