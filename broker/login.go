package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// refused is a login that is answered with a CONNACK code, or closed without one.
type refused struct {
	code   byte // MQTT 5's; 0: the connection is just closed
	reason string
	kind   string // for Config.Reject; "": it is not told
}

// identity is who logged in.
type identity struct {
	device   auth.DeviceID // "" for an app
	proof    auth.Proof
	app      *auth.App
	clientID string // as the client gave it, or as assigned
	assigned bool
	changes  uint64 // of the registry, counted before it was asked
}

// until is when the secret or key ends that was used; zero: it has no end.
func (who *identity) until() time.Time {
	if who.app != nil {
		return who.app.Until()
	}
	return who.proof.Until()
}

// login takes a connection from CONNECT to its session: nil when there is none.
func (b *Broker) login(f *front, c *conn) *session {
	cl := b.mochi.NewClient(c, string(f.kind), "", false)
	_ = c.SetReadDeadline(c.link.deadline)
	pk, err := b.readConnect(cl)
	if err != nil {
		b.cfg.Log.Debug("connection without login", "remote", cl.Net.Remote, "error", err)
		_ = c.Close()
		return nil
	}
	who, will, no := b.admit(cl, &pk)
	if no != nil {
		b.refuse(c, cl, &pk, no)
		return nil
	}
	s := newSession(b, f, c, cl, who, will)
	present := false
	if who.app != nil {
		defer b.logins.one(s.key())() // of the same client, until it is known
		if present, no = s.open(&pk); no != nil {
			b.refuse(c, cl, &pk, no)
			s.end(endGoodbye)
			return nil
		}
	}
	c.link.authorised()        // until then it is one of those that wait, and go first
	b.welcome(s, &pk, present) // before anybody can write to it
	if !f.owns(c, s) {
		s.end(endLost)
		_ = c.Close()
		return nil
	}
	if old := b.sessions.put(s); old != nil {
		b.count.takenOver.Add(1)
		old.end(endTakenOver) // [MQTT-3.1.4-3]
	}
	if who.app != nil {
		s.hold(false)
	}
	c.flush()
	if b.changes.count() != who.changes {
		b.changed(s.change()) // it may have been changed between the check and the session
	}
	return s
}

// readConnect reads the first packet, which must be a CONNECT of bounded size.
func (b *Broker) readConnect(cl *mqtt.Client) (pk packets.Packet, err error) {
	var fh packets.FixedHeader
	if err := cl.ReadFixedHeader(&fh); err != nil {
		return pk, err
	}
	if fh.Type != packets.Connect { // [MQTT-3.1.0-1]
		return pk, packets.ErrProtocolViolationRequireFirstConnect
	}
	if fh.Remaining > b.cfg.MaxConnect {
		return pk, packets.ErrPacketTooLarge
	}
	return b.decode(cl, &fh)
}

// admit checks, identifies and verifies a CONNECT.
func (b *Broker) admit(cl *mqtt.Client, pk *packets.Packet) (identity, *Uplink, *refused) {
	cl.ParseConnect(cl.Net.Listener, *pk)
	if no := checkConnect(pk); no != nil {
		return identity{}, nil, no
	}
	who, no := b.identify(pk)
	if no != nil {
		return who, nil, no
	}
	if no := b.verify(&who, pk); no != nil {
		return who, nil, no
	}
	will, no := readWill(who, pk, cl.Net.Remote)
	return who, will, no
}

// maxClientID bounds what names a session wherever it is kept. Every server
// takes 23 bytes [MQTT-3.1.3-5].
const maxClientID = 256

// checkConnect is what the specification says of a CONNECT alone.
func checkConnect(pk *packets.Packet) *refused {
	name, connect := string(pk.Connect.ProtocolName), &pk.Connect
	if name == "MQTT" && pk.ProtocolVersion != version311 && pk.ProtocolVersion != version5 || name == "MQIsdp" {
		return &refused{code: codeVersion, reason: "MQTT 3.1.1 and 5 are spoken here"} // [MQTT-3.1.2-2]
	}
	if len(connect.Password) == 0 {
		connect.PasswordFlag = false // none at all is what Mochi takes for an empty one, which is a wrong password like any other
	}
	if c := pk.ConnectValidate(); c != packets.CodeSuccess && c != packets.ErrProtocolViolationWillFlagNoPayload {
		return &refused{code: c.Code, reason: c.Reason}
	}
	switch {
	case connect.WillQos > 2: // [MQTT-3.1.2-12]
		return &refused{code: codeProtocolError, reason: "will QoS 3"}
	case !utf8.Valid(connect.Username) || strings.IndexByte(string(connect.Username), 0) >= 0: // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
		return &refused{code: codeMalformed, reason: "user name is not UTF-8 without NUL", kind: "login"}
	case pk.Properties.AuthenticationMethod != "": // MQTT 5 §4.12
		return &refused{code: codeAuthMethod, reason: "no enhanced authentication here"}
	case pk.ProtocolVersion == version311 && connect.ClientIdentifier == "" && !connect.Clean: // [MQTT-3.1.3-8]
		return &refused{code: codeClientID, reason: "a session to keep needs a client identifier"}
	case len(connect.ClientIdentifier) > maxClientID:
		return &refused{code: codeClientID, reason: fmt.Sprintf("a client identifier has at most %d bytes", maxClientID), kind: "login"}
	case !connect.UsernameFlag || len(connect.Username) == 0:
		return &refused{code: codeNotAuthorized, reason: "a user name is needed", kind: "login"}
	}
	return nil
}

// identify tells devices from apps: a device's user name is its base name.
func (b *Broker) identify(pk *packets.Packet) (identity, *refused) {
	who := identity{clientID: pk.Connect.ClientIdentifier, changes: b.changes.count()}
	const scheme = "urn:dev:"
	name := pk.Connect.Username
	if len(name) >= len(scheme) && strings.EqualFold(string(name[:len(scheme)]), scheme) {
		id, rest, err := auth.ParseBaseName(name)
		if err != nil || len(rest) > 0 {
			return who, &refused{code: codeBadLogin, reason: "user name is not a base name", kind: "login"}
		}
		who.device = id
	}
	if who.clientID == "" {
		who.assigned = true
		if who.clientID = string(who.device); who.device == "" {
			who.clientID = randomID()
		}
	}
	return who, nil
}

// verify asks the registry. Unknown, wrong and disabled are one answer.
func (b *Broker) verify(who *identity, pk *packets.Packet) *refused {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.LoginTimeout)
	defer cancel()
	name, password := string(pk.Connect.Username), string(pk.Connect.Password)
	var err error
	if who.device != "" {
		who.proof, err = b.cfg.Registry.VerifyLogin(ctx, who.device, name, password)
	} else {
		who.app, err = b.cfg.Registry.AppLogin(ctx, name, password)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrDamaged): // 503 rather than a wrong password: it may be right again once somebody has seen to it
		return &refused{code: codeUnavailable, reason: "the device cannot be verified: its record in the registry is damaged"}
	case unsure(err) || ctx.Err() != nil:
		return &refused{code: codeUnavailable, reason: "the registry cannot be asked, try again"}
	}
	return &refused{code: codeBadLogin, reason: "bad user name or password", kind: "login"}
}

// unsure reports whether err says nothing about who was asked for.
func unsure(err error) bool {
	return errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrBusy) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// readWill takes a device's will as the uplink that it will be. Its retain flag
// and delay mean nothing here: no uplink is retained, and a session ends with
// its connection, whereupon a will is due (MQTT 5 §3.1.3.2.2).
func readWill(who identity, pk *packets.Packet, remote string) (*Uplink, *refused) {
	if !pk.Connect.WillFlag {
		return nil, nil
	}
	levelToken, hasLevel, ok := uplinkTopic(who.device, pk.Connect.WillTopic)
	if !ok || who.device == "" {
		return nil, &refused{code: codeTopicInvalid, reason: "a will is an uplink: only the device's own uplink topic is taken", kind: "will"}
	}
	token, has, no := oneToken(pk.Connect.WillProperties.User, levelToken, hasLevel)
	if no != "" {
		return nil, &refused{code: codeNotAuthorized, reason: "will: " + no, kind: "will"}
	}
	return &Uplink{Device: who.device, Payload: pk.Connect.WillPayload, Token: token, HasToken: has, Remote: remote, Will: true}, nil
}

// keepAliveOf is the client's, or for MQTT 5 at most the greatest allowed, and whether it must be told.
func (b *Broker) keepAliveOf(pk *packets.Packet) (d time.Duration, told bool) {
	d = time.Duration(pk.Connect.Keepalive) * time.Second
	longest := min(b.cfg.MaxKeepAlive.Truncate(time.Second), 65535*time.Second)
	if pk.ProtocolVersion == version5 && (d == 0 || d > longest) {
		return longest, true
	}
	return d, false
}
