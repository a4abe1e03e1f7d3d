package courier

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

const (
	imei     = auth.DeviceID("IMEI:356726104408422")
	secret   = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	topic    = "things/IMEI/356726104408422/downlink"
	patience = 10 * time.Second
)

// node is a courier to the sessions of a real broker.
type node struct {
	*Courier
	downlinks *downlink.Service
	addr      string
}

// site is a Redis whose events all nodes are told.
type site struct {
	*testing.T
	server   *redistest.Server
	registry *auth.Registry
	mu       sync.Mutex // follow reads nodes
	nodes    []*node
}

func newSite(t *testing.T, nodes int) *site {
	s := &site{T: t, server: redistest.Start(t)}
	s.registry = s.newRegistry()
	if _, err := s.registry.PutDevice(t.Context(), auth.Device{ID: imei, Secret: secret}, auth.Create); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		s.nodes = append(s.nodes, s.node())
	}
	s.run(s.follow)
	return s
}

// run has f run until the test ends.
func (s *site) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f(ctx) })
	s.Cleanup(func() { cancel(); wg.Wait() })
}

func (s *site) newRegistry() *auth.Registry {
	r, err := auth.NewRegistry(auth.RegistryConfig{Client: s.server.Client()})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *site) node() *node {
	n := &node{downlinks: downlink.New(downlink.Config{Client: s.server.Client()})}
	n.Courier = New(n.downlinks, slog.New(slog.DiscardHandler))
	b, err := broker.New(broker.Config{Registry: s.registry, Submit: func(_ broker.Uplink, done func(broker.Outcome)) { done(broker.Outcome{}) }, Ready: n.Ready})
	if err != nil {
		s.Fatal(err)
	}
	n.GoTo(b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	n.addr = ln.Addr().String()
	s.run(n.Run)
	s.run(b.Run)
	s.run(func(ctx context.Context) error { return b.Serve(ctx, ln, broker.KindTCP) })
	return n
}

// follow tells the nodes what is new, as their tails do.
func (s *site) follow(ctx context.Context) error {
	client, last := s.server.Client(), "0"
	for ctx.Err() == nil {
		time.Sleep(time.Millisecond) // a tail's delay, and no less
		found, err := client.XRange(ctx, "m2m:{0}:events", "("+last, "+").Result()
		if err != nil {
			continue
		}
		var entries []stream.Entry
		for _, m := range found {
			last = m.ID
			e := stream.Entry{Kind: stream.Events}
			for k, v := range m.Values {
				e.Fields = append(e.Fields, k, v.(string))
			}
			entries = append(entries, e)
		}
		s.mu.Lock()
		nodes := slices.Clone(s.nodes)
		s.mu.Unlock()
		for _, n := range nodes {
			n.Events(entries)
		}
	}
	return nil
}

// peer is a device, a packet at a time.
type peer struct {
	s    *site
	conn net.Conn
}

// connect logs the device in and subscribes it.
func (s *site) connect(n *node) *peer {
	s.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	p := &peer{s, conn}
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.CleanSession, c.Keepalive = "MQTT", 4, true, 60
	c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, imei.BaseName(), true, []byte(secret)
	p.send(c)
	if ack, ok := p.next().(*packets.ConnackPacket); !ok || ack.ReturnCode != 0 {
		s.Fatalf("login: %+v", ack)
	}
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.MessageID, sub.Topics, sub.Qoss = 1, []string{topic}, []byte{1}
	p.send(sub)
	if _, ok := p.next().(*packets.SubackPacket); !ok {
		s.Fatal("not subscribed")
	}
	return p
}

func (p *peer) send(c packets.ControlPacket) {
	p.s.Helper()
	if err := c.Write(p.conn); err != nil {
		p.s.Fatal(err)
	}
}

func (p *peer) next() packets.ControlPacket {
	p.s.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	c, err := packets.ReadPacket(p.conn)
	if err != nil {
		p.s.Fatalf("read: %v", err)
	}
	return c
}

// gets wants a downlink to come next, and gives its packet id.
func (p *peer) gets(d downlink.Downlink) uint16 {
	p.s.Helper()
	m, ok := p.next().(*packets.PublishPacket)
	if !ok || m.TopicName != topic || string(m.Payload) != string(d.Pack) || m.Qos != 1 {
		p.s.Fatalf("got %v; want %s", m, d.Pack)
	}
	return m.MessageID
}

func (p *peer) acks(id uint16) {
	p.s.Helper()
	a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	a.MessageID = id
	p.send(a)
}

func (s *site) create(n int) downlink.Downlink {
	s.Helper()
	d, _, err := s.nodes[0].downlinks.Create(s.Context(), downlink.Draft{
		Device: imei, Channel: downlink.Any, Pack: []byte(`[{"n":"n","v":` + string(rune('0'+n)) + `}]`), Ack: n == 2,
	})
	if err != nil {
		s.Fatal(err)
	}
	return d
}

// becomes waits for a state, and wants so many attempts to have been made by then.
func (s *site) becomes(d downlink.Downlink, want downlink.State, attempts int) {
	s.Helper()
	var got downlink.Downlink
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if got, err = s.nodes[0].downlinks.Get(s.Context(), d.ID); err != nil {
			s.Fatal(err)
		}
		if got.State == want && got.Attempts == attempts {
			return
		}
	}
	s.Fatalf("%s is %s (%s) after %d attempts; want %s after %d", d.ID, got.State, got.Cause, got.Attempts, want, attempts)
}

// Downlinks reach a device in their order over two brokers, whatever becomes of its connections.
func TestCourierOverTwoNodes(t *testing.T) {
	s := newSite(t, 2)
	first, second, third := s.create(1), s.create(2), s.create(3)
	p := s.connect(s.nodes[0])
	p.gets(first)
	_ = p.conn.Close() // without a PUBACK
	p = s.connect(s.nodes[1])
	p.acks(p.gets(first))
	s.becomes(first, downlink.Succeeded, 2)

	// The device acknowledges by a record before its PUBACK: the next one waits for that, and costs no attempts.
	id := p.gets(second)
	if ok, err := s.nodes[0].downlinks.Acknowledge(t.Context(), imei, second.ID); err != nil || !ok {
		t.Fatalf("acknowledge: %v, %v", ok, err)
	}
	s.becomes(third, downlink.Executing, 0)
	p.acks(id)
	p.acks(p.gets(third))
	s.becomes(third, downlink.Succeeded, 1)
}

// What a device gets while it is connected comes at once, and a thousand times as well as once.
func TestCourierGoesOn(t *testing.T) {
	s := newSite(t, 1)
	p := s.connect(s.nodes[0])
	for range 200 {
		d := s.create(1)
		p.acks(p.gets(d))
		s.becomes(d, downlink.Succeeded, 1)
	}
}

// refusing are devices that are there and take nothing.
type refusing struct{ asked chan struct{} }

func (r refusing) HasDevice(auth.DeviceID) bool { return true }

func (r refusing) DeliverDevice(*broker.Message, func(bool, string)) bool {
	r.asked <- struct{}{}
	return false
}

// A device that takes nothing is not asked again at once, until its downlink has failed; it is when it comes anew.
func TestCourierRests(t *testing.T) {
	s := newSite(t, 1)
	c := New(s.nodes[0].downlinks, slog.New(slog.DiscardHandler))
	r := refusing{make(chan struct{}, 100)}
	c.GoTo(r)
	s.mu.Lock()
	s.nodes = append(s.nodes, &node{Courier: c, downlinks: s.nodes[0].downlinks})
	s.mu.Unlock()
	s.run(c.Run)
	d := s.create(1)
	c.Ready(imei)
	<-r.asked
	c.Ready(imei)
	<-r.asked
	s.becomes(d, downlink.Executing, 0) // nothing was sent
	select {
	case <-r.asked:
		t.Error("asked again at once")
	case <-time.After(500 * time.Millisecond):
	}
}
