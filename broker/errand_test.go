package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// told is what became of an errand.
type told struct {
	delivered bool
	cause     string
}

// errandFor hands a device a downlink, and gives where its outcome is told.
func (e *edge) errandFor(text string) (chan told, bool) {
	m := message(downlinks, text)
	m.Device = imei
	outcome := make(chan told, 2)
	return outcome, e.DeliverDevice(m, func(delivered bool, cause string) { outcome <- told{delivered, cause} })
}

// takes is errandFor where the device's session must take it.
func (e *edge) takes(text string) chan told {
	e.t.Helper()
	outcome, ok := e.errandFor(text)
	if !ok {
		e.t.Fatalf("the device's session does not take %.20q", text)
	}
	return outcome
}

// becomes wants an outcome.
func (e *edge) becomes(outcome chan told, delivered bool, cause string) {
	e.t.Helper()
	if got := receive(e.t, outcome); got.delivered != delivered || !strings.Contains(got.cause, cause) {
		e.t.Errorf("outcome %+v, want %v %q", got, delivered, cause)
	}
}

func TestErrands(t *testing.T) {
	for _, version := range []byte{version311, version5} {
		ready := make(chan auth.DeviceID, 10)
		e := newEdge(t, func(c *Config) { c.Ready = func(id auth.DeviceID) { ready <- id } })
		if _, ok := e.errandFor("1"); ok || e.HasDevice(imei) {
			t.Error("taken for a device that is not there")
		}
		p := e.device(version)
		if _, ok := e.errandFor("1"); ok || e.HasDevice(imei) {
			t.Error("taken for a device that is not subscribed")
		}
		p.subOK(1, downlinks)
		equal(t, "ready", receive(t, ready), imei)
		first, ok := e.errandFor("1")
		if _, second := e.errandFor("2"); !ok || second || !e.HasDevice(imei) {
			t.Errorf("the first is taken: %v, a second beside it: %v", ok, second)
		}
		got := p.next(packets.Publish)
		p.alive()
		nothing(t, first) // nobody's word yet
		p.send(ack(packets.Puback, got.PacketID))
		e.becomes(first, true, "PUBACK")

		again := e.takes("3")
		p.next(packets.Publish)
		_ = p.conn.Close()
		e.becomes(again, false, "session ended")

		p = e.device(version)
		p.subOK(0, downlinks)
		unconfirmed := e.takes("4")
		equal(t, "QoS", p.next(packets.Publish).FixedHeader.Qos, byte(0))
		e.becomes(unconfirmed, true, "QoS 0")
		nothing(t, first)
		nothing(t, again)
	}
}

func TestErrandRefusedByDevice(t *testing.T) {
	e := newEdge(t)
	p := e.device(version5)
	p.subOK(1, downlinks)
	outcome := e.takes("1")
	refusal := ack(packets.Puback, p.next(packets.Publish).PacketID)
	refusal.ReasonCode = 0x99
	p.send(refusal)
	e.becomes(outcome, false, "refused")
	p.alive()
}

func TestErrandNotAcknowledged(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.AckTimeout = 200 * time.Millisecond })
	p := e.device(version5)
	p.subOK(1, downlinks)
	outcome := e.takes("1")
	p.next(packets.Publish)
	p.closed(0x80)
	e.becomes(outcome, false, "no PUBACK")
}
