package broker

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	idle := e.device(version311, login(imei2.BaseName(), secret))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	h := receive(t, c)
	ended := make(chan error, 1)
	go func() { ended <- e.Shutdown(t.Context()) }()
	idle.closed(0)
	p.silent()
	nothing(t, ended)
	h.done(Outcome{})
	if a := p.next(packets.Puback); a.PacketID != 1 {
		t.Errorf("PUBACK %d", a.PacketID)
	}
	p.closed(0x8b)
	if err := receive(t, ended); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if s := e.Stats(); s.Connections != 0 || s.Devices != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	c := make(chan held, 10)
	e := newEdge(t, hold(c))
	p := e.device(version5)
	p.send(publish(uplinks, pack, 1, 1))
	h := receive(t, c)
	start := time.Now()
	_ = e.dial(version5) // before login
	ctx, cancel := contextWith(200 * time.Millisecond)
	defer cancel()
	if err := e.Shutdown(ctx); err == nil {
		t.Error("shutdown tells nothing of its time-out")
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("shutdown took %v", d)
	}
	h.done(Outcome{})
}
