package e2e_test

import (
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// TestSIGTERMUnderLoad: an orderly stop in the middle of everything ends with
// exit code 0, and all that was acknowledged is stored.
func TestSIGTERMUnderLoad(t *testing.T) {
	slow(t)
	s := newSite(t, redistest.AppendOnly())
	n := s.serve()
	s.devices(0, fleetSize, nil)
	fleets := s.startFleets(n, n)
	for range 3 {
		fleets.acknowledged(100)
		start := time.Now()
		n.stop() // fails the test unless it is orderly
		if took := time.Since(start); took > orderly {
			t.Errorf("it took %s to stop: something waited in vain", took)
		}
		n.again()
	}
	fleets.acknowledged(100)
	n.stop()
	fleets.stop()
	fleets.hold(s.numbered())
}

// orderly is how long a stop may take: less than the grace of requests in
// flight, so that one which is never answered is noticed.
const orderly = 4 * time.Second

// TestSIGKILLUnderLoad: the same when it has no time for anything.
func TestSIGKILLUnderLoad(t *testing.T) {
	slow(t)
	s := newSite(t, redistest.AppendOnly())
	n := s.serve()
	s.devices(0, fleetSize, nil)
	fleets := s.startFleets(n, n)
	for range 3 {
		fleets.acknowledged(100)
		n.kill()
		n.again()
	}
	fleets.acknowledged(100)
	n.kill()
	fleets.stop()
	fleets.hold(s.numbered())
	if fleets.repeats() == 0 {
		t.Error("no message was sent twice: the kills met nothing")
	}
}

// TestStopWithoutRedis: nothing that is away keeps it from stopping.
func TestStopWithoutRedis(t *testing.T) {
	slow(t)
	for _, f := range faults[:2] {
		t.Run(f.name, func(t *testing.T) {
			s := newSite(t)
			n := s.serve()
			d := s.device(0, nil)
			s.connect(n, v5, d, "idle")
			f.begin(s.redis)
			n.stop()
		})
	}
}
