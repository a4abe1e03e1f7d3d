package e2e_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"
	packets311 "github.com/eclipse/paho.mqtt.golang/packets"

	"m2mbridge/bridge/fleet"
)

// wire is an MQTT connection, a packet at a time: what is acknowledged, and when
// a connection is closed instead, is the matter here, and clients hide it. The
// packets are Paho's.
type wire struct {
	t       testing.TB
	conn    net.Conn
	version string
	last    uint16 // packet id of the last PUBLISH that was heard, in 3.1.1
}

// heard is one packet of the broker, or the end.
type heard struct {
	packet string // CONNACK, PUBACK …; CLOSED; SILENCE when nothing came in time
	id     uint16
	code   byte
}

func (h heard) String() string { return fmt.Sprintf("%s id %d code %#02x", h.packet, h.id, h.code) }

// connect logs a device in and wants that to succeed.
func (s *site) connect(n *node, version string, d fleet.Device, clientID string) *wire {
	s.Helper()
	w := s.dial(n, version)
	w.login(d, clientID)
	if got := w.hear(5 * time.Second); got.packet != "CONNACK" || got.code != 0 {
		s.Fatalf("login: %s", got)
	}
	return w
}

func (s *site) dial(n *node, version string) *wire {
	s.Helper()
	conn, err := net.DialTimeout("tcp", n.addr("mqtt"), 5*time.Second)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return &wire{t: s.T, conn: conn, version: version}
}

func (w *wire) login(d fleet.Device, clientID string) {
	w.t.Helper()
	if w.version == v5 {
		p := packets5.NewControlPacket(packets5.CONNECT)
		c := p.Content.(*packets5.Connect)
		c.ClientID, c.CleanStart, c.KeepAlive = clientID, true, 60
		c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, d.BaseName(), true, []byte(d.Secret)
		w.sent(p.WriteTo(w.conn))
		return
	}
	c := packets311.NewControlPacket(packets311.Connect).(*packets311.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier, c.CleanSession, c.Keepalive = "MQTT", 4, clientID, true, 60
	c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, d.BaseName(), true, []byte(d.Secret)
	w.sent(0, c.Write(w.conn))
}

// publish sends a PUBLISH of QoS 1.
func (w *wire) publish(id uint16, topic, payload string) {
	w.t.Helper()
	if w.version == v5 {
		p := packets5.NewControlPacket(packets5.PUBLISH)
		c := p.Content.(*packets5.Publish)
		c.PacketID, c.QoS, c.Topic, c.Payload = id, 1, topic, []byte(payload)
		w.sent(p.WriteTo(w.conn))
		return
	}
	c := packets311.NewControlPacket(packets311.Publish).(*packets311.PublishPacket)
	c.MessageID, c.Qos, c.TopicName, c.Payload = id, 1, topic, []byte(payload)
	w.sent(0, c.Write(w.conn))
}

// sent ignores a connection that is closed: hear says so.
func (w *wire) sent(int64, error) {}

// hear waits for the next packet.
func (w *wire) hear(limit time.Duration) heard {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(limit))
	h, err := w.read()
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return heard{packet: "SILENCE"}
	} else if err != nil {
		return heard{packet: "CLOSED"}
	}
	return h
}

func (w *wire) read() (heard, error) {
	if w.version != v5 {
		p, err := packets311.ReadPacket(w.conn)
		switch p := p.(type) {
		case *packets311.ConnackPacket:
			return heard{"CONNACK", 0, p.ReturnCode}, err
		case *packets311.PubackPacket:
			return heard{"PUBACK", p.MessageID, 0}, err
		case *packets311.PublishPacket:
			w.last = p.MessageID
		}
		return heard{packet: fmt.Sprintf("%T", p)}, err
	}
	p, err := packets5.ReadPacket(w.conn)
	if err != nil {
		return heard{}, err
	}
	h := heard{p.PacketType(), p.PacketID(), 0}
	switch c := p.Content.(type) {
	case *packets5.Connack:
		h.code = c.ReasonCode
	case *packets5.Puback:
		h.code = c.ReasonCode
	case *packets5.Disconnect:
		h.code = c.ReasonCode
	}
	return h, nil
}

// end waits until the broker has closed the connection, and gives what it said
// before, which must be no acknowledgement.
func (w *wire) end(limit time.Duration) (said []heard, took time.Duration) {
	w.t.Helper()
	start := time.Now()
	for {
		h := w.hear(limit - time.Since(start))
		took = time.Since(start)
		switch h.packet {
		case "CLOSED":
			return said, took
		case "SILENCE":
			w.t.Errorf("the connection is still open after %s", took)
			return said, took
		case "PUBACK", "PUBREC":
			w.t.Errorf("acknowledged: %s", h)
		}
		said = append(said, h)
	}
}
