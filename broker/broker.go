package broker

import (
	"context"
	"errors"
	"net"
)

// Broker is the MQTT edge of one process.
type Broker struct {
	cfg Config
}

// New makes a broker; it serves nothing until Serve.
func New(cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Broker{cfg: cfg}, nil
}

// Serve takes connections from ln until ctx ends or Shutdown is called. When it
// returns, ln is closed, and so is every connection it accepted. Several
// listeners may be served at once.
func (b *Broker) Serve(ctx context.Context, ln net.Listener, kind Kind) error {
	return errors.ErrUnsupported
}

// Shutdown stops the listeners, lets uplinks in flight be answered until ctx
// ends, tells the clients to go, and returns when all connections are closed.
func (b *Broker) Shutdown(ctx context.Context) error { return nil }

// Deliver takes messages to their subscribers, in order. It is called by one
// goroutine per partition and never waits for a subscriber.
func (b *Broker) Deliver(msgs []Message) {}

// Wants tells cheaply whether anybody may be subscribed below a prefix such as "uplinks/".
func (b *Broker) Wants(prefix string) bool { return false }

// Stats are counters since the start, and what is open now.
type Stats struct {
	Connections  int64 // open, before login too
	Unauthorised int64 // of them, before login
	Devices      int64 // sessions of devices
	Apps         int64 // sessions of apps

	Subscriptions int64
	InFlight      int64 // uplinks without a verdict

	Accepted  int64 // connections, since the start
	Turned    int64 // connections closed because of a limit
	TakenOver int64 // sessions ended by a new one of the same client
	Cut       int64 // connections cut because the peer took nothing
	Panics    int64 // connections ended by a packet that the decoder could not take

	Published int64          // publishes of clients
	Delivered int64          // messages given to connections
	Gaps      int64          // times a session was told that it missed messages
	Missed    int64          // messages missed in all
	Refused   map[byte]int64 // refusals by MQTT 5 reason code, logins and publishes
}

// Stats gives the counters.
func (b *Broker) Stats() Stats { return Stats{} }
