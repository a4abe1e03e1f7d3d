package fleet

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

// SubscriberConfig says which app listens to what.
type SubscriberConfig struct {
	Addr    string
	Login   Login
	Filter  string
	QoS     byte // 0 or 1
	Timeout time.Duration
	// OnMessage, if not nil, is told of each message; its arguments are valid until it returns.
	OnMessage func(topic, payload []byte)
}

// Subscriber is an app's MQTT client that does nothing but count and acknowledge, and may be told to stall.
type Subscriber struct {
	cfg      SubscriberConfig
	link     link
	reader   *packetReader
	out      []byte
	received atomic.Uint64
	bytes    atomic.Uint64
	present  bool
	pause    atomic.Pointer[chan struct{}] // closed by Resume; nil: it is not paused
}

// Subscribe connects and returns when the subscription is granted. What comes is taken by Run. The end of ctx closes the
// connection only until Run has taken it over.
func Subscribe(ctx context.Context, cfg SubscriberConfig) (*Subscriber, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	s := &Subscriber{cfg: cfg, link: link{addr: cfg.Addr, timeout: cfg.Timeout}}
	var err error
	if s.reader, s.present, err = handshake(ctx, &s.link, cfg.Login, 64<<10); err != nil {
		return nil, fmt.Errorf("connect subscriber: %w", err)
	}
	if err := s.subscribe(); err != nil {
		s.link.close()
		return nil, fmt.Errorf("subscribe to %s: %w", cfg.Filter, err)
	}
	_ = s.link.conn.SetDeadline(time.Time{})
	return s, nil
}

func (s *Subscriber) subscribe() error {
	if _, err := s.link.conn.Write(appendSubscribe(nil, 1, s.cfg.Filter, s.cfg.QoS)); err != nil {
		return err
	}
	for {
		first, rest, err := s.reader.next()
		switch {
		case err != nil:
			return err
		case first&0xf0 == packetPublish: // retained messages, and those of a kept session, may come first
			if err := s.take(first, rest); err != nil {
				return err
			}
		case first != packetSuback || len(rest) != 3:
			return fmt.Errorf("suback: %w", errProtocol)
		case rest[2] > 2:
			return RefusedError{Packet: "subscribe", Code: rest[2]}
		default:
			return s.acknowledge() // else a window that those filled would stay full
		}
	}
}

// Run takes messages until ctx ends, which is no error, or the connection does.
func (s *Subscriber) Run(ctx context.Context) error {
	defer s.link.close()
	// Were Subscribe's context still watched, and a parent of this one, the end of both could close the connection
	// before this one is known to have ended.
	s.link.stop()
	conn := s.link.conn
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		err := s.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read from broker: %w", err)
		}
	}
}

// next takes all messages of one read, and acknowledges them in one write.
func (s *Subscriber) next(ctx context.Context) error {
	for more := true; more; more = s.reader.buffered() {
		first, rest, err := s.reader.next()
		if err != nil {
			return err
		}
		if first&0xf0 == packetPublish {
			if err := s.take(first, rest); err != nil {
				return err
			}
		}
	}
	s.stall(ctx)
	return s.acknowledge()
}

// acknowledge writes the acknowledgements that are due.
func (s *Subscriber) acknowledge() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.link.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// stall waits as long as the subscriber is paused.
func (s *Subscriber) stall(ctx context.Context) {
	if over := s.pause.Load(); over != nil {
		select {
		case <-*over:
		case <-ctx.Done():
		}
	}
}

// Pause has the subscriber stop acknowledging and reading, but for one read that may be under way, until Resume.
func (s *Subscriber) Pause() {
	over := make(chan struct{})
	s.pause.CompareAndSwap(nil, &over)
}

// Resume ends a pause.
func (s *Subscriber) Resume() {
	if over := s.pause.Swap(nil); over != nil {
		close(*over)
	}
}

// Present says whether the broker still had a session of this client (Login.Keep).
func (s *Subscriber) Present() bool { return s.present }

// take counts a PUBLISH, and prepares its acknowledgement if it wants one.
func (s *Subscriber) take(first byte, rest []byte) error {
	if len(rest) < 2 {
		return errProtocol
	}
	n := 2 + int(binary.BigEndian.Uint16(rest))
	qos := first >> 1 & 3
	if len(rest) < n || qos > 1 || qos == 1 && len(rest) < n+2 {
		return errProtocol
	}
	topic, payload := rest[2:n], rest[n:]
	if qos == 1 {
		s.out = appendPuback(s.out, binary.BigEndian.Uint16(payload))
		payload = payload[2:]
	}
	s.received.Add(1)
	s.bytes.Add(uint64(len(payload)))
	if s.cfg.OnMessage != nil {
		s.cfg.OnMessage(topic, payload)
	}
	return nil
}

// Received is the number of messages so far.
func (s *Subscriber) Received() uint64 { return s.received.Load() }

// Bytes is the sum of their payloads.
func (s *Subscriber) Bytes() uint64 { return s.bytes.Load() }
