package fleet

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// mqttConn publishes a device's packs at QoS 1 with up to a window of them unacknowledged.
type mqttConn struct {
	link
	login  Login
	topic  string
	reader *packetReader
	out    []byte
	slots  []time.Time // by packet id less one: when the message started; zero if the id is free
	free   []uint16    // packet ids
}

func newMQTTConn(l link, d Device, window int) *mqttConn {
	return &mqttConn{
		link:  l,
		login: Login{ClientID: d.ID, Username: d.BaseName(), Password: d.Secret},
		topic: d.Topic(),
		slots: make([]time.Time, window),
	}
}

// connect opens the connection and logs in, with no message in flight.
func (c *mqttConn) connect(ctx context.Context) error {
	c.out, c.free = c.out[:0], c.free[:0]
	for i := range c.slots {
		c.slots[i] = time.Time{}
		c.free = append(c.free, uint16(len(c.slots)-i))
	}
	var err error
	c.reader, _, err = handshake(ctx, &c.link, c.login, 1<<10)
	return err
}

// handshake connects and waits for a CONNACK that says yes. present is its session present flag.
func handshake(ctx context.Context, l *link, login Login, readSize int) (reader *packetReader, present bool, err error) {
	if err := l.open(ctx); err != nil {
		return nil, false, err
	}
	l.extend(time.Now())
	if _, err := l.conn.Write(appendConnect(nil, login)); err != nil {
		l.close()
		return nil, false, fmt.Errorf("write connect: %w", err)
	}
	reader = newPacketReader(l.conn, readSize)
	if present, err = expectConnack(reader); err != nil {
		l.close()
		return nil, false, err
	}
	return reader, present, nil
}

func expectConnack(reader *packetReader) (present bool, err error) {
	first, rest, err := reader.next()
	switch {
	case err != nil:
		return false, err
	case first != packetConnack || len(rest) != 2:
		return false, fmt.Errorf("connack: %w", errProtocol)
	case rest[1] != 0:
		return false, RefusedError{Packet: "connect", Code: rest[1]}
	}
	return rest[0]&1 != 0, nil
}

func (c *mqttConn) inFlight() int { return len(c.slots) - len(c.free) }

// publish appends a PUBLISH to what the next flush writes. There must be a free packet id.
func (c *mqttConn) publish(body []byte, start time.Time) {
	id := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.slots[id-1] = start
	c.out = appendPublish(c.out, c.topic, id, false, body)
}

func (c *mqttConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.extend(time.Now())
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return fmt.Errorf("write publish: %w", err)
	}
	return nil
}

// acknowledged reads one packet and returns when the message it acknowledges started. Packets of other kinds, downlinks among
// them, give the zero time.
func (c *mqttConn) acknowledged() (start time.Time, err error) {
	first, rest, err := c.reader.next()
	if err != nil {
		return time.Time{}, err
	}
	if first != packetPuback {
		return time.Time{}, nil
	}
	if len(rest) != 2 {
		return time.Time{}, fmt.Errorf("puback: %w", errProtocol)
	}
	id := binary.BigEndian.Uint16(rest)
	if id == 0 || int(id) > len(c.slots) || c.slots[id-1].IsZero() {
		return time.Time{}, fmt.Errorf("puback of an unknown packet: %w", errProtocol)
	}
	start, c.slots[id-1] = c.slots[id-1], time.Time{}
	c.free = append(c.free, id)
	return start, nil
}

// leave says good-bye, so that a will is not sent [MQTT-3.14.4-3], and closes.
func (c *mqttConn) leave() {
	if c.conn != nil {
		_, _ = c.conn.Write([]byte{packetDisconnect, 0})
	}
	c.close()
}
