package broker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// session is one client from its login to the end of its connection.
type session struct {
	b         *Broker
	f         *front
	conn      *conn
	cl        *mqtt.Client
	version   byte
	who       identity
	access    atomic.Pointer[access] // of an app
	will      *Uplink
	keepAlive time.Duration
	armed     time.Time     // when the read deadline was set; the reader's
	retiring  atomic.Bool   // reads no more, and leaves when its uplinks are answered
	departed  chan struct{} // of an app: closed when it has ended and left all it had to the saver

	mu     sync.Mutex
	ended  bool
	keyEnd *time.Timer // of the secret or key it logged in by; nil: that has no end
	inbox  inbox
	outbox outbox
	kept   keeping
	subs   []*subscription
}

// ending is why a session ends.
type ending struct {
	code   byte // for the DISCONNECT of MQTT 5; 0: none is sent
	reason string
	will   bool // whether its will is published
}

var (
	endTakenOver = ending{code: codeTakenOver, reason: "another connection logged in as this client", will: true}
	endLost      = ending{will: true}
	endGoodbye   = ending{}
	endShutdown  = ending{code: codeShuttingDown, reason: "server shutting down"}
	endKeepAlive = ending{code: codeKeepAlive, reason: "no packet in one and a half keep-alives", will: true}
)

func newSession(b *Broker, f *front, c *conn, cl *mqtt.Client, who identity, will *Uplink) *session {
	s := &session{b: b, f: f, conn: c, cl: cl, version: cl.Properties.ProtocolVersion, who: who, will: will}
	s.outbox.init(&b.cfg, &cl.Properties.Props)
	if who.app != nil {
		s.departed = make(chan struct{})
		s.access.Store(&access{app: who.app, rights: rightsOf(who.app)})
	}
	c.owner = s
	s.recheckAt(who.until())
	return s
}

// run reads until the session ends.
func (s *session) run() {
	s.end(s.read())
	s.conn.linger()
	s.f.drop(s.conn)
}

// read takes packets until one ends the session, or none can be read.
func (s *session) read() (e ending) {
	defer func() {
		if r := recover(); r != nil {
			s.b.panicked(r, s.conn)
			e = ending{code: codeUnspecified, reason: "internal error", will: true}
		}
	}()
	var fh packets.FixedHeader
	for {
		s.arm()
		fh = packets.FixedHeader{}
		if err := s.cl.ReadFixedHeader(&fh); err != nil {
			return s.unread(err)
		}
		if fh.Type == packets.Pingreq && fh.Remaining == 0 {
			_, _ = s.conn.Write(pingresp) // [MQTT-3.12.4-1]
			continue
		}
		if e := s.receive(&fh); e != nil {
			return *e
		}
	}
}

var pingresp = []byte{packets.Pingresp << 4, 0}

// arm sets the read deadline. It is set anew once a tenth of the keep-alive has
// passed, so that a silent peer is cut after 1.5 to 1.6 of it [MQTT-3.1.2-22].
func (s *session) arm() {
	now := time.Now()
	switch {
	case s.armed.IsZero() && s.keepAlive == 0:
		s.conn.awaitUntil(time.Time{})
	case s.keepAlive == 0 || now.Sub(s.armed) < s.keepAlive/10:
		return
	default:
		s.conn.awaitUntil(now.Add(s.keepAlive + s.keepAlive/2 + s.keepAlive/10))
	}
	s.armed = now
	if s.retiring.Load() {
		s.conn.awaitUntil(now)
	}
}

// unread is how a session ends whose next packet could not be read.
func (s *session) unread(err error) ending {
	if s.retiring.Load() {
		s.awaitInFlight(1, s.f.grace.Done())
		return endShutdown
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return endKeepAlive
	}
	if errors.Is(err, packets.ErrPacketTooLarge) {
		s.tellTooLarge()
	}
	return protocolEnding(err)
}

// tellTooLarge leaves a trace of a packet beyond the limit: a 3.1.1 client
// learns only that it was cut, and its engineer should not have to guess.
func (s *session) tellTooLarge() {
	r := Refusal{Device: s.who.device, Remote: s.cl.Net.Remote, Reason: "too-large",
		Detail: fmt.Sprintf("packet larger than the %d bytes that are taken", s.b.cfg.MaxPacket)}
	if s.who.app != nil {
		r.App = s.who.app.Name
	}
	s.b.cfg.Reject(r)
}

// protocolEnding tells what is wrong with a packet, where that is what is wrong.
func protocolEnding(err error) ending {
	var c packets.Code
	if errors.Is(err, packets.ErrProtocolViolationQosOutOfRange) {
		return ending{code: codeMalformed, reason: "QoS 3", will: true} // [MQTT-3.3.1-4]
	}
	if errors.As(err, &c) && c.Code >= codeUnspecified {
		return ending{code: c.Code, reason: c.Reason, will: true}
	}
	return endLost
}

// retire has the session stop reading and leave once its uplinks are answered.
func (s *session) retire() {
	s.retiring.Store(true)
	s.conn.awaitUntil(time.Now())
}

// end ends the session: the first reason counts. What it held is given back at
// once; the connection closes when its last packets are written.
func (s *session) end(e ending) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	if s.keyEnd != nil {
		s.keyEnd.Stop()
	}
	subs, claims := s.subs, s.claims()
	var last Saved
	if s.who.app != nil {
		last = s.snapshotLocked(true)
	}
	s.subs, s.outbox.waiting, s.outbox.lanes = nil, nil, nil
	s.inbox.wake()
	s.mu.Unlock()

	if s.who.app != nil {
		s.depart(subs, claims, last, e == endRemoved)
	}
	s.b.sessions.remove(s)
	if s.departed != nil {
		close(s.departed)
	}
	if e.code != 0 && s.version == version5 {
		s.disconnect(e)
	}
	s.conn.hangUp()
	if e.will && s.will != nil { // [MQTT-3.1.2-8]
		s.b.cfg.Submit(*s.will, func(Outcome) {})
	}
	s.b.cfg.Log.Debug("session ended", "device", s.who.device, "client", s.who.clientID, "code", e.code, "reason", e.reason)
}

func (s *session) disconnect(e ending) {
	_ = s.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Disconnect},
		ReasonCode:  e.code,
		Properties:  packets.Properties{ReasonString: e.reason},
	})
}

// stalled is called when the peer took nothing for the write time-out.
func (s *session) stalled() { s.b.count.cut.Add(1) }
