package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"

	"m2mbridge/bridge/fleet"
)

// client is an app's MQTT 5 connection, a packet at a time: when a message is
// acknowledged, and how a connection ends, is the test's to say. The packets are
// Paho's.
type client struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	present bool // as CONNACK told
	expiry  *uint32
	out     bytes.Buffer // acknowledgements that are not written yet
}

// login is what an app connects with. Its session is named by the app and the
// client id.
type login struct {
	app      app
	clientID string
	clean    bool
	expiry   uint32 // seconds that the session is kept without a connection
	window   uint16 // Receive Maximum; 0: none is told
	buffer   int    // of the socket, in bytes; 0: the kernel's choice
}

// refusedError is a CONNACK that says no.
type refusedError byte

func (e refusedError) Error() string { return fmt.Sprintf("login refused: %#02x", byte(e)) }

// loginLimit bounds each step of a login.
const loginLimit = 5 * time.Second

// dialApp logs an app in; it may fail, as while a node is down.
func dialApp(t testing.TB, addr string, l login) (*client, error) {
	dialer := net.Dialer{Timeout: loginLimit}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if l.buffer > 0 {
		_ = conn.(*net.TCPConn).SetReadBuffer(l.buffer)
	}
	c := &client{t: t, conn: conn, r: bufio.NewReaderSize(conn, max(l.buffer, 32<<10))}
	if err := c.login(l); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// open logs an app in and wants that to succeed.
func (s *site) open(n *node, l login) *client {
	s.Helper()
	c, err := dialApp(s.T, n.addr("mqtt"), l)
	if err != nil {
		s.Fatalf("log in %s as %s: %v", l.app.name, l.clientID, err)
	}
	s.Cleanup(c.cut)
	return c
}

func (c *client) login(l login) error {
	p := packets5.NewControlPacket(packets5.CONNECT)
	connect := p.Content.(*packets5.Connect)
	connect.ClientID, connect.CleanStart, connect.KeepAlive = l.clientID, l.clean, 3600
	connect.UsernameFlag, connect.Username, connect.PasswordFlag, connect.Password = true, l.app.name, true, []byte(l.app.key)
	connect.Properties.SessionExpiryInterval = &l.expiry
	if l.window > 0 {
		connect.Properties.ReceiveMaximum = &l.window
	}
	if _, err := p.WriteTo(c.conn); err != nil {
		return err
	}
	p, err := c.next(loginLimit)
	if err != nil {
		return err
	}
	connack, ok := p.Content.(*packets5.Connack)
	switch {
	case !ok:
		return fmt.Errorf("%s instead of CONNACK", p.PacketType())
	case connack.ReasonCode != 0:
		return refusedError(connack.ReasonCode)
	}
	c.present, c.expiry = connack.SessionPresent, connack.Properties.SessionExpiryInterval
	return nil
}

// next is the next packet of the broker.
func (c *client) next(limit time.Duration) (*packets5.ControlPacket, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	return packets5.ReadPacket(c.r)
}

// subscribe gives the codes of SUBACK, before which no message may come on a
// session without subscriptions. after is where to start; "": the present.
func (c *client) subscribe(qos byte, after string, filters ...string) []byte {
	c.t.Helper()
	p := packets5.NewControlPacket(packets5.SUBSCRIBE)
	s := p.Content.(*packets5.Subscribe)
	s.PacketID = 1
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, packets5.SubOptions{Topic: f, QoS: qos})
	}
	if after != "" {
		s.Properties.User = []packets5.User{{Key: "after", Value: after}}
	}
	if _, err := p.WriteTo(c.conn); err != nil {
		c.t.Fatalf("subscribe: %v", err)
	}
	p, err := c.next(loginLimit)
	if err != nil {
		c.t.Fatalf("subscribe: %v", err)
	}
	suback, ok := p.Content.(*packets5.Suback)
	if !ok {
		c.t.Fatalf("%s instead of SUBACK", p.PacketType())
	}
	return suback.Reasons
}

// mustSubscribe subscribes at QoS 1 to what is new.
func (c *client) mustSubscribe(filters ...string) {
	c.t.Helper()
	for _, code := range c.subscribe(1, "", filters...) {
		if code != 1 {
			c.t.Fatalf("subscribe to %v: code %#02x", filters, code)
		}
	}
}

// delivery is a message as an app got it.
type delivery struct {
	topic, id string // id of its stream's entry; "": it is of none
	payload   []byte
	packet    uint16 // 0: QoS 0
	dup       bool
}

// endedError is how the broker ended a connection.
type endedError struct{ code byte }

func (e endedError) Error() string { return fmt.Sprintf("DISCONNECT %#02x", e.code) }

// errQuiet: nothing came in time.
var errQuiet = errors.New("nothing came")

// take is the next message; it is not acknowledged.
func (c *client) take(limit time.Duration) (delivery, error) {
	for {
		p, err := c.next(limit)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return delivery{}, errQuiet
		} else if err != nil {
			return delivery{}, err
		}
		switch m := p.Content.(type) {
		case *packets5.Publish:
			d := delivery{topic: m.Topic, payload: m.Payload, packet: m.PacketID, dup: m.Duplicate}
			for _, u := range m.Properties.User {
				if u.Key == "id" {
					d.id = u.Value
				}
			}
			return d, nil
		case *packets5.Disconnect:
			return delivery{}, endedError{m.ReasonCode}
		default:
			return delivery{}, fmt.Errorf("%s instead of a message", p.PacketType())
		}
	}
}

// ack acknowledges, in the order given. It is written when nothing more is there
// to be read, or at once with flush.
func (c *client) ack(list ...delivery) {
	for _, d := range list {
		if d.packet != 0 {
			c.out.Write([]byte{packets5.PUBACK << 4, 2, byte(d.packet >> 8), byte(d.packet)})
		}
	}
	if c.r.Buffered() == 0 || c.out.Len() > 4096 {
		c.flush()
	}
}

func (c *client) flush() {
	_, _ = c.conn.Write(c.out.Bytes()) // a connection that is gone: take says so
	c.out.Reset()
}

// read takes and acknowledges messages until one of them is enough, or none
// comes for the limit.
func (c *client) read(limit time.Duration, enough func(delivery) bool) error {
	for {
		d, err := c.take(limit)
		if err != nil {
			return err
		}
		done := enough(d)
		c.ack(d)
		if done {
			c.flush()
			return nil
		}
	}
}

// ended waits for the broker to end the connection, and gives its reason code.
func (c *client) ended(limit time.Duration) (code byte, took time.Duration) {
	c.t.Helper()
	start := time.Now()
	for {
		_, err := c.take(limit - time.Since(start))
		took = time.Since(start)
		var told endedError
		switch {
		case err == nil:
		case errors.As(err, &told):
			return told.code, took
		default:
			c.t.Errorf("no DISCONNECT within %s: %v", limit, err)
			return 0, took
		}
	}
}

// leave says good-bye: DISCONNECT 0x00. Its session is kept as it was asked for.
// It returns when the broker has closed.
func (c *client) leave() {
	c.flush()
	_, _ = c.conn.Write([]byte{packets5.DISCONNECT << 4, 0})
	for {
		if _, err := c.next(loginLimit); err != nil {
			break
		}
	}
	c.cut()
}

// cut ends the connection without a word, as a client does that is killed: what
// it had not read is lost, and the peer is told by RST.
func (c *client) cut() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
}

// diary is all that a subscriber was given, over all its connections.
type diary struct {
	name string

	mu   sync.Mutex
	got  []string       // ids of uplinks, in the order they came
	seen map[string]int // how often each did
	gaps []gap
}

// gap is what a message on events/gap says.
type gap struct {
	Kind, Stream, From, To string
	Count                  *int
}

func newDiary(name string) *diary { return &diary{name: name, seen: map[string]int{}} }

func (d *diary) note(m delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.topic == "events/gap" {
		var g gap
		if err := json.Unmarshal(m.payload, &g); err != nil {
			g.Kind = err.Error()
		}
		d.gaps = append(d.gaps, g)
		return
	}
	if strings.HasPrefix(m.topic, "uplinks/") {
		d.got = append(d.got, m.id)
		d.seen[m.id]++
	}
}

// count is how many different uplinks came.
func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.seen)
}

func (d *diary) has(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen[id] > 0
}

// once wants the diary to have all of the stream, in its order, each once, and
// no gap.
func (d *diary) once(t testing.TB, stored []entry) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.gaps) > 0 {
		t.Errorf("%s was told of gaps: %+v", d.name, d.gaps)
	}
	for i, e := range stored {
		if i >= len(d.got) || d.got[i] != e.id {
			before, next := "nothing", "nothing"
			if i > 0 {
				before = d.got[i-1]
			}
			if i < len(d.got) {
				next = d.got[i]
			}
			t.Errorf("%s: message %d of %d is %s, want %s (came %d times; the one before is %s)", d.name, i, len(stored), next, e.id, d.seen[e.id], before)
			return
		}
	}
	if len(d.got) > len(stored) {
		t.Errorf("%s was given %d messages more than are stored, the first %s", d.name, len(d.got)-len(stored), d.got[len(stored)])
	}
}

// allOf wants all of the stream, in any order and number.
func (d *diary) allOf(t testing.TB, stored []entry) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	missing := 0
	for _, e := range stored {
		if d.seen[e.id] == 0 {
			if missing++; missing <= 5 {
				t.Errorf("%s lacks %s, %v", d.name, e.id, e.number)
			}
		}
	}
	if missing > 0 {
		t.Errorf("%s lacks %d of %d", d.name, missing, len(stored))
	}
}

// atLeastOnce wants all of the stream, the first receipts of each device's in its
// order. It gives how many came again.
func (d *diary) atLeastOnce(t testing.TB, stored []entry) (again int) {
	t.Helper()
	d.allOf(t, stored)
	d.mu.Lock()
	defer d.mu.Unlock()
	place := map[string]int{}
	for i, e := range stored {
		place[e.id] = i
	}
	last, met := map[string]int{}, map[string]bool{}
	for _, id := range d.got {
		at, ok := place[id]
		if !ok {
			t.Errorf("%s was given %s, which is not stored", d.name, id)
			continue
		}
		if met[id] {
			again++
			continue
		}
		met[id] = true
		device := stored[at].number.Device
		if before, ok := last[device]; ok && at < before {
			t.Errorf("%s was first given %s of %s after the later %s", d.name, id, device, stored[before].id)
		}
		last[device] = at
	}
	if len(d.gaps) > 0 {
		t.Errorf("%s was told of gaps: %+v", d.name, d.gaps)
	}
	return again
}

// entry is a numbered message in the stream.
type entry struct {
	id     string
	number fleet.Number
}

// entries reads the whole stream of uplinks, which must all be numbered.
func (s *site) entries() (list []entry) {
	s.Helper()
	for _, e := range s.storedPaged("uplinks") {
		list = append(list, entry{e.ID, number(s, e)})
	}
	return list
}

// onceWindow is among how many uplinks of a device a node knows a repeat, unless it is told otherwise.
const onceWindow = 16

// flood has devices, registered already, send so many numbered messages each as
// fast as they are acknowledged, from first on, and returns when all are. No
// more are in flight than are known as repeats: a Redis that is late on a busy
// machine has them sent again.
func (s *site) flood(addr string, list []fleet.Device, first, each int) {
	s.Helper()
	number := fleet.NewNumbered(fleet.NumberedConfig{
		Via: fleet.MQTT, Addr: addr, Devices: list, First: first, Count: each, Window: onceWindow, Epoch: time.Unix(1700000000, 0),
	})
	if err := number.Run(s.Context()); err != nil {
		s.Fatal(err)
	}
	if got := number.Acked(); got != each*len(list) {
		s.Fatalf("%d of %d were acknowledged", got, each*len(list))
	}
}
