package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestQuotas: who sends more than it may is told so, over each way in its own
// words, and all that was acknowledged is stored, and nothing else.
func TestQuotas(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve("--device-rate", "0.1", "--device-burst", "5")
	d := s.devices(0, 3, nil)
	taken := map[string]int{}
	for i := range 12 {
		r := s.post(n, d[0], pack(d[0], 0, "http", i))
		switch wait, _ := strconv.Atoi(r.field("Retry-After")); {
		case r.status == http.StatusOK:
			taken[d[0].ID]++
		case r.status != http.StatusTooManyRequests || wait < 1 || wait > 60:
			t.Errorf("status %d, Retry-After %q", r.status, r.field("Retry-After"))
		}
	}
	w := s.connect(n, v5, d[1], "a")
	for i := uint16(1); i <= 12; i++ {
		w.publish(i, d[1].Topic(), pack(d[1], 0, "mqtt5", i))
		switch got := w.hear(5 * time.Second); got {
		case heard{"PUBACK", i, 0}:
			taken[d[1].ID]++
		case heard{"PUBACK", i, 0x97}:
		default:
			t.Fatalf("MQTT 5: message %d: %s", i, got)
		}
	}
	w = s.connect(n, v311, d[2], "a")
	for i, closed := uint16(1), false; !closed && i <= 12; i++ {
		w.publish(i, d[2].Topic(), pack(d[2], 0, "mqtt311", i))
		switch got := w.hear(5 * time.Second); {
		case got == heard{"PUBACK", i, 0}:
			taken[d[2].ID]++
		case got.packet == "CLOSED": // unacknowledged: the device sends it again
			closed = true
		default:
			t.Fatalf("MQTT 3.1.1: message %d: %s", i, got)
		}
	}
	for _, one := range d {
		if got := taken[one.ID]; got < 5 || got > 7 || len(s.packs(one)) != got {
			t.Errorf("%s: %d messages were acknowledged, %d are stored, 5 are its burst", one.ID, got, len(s.packs(one)))
		}
	}
}

// TestAppQuota: an app that asks more of the API than it may is told when to come
// back, and nobody else is. It holds on each node by itself.
func TestAppQuota(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	hasty, calm := s.app("hasty", []string{"uplink.read"}), s.app("calm", []string{"uplink.read"})
	s.call(http.MethodPatch, "/v1/apps/hasty", map[string]any{"limits": map[string]any{"requests": 0.5, "sessions": 1}}, http.StatusOK)
	ask := func(a app) reply {
		return curl(t, "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+"/v1/uplinks")
	}
	var r reply
	eventually(t, 10*time.Second, "the app is told to wait", func() bool { r = ask(hasty); return r.status == http.StatusTooManyRequests })
	if wait, err := strconv.Atoi(r.field("Retry-After")); err != nil || wait < 1 || wait > 4 || r.field("Content-Type") != "application/problem+json" {
		t.Errorf("Retry-After %q: %s", r.field("Retry-After"), r.body)
	}
	for range 5 {
		if r := ask(calm); r.status != http.StatusOK {
			t.Errorf("the other app: status %d", r.status)
		}
	}
	s.open(n, login{app: hasty, clientID: "one", clean: true})
	if _, err := dialApp(t, n.addr("mqtt"), login{app: hasty, clientID: "two", clean: true}); fmt.Sprint(err) != refusedError(0x97).Error() {
		t.Errorf("a second session: %v, want 0x97", err)
	}
	s.open(n, login{app: hasty, clientID: "one", clean: true}) // the same comes back
}
