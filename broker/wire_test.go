package broker

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// peer is a client that writes and reads single packets.
type peer struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	version byte
}

func (e *edge) dial(version byte) *peer {
	e.t.Helper()
	nc, err := net.Dial("tcp", e.addr)
	if err != nil {
		e.t.Fatalf("dial: %v", err)
	}
	return newPeer(e.t, nc, version)
}

func newPeer(t testing.TB, nc net.Conn, version byte) *peer {
	t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: t, conn: nc, r: bufio.NewReader(nc), version: version}
}

// connect is a CONNECT of a device with its secret.
func connect(version byte, change ...func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		ProtocolVersion: version,
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: "test",
			UsernameFlag: true, Username: []byte(imei.BaseName()), PasswordFlag: true, Password: []byte(secret),
		},
	}
	for _, c := range change {
		c(&pk)
	}
	return pk
}

func login(name, password string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.Username, pk.Connect.Password = []byte(name), []byte(password)
	}
}

func clientID(id string) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Connect.ClientIdentifier = id }
}

// device logs in as imei and takes the CONNACK.
func (e *edge) device(version byte, change ...func(*packets.Packet)) *peer {
	e.t.Helper()
	p := e.dial(version)
	p.send(connect(version, change...))
	if ack := p.next(packets.Connack); ack.ReasonCode != 0 {
		e.t.Fatalf("CONNACK code %#x %q", ack.ReasonCode, ack.Properties.ReasonString)
	}
	return p
}

// reader logs in as an app that may read everything.
func (e *edge) reader(version byte, change ...func(*packets.Packet)) *peer {
	e.t.Helper()
	key := e.app(auth.App{Name: "reader", Scopes: []auth.Scope{auth.ScopeUplinkRead, auth.ScopeDownlinkRead, auth.ScopeRejectRead}})
	return e.device(version, append([]func(*packets.Packet){login("reader", key)}, change...)...)
}

func (p *peer) send(pk packets.Packet) {
	p.t.Helper()
	p.raw(encode(p.t, p.version, pk))
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) hex(s string) {
	p.t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		p.t.Fatal(err)
	}
	p.raw(b)
}

func encode(t testing.TB, version byte, pk packets.Packet) []byte {
	t.Helper()
	if pk.FixedHeader.Type != packets.Connect {
		pk.ProtocolVersion = version
	}
	pk.Mods.AllowResponseInfo = true
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Publish:
		err = pk.PublishEncode(&buf)
	case packets.Puback:
		err = pk.PubackEncode(&buf)
	case packets.Pubrec:
		err = pk.PubrecEncode(&buf)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1
		err = pk.PubrelEncode(&buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	case packets.Pingreq:
		err = pk.PingreqEncode(&buf)
	case packets.Auth:
		err = pk.AuthEncode(&buf)
	default:
		err = errors.New("no such packet")
	}
	if err != nil {
		t.Fatalf("encode %s: %v", packets.PacketNames[pk.FixedHeader.Type], err)
	}
	return buf.Bytes()
}

// read gives the next packet, or the error that ended the connection.
func (p *peer) read() (pk packets.Packet, err error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	first, err := p.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil && first>>4 != packets.Pubrel {
		return pk, err
	}
	n, _, err := packets.DecodeLength(p.r)
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, p.version
	body := make([]byte, n)
	if _, err := io.ReadFull(p.r, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

// next gives the next packet, which must be of the type.
func (p *peer) next(kind byte) packets.Packet {
	p.t.Helper()
	pk, err := p.read()
	if err != nil {
		p.t.Fatalf("want %s: %v", packets.PacketNames[kind], err)
	}
	if pk.FixedHeader.Type != kind {
		p.t.Fatalf("want %s, got %s code %#x %q", packets.PacketNames[kind], packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode, pk.Properties.ReasonString)
	}
	return pk
}

// closed checks that the server ends the connection, with a DISCONNECT of the code before if not 0.
func (p *peer) closed(code byte) {
	p.t.Helper()
	if code != 0 {
		if pk := p.next(packets.Disconnect); pk.ReasonCode != code {
			p.t.Fatalf("DISCONNECT code %#x %q, want %#x", pk.ReasonCode, pk.Properties.ReasonString, code)
		}
	}
	pk, err := p.read()
	var timeout net.Error
	if err == nil {
		p.t.Fatalf("want the end of the connection, got %s code %#x", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode)
	}
	if errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatal("the connection stays open")
	}
}

// silent checks that nothing comes: neither a packet nor the end.
func (p *peer) silent() {
	p.t.Helper()
	p.silentFor(quiet)
}

func (p *peer) silentFor(d time.Duration) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(d))
	b, err := p.r.Peek(1)
	var timeout net.Error
	if err == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		p.t.Fatalf("want silence, got %x %v", b, err)
	}
}

// alive checks that the connection still serves, and that nothing else was sent.
func (p *peer) alive() {
	p.t.Helper()
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	p.next(packets.Pingresp)
}

func publish(topic, payload string, qos byte, id uint16, change ...func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(payload), PacketID: id}
	for _, c := range change {
		c(&pk)
	}
	return pk
}

func tokenProp(values ...string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		for _, v := range values {
			pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: "Things-Message-Token", Val: v})
		}
	}
}

func ack(kind byte, id uint16) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id}
}

func subscribe(id uint16, filters ...packets.Subscription) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: id, Filters: filters}
}

// sub subscribes and returns the codes of the SUBACK.
func (p *peer) sub(qos byte, filters ...string) []byte {
	p.t.Helper()
	pk := subscribe(99)
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	p.send(pk)
	suback := p.next(packets.Suback)
	if suback.PacketID != 99 {
		p.t.Fatalf("SUBACK for %d", suback.PacketID)
	}
	return suback.ReasonCodes
}

// subOK subscribes and checks what is granted.
func (p *peer) subOK(qos byte, filters ...string) {
	p.t.Helper()
	for _, c := range p.sub(qos, filters...) {
		if c != min(qos, 1) {
			p.t.Fatalf("SUBACK code %#x for %q", c, filters)
		}
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
