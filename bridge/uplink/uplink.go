// Package uplink takes one uplink from raw bytes to stored and answered. Both
// edges, HTTP and MQTT, hand their messages to Service.Submit; nothing else
// writes the uplinks stream.
//
// It does not know how a message arrived beyond its Via, how a refusal is
// spelt on the wire, or who reads the stream.
package uplink

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/trace"
	"m2mbridge/senml"
)

// Via is the edge an uplink came in by; it is stored with it.
type Via string

// The edges.
const (
	HTTP Via = "http"
	MQTT Via = "mqtt"
)

// Message is what an edge received. Body is only read until the verdict is
// given, and must not be changed before.
type Message struct {
	Via      Via
	Remote   string        // address of the peer, for the rejects stream
	Body     []byte        // raw bytes, exactly those that were signed
	Token    string        // message token as sent; meaningful with HasToken
	HasToken bool          // a token was sent, be it empty
	Login    auth.DeviceID // MQTT: the device the connection belongs to
	PathType string        // HTTP: the type of device id the path is for, "IMEI" or "DVNUUID"
}

// Submit takes an uplink through its steps. done is called exactly once with
// the verdict: before Submit returns when the uplink is refused, else from
// another goroutine when its commit is settled, at most a second later. ctx
// bounds the look-up of the device only.
func (s *Service) Submit(ctx context.Context, m *Message, done func(Verdict)) {
	u := s.begin(m)
	if err := s.check(ctx, u); err != nil {
		v := s.refuse(u, err)
		s.end(u)
		done(v)
		return
	}
	s.commit(u, done)
}

// check is every step before the commit: nothing of the pack is stored or
// believed unless all of them pass.
func (s *Service) check(ctx context.Context, u *uplink) error {
	if err := s.decode(u); err != nil {
		return err
	}
	if err := s.identify(u); err != nil {
		return err
	}
	if err := s.verify(ctx, u); err != nil {
		return err
	}
	if err := s.admit(u); err != nil {
		return err
	}
	return s.resolve(u)
}

// uplink is one message on its way; it is pooled.
type uplink struct {
	msg   *Message
	at    time.Time // receipt
	body  []byte    // msg.Body, less trailing NULs where those are forgiven
	id    auth.DeviceID
	pack  senml.Pack
	proof auth.Proof

	token      []byte // hex of proof.Token, in tokenBuf
	tokenBuf   [2 * 32]byte
	normalised []byte
	newest     float64 // newest time of the pack, Unix seconds
	fixesTime  bool    // the pack says when it was taken, so a repeat can be told
	heartbeat  bool    // base fields only: nothing to publish
	ack        string  // id of the downlink that it acknowledges
	spelling   []byte  // the device's base name as it spelled it

	args  args          // of the commit script
	trace trace.Message // for Config.Trace
}

// decode parses the pack and checks each record.
func (s *Service) decode(u *uplink) error {
	u.body = u.msg.Body
	u.pack.Records = u.pack.Records[:0] // those of the uplink before
	if s.cfg.TrailingNUL && u.msg.PathType != "DVNUUID" {
		u.body = trimNUL(u.body)
	}
	if s.cfg.MaxBody > 0 && len(u.body) > s.cfg.MaxBody {
		return refusal(BadPack, "too-large", fmt.Sprintf("the body is over the limit of %d bytes", s.cfg.MaxBody))
	}
	if len(u.body) == 0 {
		return refusal(BadPack, "empty", "the body is empty: a SenML pack is expected")
	}
	if err := u.pack.Decode(u.body, s.cfg.SenML); err != nil {
		return packRefusal(err)
	}
	return nil
}

// admit holds the device to its rate. It comes after verify, so that nobody
// but the device itself can use its budget up.
func (s *Service) admit(u *uplink) error {
	wait := s.limit.take(string(u.id), u.at)
	if wait <= 0 {
		return nil
	}
	r := refusal(RateLimited, "rate-limit", "more uplinks than this device may send")
	r.RetryAfter = wait
	return r
}

// resolve settles names and times, and lays out the form apps get.
func (s *Service) resolve(u *uplink) error {
	if err := u.pack.Resolve(u.at); err != nil {
		return packRefusal(err)
	}
	u.token = hex.AppendEncode(u.tokenBuf[:0], u.proof.Token[:])
	if u.pack.Measurements() == 0 {
		u.heartbeat = true
		return nil
	}
	if s.cfg.Downlinks != nil {
		u.ack = u.acknowledges()
	}
	u.fixesTime = u.pack.FixesTime()
	u.newest = u.pack.Newest()
	u.normalised = u.pack.AppendNormalised(u.normalised[:0])
	return nil
}

// trimNUL drops NUL bytes from the end: a SODAQ sketch counts its string's
// terminator into Content-Length, but not into the token (WIRE.md).
func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}
