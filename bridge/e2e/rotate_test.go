package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// busy is a device that sends over HTTP, to each of some nodes, all the time.
type busy struct {
	s       *site
	secret  atomic.Pointer[fleet.Device] // with the secret that it uses
	sent    atomic.Int64
	refused atomic.Int64
	quit    chan struct{}
	ended   sync.WaitGroup
}

func (s *site) busy(d fleet.Device, nodes ...*node) *busy {
	b := &busy{s: s, quit: make(chan struct{})}
	b.secret.Store(&d)
	for _, n := range nodes {
		b.ended.Go(func() { b.run(n) })
	}
	s.Cleanup(b.stop)
	return b
}

func (b *busy) run(n *node) {
	for {
		select {
		case <-b.quit:
			return
		default:
		}
		d := *b.secret.Load()
		if status := b.s.postQuickly(n, d, pack(d, 0, "busy", 1)); status == http.StatusOK {
			b.sent.Add(1)
		} else {
			b.refused.Add(1)
		}
	}
}

// more wants so many further messages to be taken, and none to be refused.
func (b *busy) more(what string, n int64) {
	b.s.Helper()
	from := b.sent.Load()
	eventually(b.s.T, 20*time.Second, what, func() bool { return b.sent.Load() >= from+n || b.refused.Load() > 0 })
	if got := b.refused.Load(); got > 0 {
		b.s.Fatalf("%s: %d messages were refused", what, got)
	}
}

func (b *busy) stop() {
	select {
	case <-b.quit:
	default:
		close(b.quit)
	}
	b.ended.Wait()
}

// renewed is the device with another secret, which it is given on a node.
func (s *site) renewed(n *node, d fleet.Device, rotation map[string]any) fleet.Device {
	s.Helper()
	next := fleet.Device{ID: d.ID, Secret: s.confide(d.Secret[1:]+d.Secret[:1], "a new secret")}
	rotation["secret"] = next.Secret
	if status, answer := s.ask(n, http.MethodPost, "/v1/devices/"+d.ID+"/secrets", rotation); status != http.StatusCreated || strings.Contains(string(answer), next.Secret) {
		s.Fatalf("rotate: status %d: %s", status, answer)
	}
	return next
}

// refusedWithin wants each node to refuse the device's secret soon.
func (s *site) refusedWithin(limit time.Duration, d fleet.Device, nodes ...*node) {
	s.Helper()
	began := time.Now()
	for i, n := range nodes {
		eventually(s.T, limit-time.Since(began), fmt.Sprintf("node %d refuses the secret", i), func() bool {
			return s.postQuickly(n, d, pack(d, 0, "late", 1)) == http.StatusForbidden
		})
	}
	s.Logf("refused everywhere after %s", time.Since(began).Round(time.Millisecond))
}

// TestRotationWhileSending: a device's secret is rotated while it sends to two
// nodes and is connected to one. Nothing is refused with either secret, until
// the old one is revoked, which ends it on both nodes, and the session that was
// opened with it, within a second.
func TestRotationWhileSending(t *testing.T) {
	s := newSite(t)
	one, two := s.serve(), s.serve()
	old := s.device(0, nil)
	sender := s.busy(old, one, two)
	sender.more("with the old secret", 20)
	session := s.connect(two, v311, old, "a")
	publish := func(w *wire, d fleet.Device, id uint16) {
		t.Helper()
		w.publish(id, d.Topic(), pack(d, 0, "mqtt", id))
		if got := w.hear(5 * time.Second); got != (heard{"PUBACK", id, 0}) {
			t.Errorf("message %d over MQTT: %s", id, got)
		}
	}
	publish(session, old, 1)
	next := s.renewed(one, old, map[string]any{"window": "1h"})
	sender.more("with the old secret in the window", 50)
	publish(session, old, 2)
	sender.secret.Store(&next)
	sender.more("with the new secret in the window", 50)
	publish(session, old, 3)
	s.call(http.MethodDelete, "/v1/devices/"+old.ID+"/secrets/old", nil, http.StatusOK)
	revoked := time.Now()
	s.refusedWithin(revokeLimit, old, one, two)
	session.end(revokeLimit - time.Since(revoked))
	t.Logf("the session of the old secret lived for %s", time.Since(revoked).Round(time.Millisecond))
	sender.more("with the new secret when the old one has ended", 50)
	publish(s.connect(two, v5, next, "b"), next, 4)
	sender.stop()
	if got := sender.refused.Load(); got > 0 {
		t.Errorf("%d messages were refused", got)
	}
}

// TestRotationByNumber: the old secret ends when the device has sent 20 messages
// with the new one, over either way and to either node.
func TestRotationByNumber(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := s.serve(), s.serve()
	old := s.device(0, nil)
	next := s.renewed(one, old, map[string]any{"window": "1h", "after": 20})
	w := s.connect(two, v311, next, "a") // a login is a use too
	send := func(i int) {
		t.Helper()
		if i%2 == 0 {
			s.mustTake(one, next, i)
			return
		}
		w.publish(uint16(i), next.Topic(), pack(next, 0, "mqtt", i))
		if got := w.hear(5 * time.Second); got != (heard{"PUBACK", uint16(i), 0}) {
			t.Fatalf("message %d: %s", i, got)
		}
	}
	for i := 1; i <= 10; i++ {
		send(i)
	}
	s.mustTake(one, old, 100)
	s.mustTake(two, old, 101)
	if got := s.secretsOf(old); got != 2 {
		t.Fatalf("%d secrets after 10 messages, want 2", got)
	}
	for i := 11; i <= 60 && s.secretsOf(old) > 1; i++ {
		send(i)
	}
	eventually(t, 5*time.Second, "the old secret has ended", func() bool { return s.secretsOf(old) == 1 })
	s.refusedWithin(revokeLimit, old, one, two)
	s.mustTake(two, next, 102)
}

// mustTake sends a message over HTTP that is taken.
func (s *site) mustTake(n *node, d fleet.Device, number int) {
	s.Helper()
	if status := s.postQuickly(n, d, pack(d, 0, "n", number)); status != http.StatusOK {
		s.Fatalf("message %d: status %d", number, status)
	}
}

// secretsOf is how many secrets of a device are active.
func (s *site) secretsOf(d fleet.Device) int {
	s.Helper()
	var got struct{ Secrets int }
	if err := json.Unmarshal(s.call(http.MethodGet, "/v1/devices/"+d.ID, nil, http.StatusOK), &got); err != nil {
		s.Fatal(err)
	}
	return got.Secrets
}

// TestWindowEnds: when the window of a rotation is over, the old secret is
// refused, and the session that was opened with it is cut, not before.
func TestWindowEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := s.serve(), s.serve()
	old := s.device(0, nil)
	for i, version := range []string{v5, v311} {
		w := s.connect(two, version, old, "a")
		const window = 2 * time.Second
		began := time.Now()
		next := s.renewed(one, old, map[string]any{"window": window.String()})
		told := time.Now()
		w.end(window + revokeLimit)
		if took := time.Since(began); took < window {
			t.Errorf("%s: cut %s after the rotation, before its window ended", version, took)
		} else if late := time.Since(told) - window; late > revokeLimit {
			t.Errorf("%s: cut %s after the window", version, late)
		}
		s.refusedWithin(revokeLimit, old, one, two)
		s.mustTake(one, next, i)
		old = next
	}
}

// followLive opens the live stream with a key; the channel is closed at its end.
func (s *site) followLive(n *node, key string) (ended <-chan struct{}) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "http://"+n.addr("api")+"/v1/live", nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("live: %v, %v", resp, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = resp.Body.Close() }()
		for r := bufio.NewScanner(resp.Body); r.Scan(); {
		}
	}()
	return done
}

// TestAppKeyRotation: both keys are valid on both nodes until the window ends,
// which cuts what was opened with the old one, and nothing else.
func TestAppKeyRotation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := s.serve(), s.serve()
	old := s.app("dashboard", []string{"uplink.read"})
	oldSession, oldLive := s.open(one, login{app: old, clientID: "old", clean: true}), s.followLive(two, old.key)
	const window = 3 * time.Second
	began := time.Now()
	var rotated struct{ Key string }
	if err := json.Unmarshal(s.call(http.MethodPost, "/v1/apps/dashboard/key", map[string]any{"window": window.String()}, http.StatusCreated), &rotated); err != nil {
		t.Fatal(err)
	}
	told := time.Now()
	next := app{old.name, s.confide(rotated.Key, "a new key")}
	for i, n := range []*node{one, two} {
		for _, a := range []app{old, next} {
			eventually(t, window/2, "both keys are taken", func() bool { return s.askAs(n, a, "/v1/uplinks") == http.StatusOK })
			s.open(n, login{app: a, clientID: fmt.Sprint("brief", i, a.key[:4]), clean: true}).leave()
		}
	}
	newSession, newLive := s.open(two, login{app: next, clientID: "new", clean: true}), s.followLive(one, next.key)
	if time.Since(began) > window {
		t.Skip("the machine is too slow to look into the window")
	}
	oldSession.ended(time.Until(told.Add(window + revokeLimit)))
	if took := time.Since(began); took < window {
		t.Errorf("the session of the old key was cut after %s, within the window", took)
	}
	select {
	case <-oldLive:
	case <-time.After(time.Until(told.Add(window + revokeLimit))):
		t.Error("the live stream of the old key goes on")
	}
	for _, n := range []*node{one, two} {
		eventually(t, revokeLimit, "the old key is refused", func() bool { return s.askAs(n, old, "/v1/uplinks") == http.StatusUnauthorized })
		if got := s.askAs(n, next, "/v1/uplinks"); got != http.StatusOK {
			t.Errorf("the new key: status %d", got)
		}
	}
	d := s.device(0, nil)
	newSession.mustSubscribe("uplinks/#")
	s.mustTake(two, d, 1)
	if _, err := newSession.take(5 * time.Second); err != nil {
		t.Errorf("the session of the new key: %v", err)
	}
	select {
	case <-newLive:
		t.Error("the live stream of the new key was cut")
	default:
	}
}

// askAs is the status that an app gets.
func (s *site) askAs(n *node, a app, path string) int {
	s.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+n.addr("api")+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.key)
	resp, err := oneShot.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
