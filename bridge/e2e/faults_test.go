package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/fleet"
)

// fault is something that ails Redis; it is over when end returns.
type fault struct {
	name       string
	begin, end func(*redistest.Server)
	reason     string // in what /readyz says
}

func command(args ...any) func(*redistest.Server) {
	return func(s *redistest.Server) {
		if err := s.Client().Do(context.Background(), args...).Err(); err != nil {
			panic(fmt.Sprintf("%v: %v", args, err)) // the test is wrong
		}
	}
}

var faults = []fault{
	{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart, "cannot be reached"},
	{"stopped", (*redistest.Server).Stop, (*redistest.Server).Cont, "cannot be reached"},
	{"out of memory", command("CONFIG", "SET", "maxmemory", "1"), command("CONFIG", "SET", "maxmemory", "0"), "out of memory"},
	{"read-only", command("REPLICAOF", "127.0.0.1", "1"), command("REPLICAOF", "NO", "ONE"), "read-only"},
}

// TestFaults: devices on both edges send through a fault of Redis, from before
// it to after it. They are told within a second; what was acknowledged is
// stored, once; service resumes by itself.
func TestFaults(t *testing.T) {
	need(t, "curl", "mosquitto_pub")
	slow(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := newSite(t, redistest.AppendOnly())
			n := s.serve()
			s.through(n, f.reason, func() { f.begin(s.redis) }, func() { f.end(s.redis) })
		})
	}
}

// through sends through a fault.
func (s *site) through(n *node, reason string, begin, end func()) {
	s.Helper()
	probers, stop := s.probe(n)
	asleep, idle := s.device(98, nil), s.device(99, nil) // have not been heard of: nothing of them is in any cache
	s.ready(n, "")
	all(s.T, probers, "acknowledged", 5, acked)
	begin()
	all(s.T, probers[:2], "answered 503", 3, refused)
	eventually(s.T, 5*time.Second, "MQTT connections are closed", func() bool { return refused(probers[2]) > 0 && refused(probers[3]) > 0 })
	s.unavailable(n, probers[0].d)
	s.notTaken(n, idle)
	if r := s.post(n, asleep, pack(asleep, 0, "t", 1)); r.status != 503 || r.took > answerLimit {
		s.Errorf("an unheard-of device: status %d after %s", r.status, r.took)
	}
	s.ready(n, reason)
	end()
	all(s.T, probers, "acknowledged", 5, acked)
	s.ready(n, "")
	stop()
	s.settle(probers)
	s.quiet(n)
}

// quiet wants the log to tell of a fault once, not at each message.
func (s *site) quiet(n *node) {
	s.Helper()
	told := 0
	for line := range strings.Lines(n.out.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			told++
		}
	}
	if told > 60 {
		s.Errorf("the log of one fault has %d lines", told)
	}
}

// unavailable wants what DESIGN says of a Redis that cannot store, as curl sees it.
func (s *site) unavailable(n *node, d fleet.Device) {
	s.Helper()
	r := s.post(n, d, pack(d, 1600000000, "t", 1))
	if r.status != 503 || r.field("Retry-After") == "" || r.took > answerLimit {
		s.Errorf("status %d, Retry-After %q after %s", r.status, r.field("Retry-After"), r.took)
	}
	refusedOnOneLine(s.T, r)
}

// notTaken wants mosquitto_pub to know that its message was not taken.
func (s *site) notTaken(n *node, d fleet.Device) {
	s.Helper()
	for _, version := range []string{v311, v5} {
		start := time.Now()
		code, said := s.publish(n, version, d, d.Topic(), pack(d, 0, "t", 1), "-q", "1")
		if code == 0 || time.Since(start) > 2*answerLimit { // login and publish
			s.Errorf("mosquitto_pub %s: exit code %d after %s: %s", version, code, time.Since(start), said)
		}
	}
}

// ready wants /readyz to say 503 with a reason, or 200 when reason is "".
func (s *site) ready(n *node, reason string) {
	s.Helper()
	if reason == "" { // it may take a moment
		eventually(s.T, 10*time.Second, "/readyz says that all is well", func() bool {
			return curl(s.T, "http://"+n.addr("api")+"/readyz").status == 200
		})
		return
	}
	r := curl(s.T, "http://"+n.addr("api")+"/readyz")
	var said struct{ Status, Reason string }
	if err := json.Unmarshal([]byte(r.body), &said); err != nil || r.status != 503 || !strings.Contains(said.Reason, reason) {
		s.Errorf("/readyz: status %d after %s, want 503 and %q: %s", r.status, r.took, reason, r.body)
	}
	if live := curl(s.T, "http://"+n.addr("api")+"/livez"); live.status != 200 {
		s.Errorf("/livez: status %d", live.status)
	}
}

// TestRestart: a Redis that is restarted again and again, data and all.
func TestRestart(t *testing.T) {
	slow(t)
	s := newSite(t, redistest.AppendOnly())
	n := s.serve()
	probers, stop := s.probe(n)
	for range 3 {
		all(t, probers, "acknowledged", 5, acked)
		s.redis.Restart()
	}
	all(t, probers, "acknowledged", 5, acked)
	stop()
	s.settle(probers)
}

// TestSlowRedis: replies that come late. A little late is fine; too late is a 503.
func TestSlowRedis(t *testing.T) {
	need(t, "curl", "mosquitto_pub")
	slow(t)
	s := newSite(t, redistest.AppendOnly())
	p := between(t, s.redis)
	n := s.serveOn(p.url())
	d := s.device(0, nil)
	s.post(n, d, pack(d, 0, "t", 1)).accepted(t)
	p.delay.Store(int64(100 * time.Millisecond))
	r := s.post(n, d, pack(d, 0, "t", 2))
	r.accepted(t)
	if r.took < 100*time.Millisecond {
		t.Errorf("answered after %s: nothing was slow", r.took)
	}
	p.delay.Store(0)
	s.through(n, "cannot be reached", func() { p.delay.Store(int64(3 * time.Second)) }, func() { p.delay.Store(0) })
}
