package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// Registry says who may log in and what they may see. *auth.Registry is one.
type Registry interface {
	VerifyLogin(ctx context.Context, id auth.DeviceID, username, password string) (auth.Proof, error)
	Recheck(ctx context.Context, p auth.Proof) (auth.Proof, error)
	AppLogin(ctx context.Context, name, key string) (*auth.App, error)
	RecheckApp(ctx context.Context, a *auth.App) (*auth.App, error)
	Sees(ctx context.Context, a *auth.App, id auth.DeviceID) (bool, error)
	OnChange(f func(auth.Change))
}

// Config of a Broker. Submit and Registry are needed, all else has defaults.
type Config struct {
	Registry Registry
	// Submit takes an uplink and calls done once, from any goroutine, perhaps
	// before it returns. It must not block. The payload is the callee's to keep.
	Submit func(u Uplink, done func(Outcome))
	// Downlink takes what an app publishes to downlinks/<TYPE>/<value>; as
	// Submit. nil: such a publish is refused.
	Downlink func(d Downlink, done func(Outcome))
	// Source is the streams that Deliver's messages come from; nil: nothing is
	// delivered to apps.
	Source Source
	// Keeper keeps apps' sessions; nil: none outlives its connection.
	Keeper Keeper
	// Share keeps shared subscriptions; nil: there are none.
	Share Share
	// Retained reads the retained messages that a filter matches, about limit at
	// a time: from the start, or behind what it gave as next; "" as next ends
	// it. It may give more than the filter matches. nil: there are none.
	Retained func(ctx context.Context, filter, after string, limit int) (page []*Message, next string, err error)
	// Ready is told when a device has subscribed to its downlinks: DeliverDevice
	// reaches it now. It must not block. nil: nobody is told.
	Ready func(auth.DeviceID)
	// Taken waits until the peer has taken all that was written on a connection;
	// nil: that it was written must do.
	Taken func(c net.Conn, limit time.Duration) error
	// Presence is told of devices' sessions; nil: nobody is.
	Presence Presence
	// Reject is told of refused logins, publishes to foreign topics and packets too large. It must not block.
	Reject func(Refusal)
	// OnDelivered is told when subscribers of this node were given a message as it
	// came, or as a group's turn was, with how many. It must neither block nor call
	// the broker. nil: nobody is.
	OnDelivered func(m *Message, subscribers int)
	// OnGap is told when a session missed messages. It must neither block nor call the broker.
	OnGap func(Missed)

	Log *slog.Logger // nil: nothing is logged
	TLS *tls.Config  // for KindTLS and KindWSS

	MaxPacket      int // largest packet taken from a client after login, in bytes; 0: 68 KiB
	MaxConnect     int // largest CONNECT packet, its will included; 0: 8 KiB
	ReceiveMaximum int // publishes of QoS 1 and 2 a client may have unacknowledged; 0: 64

	MaxConnections  int     // open at once; 0: no limit
	MaxPerAddress   int     // open at once from one address; 0: no limit (carriers put whole fleets behind one)
	MaxPerApp       int     // sessions of one app, those that are away too; 0: 1000
	PublishRate     float64 // downlinks that one app may publish a second on this node; 0: no limit. An app may have a limit of its own
	MaxUnauthorised int     // open at once before login, the oldest goes first; 0: 1024

	ConnectTimeout time.Duration // from accept to the whole CONNECT; 0: 10 s
	LoginTimeout   time.Duration // for the registry's answer; 0: 1 s
	WriteTimeout   time.Duration // a peer that takes nothing for so long is cut; 0: 10 s
	MaxKeepAlive   time.Duration // MQTT 5 clients that ask for none or more are told this; 0: 12 h
	AckTimeout     time.Duration // for a device to acknowledge a message; 0: 20 s
	ShutdownGrace  time.Duration // for uplinks in flight when Serve's context ends; 0: 5 s
	SessionExpiry  time.Duration // longest that an app's session is kept without a connection; 0: none is
	SaveEvery      time.Duration // between two times that sessions are saved; 0: 1 s
	ShareBeat      time.Duration // between renewals of shared subscriptions, and looks for what other nodes let go; 0: 4 s

	Window           int // messages of QoS 1 unacknowledged by a 3.1.1 subscriber, and most for a 5 one; 0: 64, at most 1024
	MaxSubscriptions int // topic filters of one session; 0: 100
}

// Uplink is one publish of a device to its own uplink topic.
type Uplink struct {
	Device   auth.DeviceID // who logged in
	Payload  []byte
	Token    string // message token, from the user property or the topic
	HasToken bool
	Remote   string // the peer's address, host:port
	Will     bool   // published on behalf of a device that went away
}

// Downlink is one publish of an app to downlinks/<TYPE>/<value>.
type Downlink struct {
	App     *auth.App
	Device  auth.DeviceID
	Payload []byte
	Remote  string

	Properties []packets.UserProperty // MQTT 5's
}

// Outcome is the answer to an uplink.
type Outcome struct {
	// Code is the MQTT 5 reason code: 0 stored, 0x99 payload, 0x87 token or device, 0x97 quota.
	Code byte
	// Reason is a line for the device's engineer; never a token or a secret.
	Reason string
	// Unavailable: not stored, and the device should send it again; the
	// connection is closed without an acknowledgement (unless it was of QoS 0,
	// which promises nothing).
	Unavailable bool
}

// Message is what subscribers of a topic get. It is not changed once it was
// given to the broker, and shared by all subscribers.
type Message struct {
	Topic    string
	Payload  []byte
	Stream   Stream
	ID       ID            // zero if it is in no stream
	Prev     ID            // of the entry before it in its stream; zero if it is the first, or that is not known
	N        int64         // it is the N-th that was ever added to its stream; Unknown
	Device   auth.DeviceID // the device it is about, "" if none: only apps without a device filter see it
	App      string        // the app it is about, which sees it too; "" if none
	Retain   bool          // for subscriptions with Retain As Published
	Unsigned bool          // from a device without a secret: nothing proves that it is its own

	forms [4]atomic.Pointer[frame] // plain ones, by QoS and version
}

// Refusal is a login, publish or packet that was refused here, before any verdict.
type Refusal struct {
	Device auth.DeviceID // who it claimed to be, or logged in as; "" unknown or an app
	App    string        // the app's name as given
	Remote string
	Reason string // short stable code: login, will, topic, token, too-large
	Detail string // one line; never a password or token
	Body   []byte // of a publish; valid only during the call
}

// Missed tells that an app's session missed messages.
type Missed struct {
	Session SessionKey
	Stream  Stream
	Gap
}

// Kind is what a listener speaks below MQTT.
type Kind string

// The kinds of listeners.
const (
	KindTCP Kind = "tcp"
	KindTLS Kind = "tls"
	KindWS  Kind = "ws"  // WebSocket at /mqtt, subprotocol mqtt
	KindWSS Kind = "wss" // the same over TLS
)

// withDefaults gives c with its zeros replaced, or says what is impossible.
func (c Config) withDefaults() (Config, error) {
	if c.Submit == nil || c.Registry == nil {
		return c, errors.New("broker needs Submit and Registry")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Reject == nil {
		c.Reject = func(Refusal) {}
	}
	if c.Taken == nil {
		c.Taken = func(net.Conn, time.Duration) error { return nil }
	}
	if c.Ready == nil {
		c.Ready = func(auth.DeviceID) {}
	}
	if c.OnGap == nil {
		c.OnGap = func(Missed) {}
	}
	for _, d := range []struct {
		value *int
		zero  int
	}{
		{&c.MaxPacket, 68 << 10}, {&c.MaxConnect, 8 << 10}, {&c.ReceiveMaximum, 64}, {&c.MaxUnauthorised, 1024}, {&c.MaxPerApp, 1000},
		{&c.Window, 64}, {&c.MaxSubscriptions, 100},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&c.ConnectTimeout, 10 * time.Second}, {&c.LoginTimeout, time.Second}, {&c.WriteTimeout, 10 * time.Second},
		{&c.MaxKeepAlive, 12 * time.Hour}, {&c.AckTimeout, 20 * time.Second}, {&c.ShutdownGrace, 5 * time.Second}, {&c.SaveEvery, time.Second},
		{&c.ShareBeat, 4 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	return c, c.check()
}

// check refuses what the protocol cannot say.
func (c Config) check() error {
	switch {
	case c.MaxPacket < 0 || c.MaxPacket > 268435455+5: // MQTT 5 §1.5.5
		return fmt.Errorf("max packet %d: not a size of an MQTT packet", c.MaxPacket)
	case c.ReceiveMaximum < 0 || c.ReceiveMaximum > 65535: // MQTT 5 §3.2.2.3.3
		return fmt.Errorf("receive maximum %d: not in 1 to 65535", c.ReceiveMaximum)
	case c.Window < 0 || c.Window > 1024:
		return fmt.Errorf("window %d: not in 1 to 1024", c.Window)
	}
	return nil
}
