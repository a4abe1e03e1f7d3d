package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// revokeLimit is how soon every node must know.
const revokeLimit = time.Second

// TestRevocation: a device is removed while it sends over HTTP to two nodes and
// is connected to both over MQTT. Within a second all of them refuse it.
func TestRevocation(t *testing.T) {
	s := newSite(t)
	first, second := s.serve(), s.serve()
	d, kept := s.device(0, nil), s.devices(1, 2, nil)
	var senders sync.WaitGroup
	var mu sync.Mutex
	last := map[*node]time.Time{} // when a node accepted something last
	quit := make(chan struct{})
	for _, n := range []*node{first, second} {
		senders.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				sent := time.Now()
				status := s.postQuickly(n, d, pack(d, 0, "busy", 1))
				mu.Lock()
				if status == http.StatusOK {
					last[n] = sent
				} else if status != http.StatusForbidden {
					t.Errorf("status %d", status)
				}
				mu.Unlock()
			}
		})
	}
	accepted := func(n *node) time.Time { mu.Lock(); defer mu.Unlock(); return last[n] }
	eventually(t, 10*time.Second, "both nodes accept the device", func() bool { return !accepted(first).IsZero() && !accepted(second).IsZero() })
	wires := []*wire{s.connect(first, v311, d, "a")} // a device has one session, on all nodes
	others := []*wire{s.connect(first, v5, kept[0], "a"), s.connect(second, v311, kept[1], "b")}
	s.call(http.MethodDelete, "/v1/devices/"+d.ID, nil, http.StatusNoContent)
	removed := time.Now()
	for i, w := range wires {
		if _, took := w.end(revokeLimit); time.Since(removed) > revokeLimit {
			t.Errorf("connection %d was closed after %s", i, took)
		}
	}
	rest(time.Until(removed.Add(revokeLimit + 500*time.Millisecond))) // they go on sending
	close(quit)
	senders.Wait()
	for i, n := range []*node{first, second} {
		if late := accepted(n).Sub(removed); late > revokeLimit {
			t.Errorf("node %d accepted an uplink sent %s after the removal", i, late)
		} else {
			t.Logf("node %d accepted its last uplink %s after the removal", i, late.Round(time.Millisecond))
		}
		w := s.dial(n, v311)
		w.login(d, "a")
		if got := w.hear(2 * time.Second); got != (heard{"CONNACK", 0, 4}) {
			t.Errorf("node %d: a login of the removed device heard %s", i, got)
		}
		others[i].publish(1, kept[i].Topic(), pack(kept[i], 0, "t", 1))
		if got := others[i].hear(2 * time.Second); got != (heard{"PUBACK", 1, 0}) {
			t.Errorf("node %d: the other device heard %s", i, got)
		}
	}
}

// postQuickly sends a body on a connection that is kept, and gives the status.
func (s *site) postQuickly(n *node, d fleet.Device, body string) int {
	req, err := http.NewRequest(http.MethodPost, "http://"+n.addr("http")+d.Path(), strings.NewReader(body))
	if err != nil {
		s.Error(err)
		return 0
	}
	req.Header.Set("Things-Message-Token", s.token(d, body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Error(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestAppRevocation: an app that is removed hears nothing more, on MQTT and on
// the live stream, on either node.
func TestAppRevocation(t *testing.T) {
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	first, second := s.serve(), s.serve()
	d := s.device(0, nil)
	a, other := s.app("leaver", []string{"uplink.read"}), s.app("stayer", []string{"uplink.read"})
	leavers := []*listener{s.subscribe(first, v311, a, []string{"#"}), s.subscribe(second, v5, a, []string{"#"})}
	stayers := []*listener{s.subscribe(first, v311, other, []string{"#"}), s.subscribe(second, v5, other, []string{"#"})}
	s.mustPublish(first, v5, d, pack(d, 0, "before", 1))
	for _, l := range append(leavers, stayers...) {
		l.await("before") // on the other node too
	}
	s.call(http.MethodDelete, "/v1/apps/leaver", nil, http.StatusNoContent)
	removed := time.Now()
	for _, n := range []*node{first, second} {
		eventually(t, revokeLimit, "the key is refused", func() bool {
			return curl(t, "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+"/v1/uplinks").status == 401
		})
	}
	for _, l := range leavers { // mosquitto_sub tries to log in again, and is refused
		select {
		case <-l.exited:
		case <-time.After(time.Until(removed.Add(5 * time.Second))):
			eventually(t, time.Second, l.name+" is sent away", func() bool {
				return strings.Contains(l.out.String(), "onnection Refused") || strings.Contains(l.out.String(), "Bad User Name")
			})
		}
	}
	s.mustPublish(second, v5, d, pack(d, 0, "after", 1))
	for _, l := range stayers {
		l.await("after")
	}
	for _, l := range leavers {
		if got := l.holding("after"); len(got) > 0 {
			t.Errorf("%s still got %v", l.name, got)
		}
	}
}
