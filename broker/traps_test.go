package broker

// The traps of TRAPS.md that Mochi lays, and the tests that hold against them.
//
//	what OnPublish returns           TestNothingPublishedIsRouted, TestOutcomes
//	 1 panics on malformed packets   TestMalformedPacketsEndTheirConnectionOnly, FuzzGuard
//	 2 Receive Maximum deadlocks     TestReceiveMaximum, TestMosquittoSubGetsAll
//	 3 one packet id space           TestPacketIDsOfBothDirectionsAreApart, TestSharedSubscriptionLeavesNothingWithIdleMembers
//	 4 slow peers block others       TestSlowSubscriberHoldsNobodyUp, TestTakeOverOfADeadSocket
//	 5 hooks OR-ed, aliases, wills   TestMochiAloneLetsNobodyIn, TestTopicAlias, TestWill, TestForeignWillIsRefused,
//	                                 TestNoLoginReachesAnothersSession, TestUserNameWithNUL
//	 6 no deadline, no size limit    TestConnectDeadline, TestConnectSize, TestPacketSize, TestAcceptErrorsPass, TestKeepAlive
//	 7 no CONNACK, or always 0x86    TestConnackCodes, TestLoginWithoutRedis
//	 8 take-over ends the new one    TestTakeOver, TestEndedSessionsLeaveNothing
//	 9 tokens echoed, all logged     TestTokenIsNotEchoed, TestLogHoldsNoSecrets, TestSysTopics
//	10 CONNACK lacks properties      TestConnackProperties
//	11 68 KB per client              TestIdleConnectionHoldsNoBuffer
//	12 OnPublish holds the reader up TestUplinksInFlightTogether, TestInvalidTopic
//	13 what Paho's suite needs       TestCapabilities

import (
	"net"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMochiAloneLetsNobodyIn(t *testing.T) {
	e := newEdge(t)
	for _, version := range []byte{version311, version5} {
		client, server := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- e.mochi.EstablishConnection("test", server) }()
		p := newPeer(t, client, version)
		p.send(connect(version))
		if err := receive(t, ended); err == nil {
			t.Errorf("v%d: Mochi let a login in", version)
		}
		if pk, err := p.read(); err == nil && pk.ReasonCode == 0 {
			t.Errorf("v%d: got %s code 0", version, packets.PacketNames[pk.FixedHeader.Type])
		}
	}
	cl := e.mochi.NewClient(nil, "test", "x", false)
	if err := e.mochi.InjectPacket(cl, publish("uplinks/IMEI/356726104408422", pack, 0, 0)); err != nil {
		t.Errorf("inject: %v", err)
	}
	if e.mochi.Topics.Retained.Len() > 0 {
		t.Error("Mochi retains")
	}
	h := &hook{cfg: &e.cfg}
	if h.OnACLCheck(cl, "#", false) || h.OnACLCheck(cl, "#", true) {
		t.Error("the hook lets topics pass")
	}
	if _, err := h.OnPublish(cl, publish("a", "", 1, 1)); err != packets.ErrRejectPacket {
		t.Errorf("the hook lets a publish pass: %v", err)
	}
}

func TestCapabilities(t *testing.T) {
	e := newEdge(t)
	c := e.mochi.Options.Capabilities
	equal(t, "compatibilities", c.Compatibilities, mqtt.Compatibilities{
		NoInheritedPropertiesOnAck: true, ObscureNotAuthorized: true, PassiveClientDisconnect: true,
	})
	equal(t, "writes pending", c.MaximumClientWritesPending, int32(1))
	equal(t, "session expiry", c.MaximumSessionExpiryInterval, uint32(0))
	if e.mochi.Options.InlineClient {
		t.Error("an inline client bypasses the ACL")
	}
}

func TestSysTopics(t *testing.T) {
	e := newEdge(t)
	p := e.reader(version5)
	equal(t, "codes", p.sub(0, "$SYS/#", "$SYS/broker/version", "$share/g/$SYS/#"), []byte{0x87, 0x87, 0x87})
	p.subOK(0, "#")
	p.silent()
}

func TestMalformedPacketsEndTheirConnectionOnly(t *testing.T) {
	e := newEdge(t)
	other := e.device(version5, login(imei2.BaseName(), secret))
	for _, c := range []struct {
		name    string
		version byte
		hex     string
		code    byte // of the DISCONNECT; 0: none comes
	}{
		{"v5 SUBSCRIBE without its options byte", version5, "8206" + "0001" + "00" + "000161", 0x81},
		{"v5 SUBSCRIBE whose properties end behind it", version5, "8204" + "0001" + "7f00", 0x81},
		{"v5 PUBLISH whose properties end behind it", version5, "3004" + "0001" + "61" + "7f", 0x81},
		{"v5 UNSUBSCRIBE whose properties end behind it", version5, "a204" + "0001" + "7f00", 0x81},
		{"v5 PUBACK cut", version5, "400100", 0x81},
		{"v5 AUTH", version5, "f0020000", 0x82},
		{"v5 QoS 3", version5, "3605" + "000161" + "0001", 0x81},
		{"v5 length of five bytes", version5, "30ffffffffff", 0x81},
		{"v5 packet identifier 0", version5, "320a" + "0001" + "61" + "0000" + "00" + "61616161", 0x82},
		{"v5 second CONNECT", version5, "100d00044d5154540502003c00000000", 0x82},
		{"v5 PINGREQ with a body", version5, "c00100", 0x82},
		{"v5 PUBREC of nothing", version5, "50020001", 0x82},
		{"v5 CONNACK from a client", version5, "2003000000", 0x82},
		{"v5 subscription identifier 0", version5, "8209" + "0001" + "020b00" + "000161" + "00", 0x82},
		{"v5 no filter", version5, "8203" + "0001" + "00", 0x82},
		{"3.1.1 SUBSCRIBE without its QoS", version311, "8205" + "0001" + "000161", 0},
		{"3.1.1 SUBSCRIBE with reserved flags", version311, "8006" + "0001" + "000161" + "00", 0},
		{"3.1.1 QoS 3", version311, "3605" + "000161" + "0001", 0},
		{"3.1.1 topic that is no UTF-8", version311, "3003" + "0001" + "ff", 0},
		{"3.1.1 reserved type", version311, "0000", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.device(c.version)
			p.hex(c.hex)
			p.closed(c.code)
			other.alive()
			await(t, "the session is gone", func() bool { return e.Stats().Devices == 1 })
		})
	}
}

func TestMalformedConnect(t *testing.T) {
	e := newEdge(t)
	for name, hex := range map[string]string{
		"another packet first":         "c000",
		"properties end behind it":     "100b" + "00044d515454" + "05" + "02" + "003c" + "7f",
		"nothing":                      "1000",
		"will properties end behind":   "1012" + "00044d515454" + "05" + "06" + "003c" + "00" + "000161" + "7f" + "000161",
		"user name flag without name":  "100c" + "00044d515454" + "04" + "82" + "003c" + "0000",
		"garbage":                      "474554202f20485454502f312e310d0a0d0a",
		"client identifier no UTF-8":   "100d" + "00044d515454" + "04" + "02" + "003c" + "0001ff",
		"length that says 256 MiB":     "10ffffff7f",
		"protocol name of another":     "100e" + "00064d5154545454" + "04" + "02" + "003c" + "0000",
		"reserved flag of the CONNECT": "100c" + "00044d515454" + "04" + "03" + "003c" + "0000",
	} {
		t.Run(name, func(t *testing.T) {
			p := e.dial(version311)
			p.hex(hex)
			_ = p.conn.(*net.TCPConn).CloseWrite()
			p.closed(0)
		})
	}
	e.device(version5).alive()
}
