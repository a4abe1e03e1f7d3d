package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// presence is a state as an app gets it.
type presence struct {
	Device, State, Via, Cause string
	Since                     time.Time
}

func presenceOf(t testing.TB, payload string) (p presence) {
	t.Helper()
	if err := json.Unmarshal([]byte(payload), &p); err != nil || p.Since.IsZero() {
		t.Fatalf("presence %s: %v", payload, err)
	}
	return p
}

func presenceTopic(d fleet.Device) string { return "presence/IMEI/" + d.Value() }

// history is what a listener was told of a device, the retained first. What is
// retained may be told once more, by the change that made it so.
func (l *listener) history(d fleet.Device) (list []string) {
	last := message{}
	for _, m := range l.presence(presenceTopic(d)) {
		again := last.retain == "1" && m.payload == last.payload
		if last = m; again {
			continue
		}
		p := presenceOf(l.t, m.payload)
		if p.Device != d.ID {
			l.t.Errorf("%s tells of %s", m.topic, p.Device)
		}
		list = append(list, fmt.Sprintf("%s %s %s", p.State, p.Via, p.Cause))
	}
	return list
}

func (l *listener) awaitHistory(limit time.Duration, d fleet.Device, want ...string) {
	l.t.Helper()
	var got []string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); rest(10 * time.Millisecond) {
		if got = l.history(d); slices.Equal(got, want) {
			return
		}
	}
	l.t.Fatalf("%s was told %q of %s, want %q", l.name, got, d.ID, want)
}

// retained is what an app gets at once that asks for retained messages only.
func (s *site) retained(n *node, version string, a app, filter string) (list []message) {
	s.Helper()
	_, out, errs := runFor(s.T, 10*time.Second, environment(), "", "mosquitto_sub",
		"-h", "127.0.0.1", "-p", n.port("mqtt"), "-V", version, "-u", a.name, "-P", a.key, "-q", "1", "-t", filter,
		"--retained-only", "-W", "1", "-F", "%t\t%r\t%p")
	if strings.Contains(errs, "denied") {
		s.Fatalf("subscribe to %s: %s", filter, errs)
	}
	for line := range strings.Lines(out) {
		if f := strings.SplitN(strings.TrimSpace(line), "\t", 3); len(f) == 3 {
			list = append(list, message{topic: f[0], retain: f[1], payload: f[2]})
		}
	}
	return list
}

// TestPresence: a device comes, goes to another node, and leaves; apps on both
// nodes are told, each change once, and whoever comes later what is.
func TestPresence(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_sub", "mosquitto_pub")
	s := newSite(t)
	first, second := s.serve(), s.serve()
	d, other := s.device(0, nil), s.device(1, nil)
	a, narrow := s.app("dashboard", []string{"uplink.read"}), s.app("narrow", []string{"uplink.read"}, other.ID)
	apps := []*listener{
		s.subscribe(first, v311, a, []string{"presence/#"}), s.subscribe(second, v5, a, []string{"#"}),
		s.subscribe(second, v5, narrow, []string{"presence/#"}),
	}
	one := s.connect(first, v5, d, "a")
	for _, l := range apps[:2] {
		l.awaitHistory(5*time.Second, d, "online mqtt connected")
	}
	two := s.connect(second, v311, d, "b")
	said, took := one.end(5 * time.Second)
	if took > time.Second || len(said) != 1 || said[0].packet != "DISCONNECT" || said[0].code != 0x8e {
		t.Errorf("the older session was told %v and ended after %s", said, took)
	}
	two.publish(1, d.Topic(), pack(d, 0, "t", 1))
	if got := two.hear(5 * time.Second); got.packet != "PUBACK" {
		t.Errorf("the newer session heard %s", got)
	}
	for i, want := range [][]string{{presenceTopic(d)}, {presenceTopic(d)}, nil} {
		app := []app{a, a, narrow}[i]
		filter := []string{"presence/#", "presence/+/" + d.Value(), "presence/#"}[i]
		var got []string
		for _, m := range s.retained(second, []string{v311, v5, v5}[i], app, filter) {
			if got = append(got, m.topic); m.retain != "1" || presenceOf(t, m.payload).State != "online" {
				t.Errorf("%s: %+v", filter, m)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("retained on %s: %v, want %v", filter, got, want)
		}
	}
	_ = two.conn.Close()
	s.post(first, other, pack(other, 0, "t", 1)).accepted(t)
	for _, l := range apps[:2] {
		l.awaitHistory(5*time.Second, d, "online mqtt connected", "online mqtt connected", "offline mqtt connection lost")
		l.awaitHistory(5*time.Second, other, "online http uplink")
	}
	apps[2].awaitHistory(5*time.Second, other, "online http uplink")
	if got := apps[2].history(d); len(got) > 0 {
		t.Errorf("an app of another device was told %q", got)
	}
	if got := apps[1].presence("events/IMEI/" + d.Value() + "/presence"); len(got) != 3 {
		t.Errorf("events: %v", got)
	}
	for _, m := range apps[0].presence(presenceTopic(d)) {
		if m.retain != "0" {
			t.Errorf("a live message is marked as retained: %+v", m)
		}
	}
	s.call(http.MethodDelete, "/v1/devices/"+d.ID, nil, http.StatusNoContent)
	if got := s.retained(second, v5, a, "presence/#"); len(got) != 1 || got[0].topic != presenceTopic(other) {
		t.Errorf("retained after the removal: %v", got)
	}
}

// TestPresenceOfNodes: a node is killed, and another tells; one that is
// stopped tells by itself; and what a killed node left is cleaned up by itself
// where it is alone.
func TestPresenceOfNodes(t *testing.T) {
	slow(t)
	t.Parallel()
	need(t, "mosquitto_sub")
	s := newSite(t)
	first, second := s.serve(), s.serve()
	list := s.devices(0, 3, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	l := s.subscribe(first, v5, a, []string{"presence/#"})
	s.connect(second, v5, list[0], "a")
	moved := s.connect(second, v311, list[1], "a")
	for _, d := range list[:2] {
		l.awaitHistory(5*time.Second, d, "online mqtt connected")
	}
	second.kill()
	_ = moved.conn.Close()
	s.connect(first, v311, list[1], "a")
	l.awaitHistory(20*time.Second, list[0], "online mqtt connected", "offline mqtt node gone")
	l.awaitHistory(time.Second, list[1], "online mqtt connected", "online mqtt connected")

	third := s.serve()
	s.connect(third, v5, list[2], "a")
	l.awaitHistory(5*time.Second, list[2], "online mqtt connected")
	third.stop()
	l.awaitHistory(5*time.Second, list[2], "online mqtt connected", "offline mqtt shutdown")

	first.kill()
	first.again()
	later := s.subscribe(first, v311, a, []string{"presence/+/" + list[1].Value()})
	later.awaitHistory(25*time.Second, list[1], "online mqtt connected", "offline mqtt node gone")
}

// TestPresenceOfFrozenNode: one that hangs so long that it is taken for dead
// tells that it is not.
func TestPresenceOfFrozenNode(t *testing.T) {
	slow(t)
	t.Parallel()
	need(t, "mosquitto_sub")
	s := newSite(t)
	first, second := s.serve(), s.serve()
	d := s.device(0, nil)
	l := s.subscribe(first, v5, s.app("dashboard", []string{"uplink.read"}), []string{"presence/#"})
	w := s.connect(second, v5, d, "a")
	l.awaitHistory(5*time.Second, d, "online mqtt connected")
	if err := second.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.awaitHistory(25*time.Second, d, "online mqtt connected", "offline mqtt node gone")
	if err := second.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.awaitHistory(10*time.Second, d, "online mqtt connected", "offline mqtt node gone", "online mqtt connected")
	w.publish(1, d.Topic(), pack(d, 0, "t", 1))
	if got := w.hear(5 * time.Second); got.packet != "PUBACK" {
		t.Errorf("the session heard %s", got)
	}
}
