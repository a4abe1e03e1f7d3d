package broker

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func TestConnackCodes(t *testing.T) {
	e := newEdge(t)
	_, err := e.reg.PutDevice(context.Background(), auth.Device{ID: imei2, Secret: secret, Disabled: true}, auth.Replace)
	if err != nil {
		t.Fatal(err)
	}
	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	will := func(topic string) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte(pack)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*packets.Packet)
		v5     byte // 0xff: closed without one
		v3     byte
	}{
		{"secret", login(imei.BaseName(), secret), 0, 0},
		{"token of the user name", login(imei.BaseName(), auth.Token([]byte(imei.BaseName()), secret)), 0, 0},
		{"token in upper case", login(imei.BaseName(), strings.ToUpper(auth.Token([]byte(imei.BaseName()), secret))), 0, 0},
		{"base name without its colon", login("urn:dev:IMEI:356726104408422", secret), 0, 0},
		{"base name in another case", login("URN:Dev:imei:356726104408422:", secret), 0, 0},
		{"token of the base name as sent", login("URN:dev:imei:356726104408422", auth.Token([]byte("URN:dev:imei:356726104408422"), secret)), 0, 0},
		{"token of another spelling", login("URN:dev:imei:356726104408422", auth.Token([]byte(imei.BaseName()), secret)), 0x86, 4},
		{"wrong secret", login(imei.BaseName(), secret+"x"), 0x86, 4},
		{"secret in another case", login(imei.BaseName(), strings.ToLower(secret)), 0x86, 4},
		{"no password", func(pk *packets.Packet) { pk.Connect.PasswordFlag, pk.Connect.Password = false, nil }, 0x86, 4},
		{"empty password", login(imei.BaseName(), ""), 0x86, 4},
		{"unknown device", login("urn:dev:IMEI:999999999999999:", secret), 0x86, 4},
		{"disabled device", login(imei2.BaseName(), secret), 0x86, 4},
		{"something behind the base name", login(imei.BaseName()+"x", secret), 0x86, 4},
		{"no base name", login("urn:dev:MAC:0024befffe804ff1", secret), 0x86, 4},
		{"app", login("app", key), 0, 0},
		{"app with another's key", login("admin", key), 0x86, 4},
		{"unknown app", login("nobody", key), 0x86, 4},
		{"nobody", func(pk *packets.Packet) {
			pk.Connect.UsernameFlag, pk.Connect.PasswordFlag, pk.Connect.Username, pk.Connect.Password = false, false, nil, nil
		}, 0x87, 5},
		{"empty user name", login("", secret), 0x87, 5},
		{"user name with NUL", login("app\x00", key), 0x81, 0xff},
		{"user name that is no UTF-8", login("app\xff", key), 0x81, 0xff},
		{"3.1", func(pk *packets.Packet) { pk.ProtocolVersion, pk.Connect.ProtocolName = 3, []byte("MQIsdp") }, 1, 1},
		{"MQTT 6", func(pk *packets.Packet) { pk.ProtocolVersion = 6 }, 0x84, 0x84},
		{"MQTT 2", func(pk *packets.Packet) { pk.ProtocolVersion = 2 }, 1, 1},
		{"will to the own topic", will(uplinks), 0, 0},
		{"will to another's topic", will("things/IMEI/356726104408423/uplink"), 0x90, 5},
		{"will to an app's topic", will("uplinks/IMEI/356726104408422"), 0x90, 5},
		{"will of an app", func(pk *packets.Packet) { login("app", key)(pk); will(uplinks)(pk) }, 0x90, 5},
	} {
		for version, want := range map[byte]byte{version5: c.v5, version311: c.v3} {
			p := e.dial(version)
			pk := connect(version, c.change)
			p.send(pk)
			if pk.ProtocolVersion != version && want < 0x80 {
				p.version = version311
			} else if want >= 0x80 {
				p.version = version5
			}
			if want == 0xff {
				p.closed(0)
				continue
			}
			ack := p.next(packets.Connack)
			if ack.ReasonCode != want || ack.SessionPresent {
				t.Errorf("%s: v%d CONNACK %#x %q, want %#x", c.name, version, ack.ReasonCode, ack.Properties.ReasonString, want)
			}
			if want != 0 {
				p.closed(0)
			}
			_ = p.conn.Close()
		}
	}
	seen := map[string]int{}
	for len(e.rejects) > 0 {
		r := <-e.rejects
		seen[r.Reason]++
		if strings.Contains(r.Detail, secret) || r.Remote == "" {
			t.Errorf("reject %+v", r)
		}
	}
	if seen["login"] < 20 || seen["will"] != 6 {
		t.Errorf("rejects %v", seen)
	}
}

func TestUserNameWithNUL(t *testing.T) {
	e := newEdge(t)
	for _, name := range []string{imei.BaseName() + "\x00", "\x00", "urn:dev:\x00", "a\xc3"} {
		p := e.dial(version5)
		p.send(connect(version5, login(name, secret)))
		if ack := p.next(packets.Connack); ack.ReasonCode != 0x81 {
			t.Errorf("%q: CONNACK %#x", name, ack.ReasonCode)
		}
		p.closed(0)
		r := receive(t, e.rejects)
		if strings.ContainsAny(r.App, "\x00") {
			t.Errorf("reject names %q", r.App)
		}
	}
}

func TestConnackProperties(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.ReceiveMaximum, c.MaxPacket, c.MaxKeepAlive = 17, 5000, time.Hour })
	p := e.dial(version5)
	p.send(connect(version5, clientID(""), func(pk *packets.Packet) {
		pk.Connect.Keepalive = 0
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
	}))
	got := p.next(packets.Connack).Properties
	want := packets.Properties{
		AssignedClientID: string(imei), ReceiveMaximum: 17, MaximumPacketSize: 5000, TopicAliasMaximum: topicAliases,
		ServerKeepAlive: 3600, ServerKeepAliveFlag: true, SessionExpiryIntervalFlag: true,
	}
	equal(t, "properties", got, want)

	p = e.dial(version5)
	p.send(connect(version5))
	want = packets.Properties{ReceiveMaximum: 17, MaximumPacketSize: 5000, TopicAliasMaximum: topicAliases}
	equal(t, "properties", p.next(packets.Connack).Properties, want)

	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	ids := map[string]bool{}
	for range 2 {
		p := e.dial(version5)
		p.send(connect(version5, login("app", key), clientID("")))
		ids[p.next(packets.Connack).Properties.AssignedClientID] = true
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("assigned %v", ids)
	}
	if s := e.Stats(); s.Apps != 2 {
		t.Errorf("%d sessions of apps", s.Apps)
	}
}

func TestClientIdentifier311(t *testing.T) {
	e := newEdge(t)
	p := e.dial(version311)
	p.send(connect(version311, clientID(""), func(pk *packets.Packet) { pk.Connect.Clean = false }))
	if ack := p.next(packets.Connack); ack.ReasonCode != 2 {
		t.Errorf("CONNACK %d", ack.ReasonCode)
	}
	p.closed(0)
	e.device(version311, clientID("")).alive()
	e.device(version311, func(pk *packets.Packet) { pk.Connect.Clean = false }).alive()
}

func TestEnhancedAuthenticationIsRefused(t *testing.T) {
	e := newEdge(t)
	p := e.dial(version5)
	p.send(connect(version5, func(pk *packets.Packet) { pk.Properties.AuthenticationMethod = "SCRAM-SHA-256" }))
	if ack := p.next(packets.Connack); ack.ReasonCode != 0x8c {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
}

func TestLoginWithoutRedis(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.LoginTimeout = 300 * time.Millisecond })
	e.redis.Kill()
	for version, want := range map[byte]byte{version5: 0x88, version311: 3} {
		p := e.dial(version)
		p.send(connect(version, login("urn:dev:IMEI:111111111111111:", secret)))
		if ack := p.next(packets.Connack); ack.ReasonCode != want {
			t.Errorf("v%d: CONNACK %#x, want %#x", version, ack.ReasonCode, want)
		}
		p.closed(0)
	}
	nothing(t, e.rejects)
}

func TestConnectDeadline(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.ConnectTimeout = 200 * time.Millisecond })
	silent := e.dial(version5)
	slow := e.dial(version5)
	slow.raw([]byte{0x10, 100, 0, 4, 'M'})
	since := time.Now()
	silent.closed(0)
	slow.closed(0)
	if d := time.Since(since); d > 2*time.Second {
		t.Errorf("closed after %v", d)
	}
	logged := e.device(version5)
	await(t, "only the login counts", func() bool { s := e.Stats(); return s.Connections == 1 && s.Unauthorised == 0 })
	silent = e.dial(version5)
	silent.closed(0) // a connect time-out later,
	logged.alive()   // the login stays
}

func TestConnectSize(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxConnect = 1000 })
	p := e.dial(version5)
	p.raw([]byte{0x10, 0xe9, 0x07}) // 1001 bytes to come: it is not waited for
	p.closed(0)
	p = e.dial(version5)
	p.send(connect(version5, func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks, bytes.Repeat([]byte("x"), 1000)
	}))
	p.closed(0)
	e.device(version5).alive()
}

func TestKeepAlive(t *testing.T) {
	e := newEdge(t)
	for _, version := range []byte{version311, version5} {
		start := time.Now()
		p := e.device(version, func(pk *packets.Packet) { pk.Connect.Keepalive = 1 })
		p.alive()
		code := byte(0x8d)
		if version == version311 {
			code = 0
		}
		p.closed(code)
		if d := time.Since(start); d < 1500*time.Millisecond || d > 3*time.Second {
			t.Errorf("v%d: cut after %v", version, d)
		}
		// Mochi's arithmetic overflows above 43 690 s, and cuts at once.
		p = e.device(version, func(pk *packets.Packet) { pk.Connect.Keepalive = 65535 })
		p.silent()
		p.alive()
		p = e.device(version, func(pk *packets.Packet) { pk.Connect.Keepalive = 0 })
		p.silent()
		p.alive()
	}
}

func TestNoLoginReachesAnothersSession(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "one", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	key2 := e.app(auth.App{Name: "two", Scopes: []auth.Scope{auth.ScopeUplinkRead}})
	// Whatever names they give, these are all different sessions.
	peers := []*peer{
		e.device(version5, clientID(string(imei2))),
		e.device(version5, login(imei2.BaseName(), secret), clientID(string(imei))),
		e.device(version5, login("one", key), clientID(string(imei))),
		e.device(version5, login("one", key), clientID("one")),
		e.device(version5, login("one", key), clientID("two")),
		e.device(version5, login("two", key2), clientID("two")),
		e.device(version5, login("two", key2), clientID("one")),
	}
	for _, p := range peers {
		p.alive()
	}
	if s := e.Stats(); s.Devices != 2 || s.Apps != 5 || s.TakenOver != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestSessionsOfAnAppAreBounded(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.MaxPerApp = 2 })
	admin := login("admin", "the admin's own key")
	first := e.device(version5, admin, clientID("1"))
	e.device(version5, admin, clientID("2"))
	for version, want := range map[byte]byte{version5: 0x97, version311: 3} {
		p := e.dial(version)
		p.send(connect(version, admin, clientID("3")))
		if ack := p.next(packets.Connack); ack.ReasonCode != want {
			t.Errorf("v%d: CONNACK %#x, want %#x", version, ack.ReasonCode, want)
		}
		equal(t, "reject", receive(t, e.rejects).App, "admin")
	}
	e.device(version5, admin, clientID("2")).alive() // instead of the one before
	e.reader(version5).alive()                       // another app
	e.device(version5).alive()                       // a device
	_ = first.conn.Close()
	await(t, "one has left", func() bool { return e.Stats().Apps == 2 })
	e.device(version5, admin, clientID("3")).alive()
}
