package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// The benchmarks set this broker beside bare Mochi, tuned alike, with the same peers.

// anybody is a registry that lets everybody in: the benchmarks measure the edge alone.
type anybody struct{}

func (anybody) VerifyLogin(_ context.Context, id auth.DeviceID, _, _ string) (auth.Proof, error) {
	return auth.Proof{Device: id}, nil
}
func (anybody) Recheck(_ context.Context, p auth.Proof) (auth.Proof, error) { return p, nil }
func (anybody) AppLogin(_ context.Context, name, _ string) (*auth.App, error) {
	return &auth.App{Name: name, Scopes: []auth.Scope{auth.ScopeAdmin}}, nil
}
func (anybody) RecheckApp(_ context.Context, a *auth.App) (*auth.App, error) { return a, nil }
func (anybody) Sees(context.Context, *auth.App, auth.DeviceID) (bool, error) { return true, nil }
func (anybody) OnChange(func(auth.Change))                                   {}

// letIn is bare Mochi's hook.
type letIn struct{ mqtt.HookBase }

func (letIn) ID() string { return "let-in" }
func (letIn) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}
func (letIn) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (letIn) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

// contestant is a broker to measure: its address, and what brings a message to its subscribers.
type contestant struct {
	name    string
	addr    string
	deliver func(topic string, payload []byte)
}

func contestants(b *testing.B) []contestant {
	played := &tape{ring: 4096}
	ours, err := New(Config{Registry: anybody{}, Source: played, Submit: func(_ Uplink, done func(Outcome)) { done(Outcome{}) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ours.Shutdown(context.Background()) })
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ln.Close() })
		return ln
	}
	ln := listen()
	go func() { _ = ours.Serve(context.Background(), ln, KindTCP) }()

	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = 1 << 16 // else it drops
	caps.MaximumInflight = 65535
	bare := mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler), InlineClient: true})
	if err := bare.AddHook(new(letIn), nil); err != nil {
		b.Fatal(err)
	}
	mln := listen()
	go func() {
		for {
			nc, err := mln.Accept()
			if err != nil {
				return
			}
			go func() { _ = bare.EstablishConnection("tcp", nc) }()
		}
	}()
	return []contestant{
		{"ours", ln.Addr().String(), func(topic string, payload []byte) {
			m := &Message{Topic: topic, Payload: payload, Device: imei}
			played.add(m)
			ours.Deliver(0, []*Message{m}, m.position())
		}},
		{"mochi", mln.Addr().String(), func(topic string, payload []byte) { _ = bare.Publish(topic, payload, false, 1) }},
	}
}

// subscriber counts what it gets, and acknowledges it.
func subscriber(b *testing.B, addr, id string, qos byte, got *atomic.Int64, arrived chan<- struct{}) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = nc.Write(encode(b, version311, connect(version311, login("app", "key"), clientID(id))))
	_, _ = nc.Write(encode(b, version311, subscribe(1, packets.Subscription{Filter: "uplinks/#", Qos: qos})))
	head := make([]byte, 4+5)
	if _, err := io.ReadFull(nc, head); err != nil {
		b.Fatal(err)
	}
	go func() {
		r := bufio.NewReaderSize(nc, 32<<10)
		acks := make([]byte, 0, 4096)
		for {
			if len(acks) > 0 && (r.Buffered() == 0 || len(acks) > 4000) {
				if _, err := nc.Write(acks); err != nil {
					return
				}
				acks = acks[:0]
			}
			first, err := r.ReadByte()
			if err != nil {
				return
			}
			n, _, err := packets.DecodeLength(r)
			if err != nil {
				return
			}
			if first>>4 == packets.Publish && first&6 != 0 {
				topic, err := r.Peek(2 + len(uplinksOf(imei)) + 2)
				if err != nil {
					return
				}
				acks = append(acks, packets.Puback<<4, 2, topic[len(topic)-2], topic[len(topic)-1])
			}
			if _, err := r.Discard(n); err != nil {
				return
			}
			if first>>4 == packets.Publish {
				got.Add(1)
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
		}
	}()
	return nc
}

func BenchmarkDeliver(b *testing.B) {
	payload := []byte(strings.Repeat("x", 302))
	for _, subscribers := range []int{1, 100} {
		for _, qos := range []byte{0, 1} {
			for _, c := range contestants(b) {
				b.Run(fmt.Sprintf("1-%d/qos%d/%s", subscribers, qos, c.name), func(b *testing.B) {
					var got atomic.Int64
					arrived := make(chan struct{}, 1)
					for i := range subscribers {
						nc := subscriber(b, c.addr, fmt.Sprint(i), qos, &got, arrived)
						defer nc.Close()
					}
					window := int64(50 * subscribers) // on their way: neither may drop
					b.ResetTimer()
					for i := range b.N {
						c.deliver(uplinksOf(imei), payload)
						for sent := int64((i + 1) * subscribers); sent-got.Load() > window; {
							<-arrived
						}
					}
					for got.Load() < int64(b.N*subscribers) {
						<-arrived
					}
					b.ReportMetric(float64(b.N*subscribers)/b.Elapsed().Seconds(), "msg/s")
				})
			}
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, window := range []int{1, 16} {
		for _, c := range contestants(b) {
			b.Run(fmt.Sprintf("window%d/%s", window, c.name), func(b *testing.B) {
				const clients = 50
				var wg sync.WaitGroup
				for i := range clients {
					nc, err := net.Dial("tcp", c.addr)
					if err != nil {
						b.Fatal(err)
					}
					defer nc.Close()
					name := fmt.Sprintf("urn:dev:IMEI:%015d:", i)
					_, _ = nc.Write(encode(b, version311, connect(version311, login(name, secret), clientID(name))))
					ack := make([]byte, 4)
					if _, err := io.ReadFull(nc, ack); err != nil {
						b.Fatal(err)
					}
					topic := fmt.Sprintf("things/IMEI/%015d/uplink", i)
					wg.Go(func() {
						pump(b, nc, encode(b, version311, publish(topic, strings.Repeat("x", 302), 1, 1)), window, b.N/clients+1)
					})
				}
				wg.Wait()
				b.ReportMetric(float64((b.N/clients+1)*clients)/b.Elapsed().Seconds(), "acks/s")
			})
		}
	}
}

// pump publishes n times with at most window unacknowledged.
func pump(b *testing.B, nc net.Conn, pk []byte, window, n int) {
	at := len(pk) - 302 - 2
	acks := make([]byte, 4096)
	open, have := 0, 0
	out := make([]byte, 0, window*len(pk))
	for sent, acked := 0, 0; acked < n; {
		out = out[:0]
		for ; open < window && sent < n; sent++ {
			id := sent%1000 + 1
			pk[at], pk[at+1] = byte(id>>8), byte(id)
			out = append(out, pk...)
			open++
		}
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				b.Error(err)
				return
			}
		}
		m, err := nc.Read(acks)
		if err != nil {
			b.Error(err)
			return
		}
		have += m
		acked += have / 4
		open -= have / 4
		have %= 4
	}
}
