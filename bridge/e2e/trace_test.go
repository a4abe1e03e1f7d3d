package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// step is one of the trace, as the API gives it.
type step struct {
	Node, Step, Via, Outcome, Reason, ID, Topic string
	N, Message                                  uint64
	Bytes, Records, Secret, Subscribers         int
	Token                                       bool
}

func (s *site) trace(n *node, d fleet.Device) (steps []step) {
	s.Helper()
	status, answer := s.ask(n, http.MethodGet, "/v1/trace?device="+d.ID, nil)
	var page struct{ Items []step }
	if err := json.Unmarshal(answer, &page); err != nil || status != http.StatusOK {
		s.Fatalf("trace: status %d: %s (%v)", status, answer, err)
	}
	return page.Items
}

// TestTrace: two nodes take a device's messages, good and bad; tail, after the
// fact and live, at either node, shows each step of them.
func TestTrace(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	one, two := s.serve(), s.serve()
	d, other := s.device(0, nil), s.device(1, nil)
	dashboard := s.subscribe(one, v5, s.app("dashboard", []string{"uplink.read"}), []string{"uplinks/#"})
	good := pack(d, 1700000000, "good", 1)
	s.post(one, d, good).accepted(t)
	s.post(two, d, good).accepted(t)
	if r := s.postWith(two, d.Path(), strings.Repeat("0", 64), pack(d, 0, "forged", 1)); r.status != http.StatusForbidden {
		t.Fatalf("a forged token: status %d", r.status)
	}
	s.mustPublish(two, v5, d, pack(d, 0, "mqtt", 2))
	s.post(one, other, pack(other, 0, "other", 1)).accepted(t)
	eventually(t, 10*time.Second, "the dashboard has all", func() bool { return len(dashboard.messages()) == 3 })

	ids := []string{}
	for _, e := range s.stored("uplinks") {
		if e.Values["device"] == d.ID {
			ids = append(ids, e.ID)
		}
	}
	for name, n := range map[string]*node{"one": one, "two": two} {
		var lines []string

		eventually(t, 10*time.Second, "node "+name+" shows all steps", func() bool {
			lines = strings.Split(strings.TrimSpace(s.mustCLI(n, "", "tail", "--device", d.ID, "--last")), "\n")
			return len(lines) == 17
		})
		all := strings.Join(lines, "\n")
		for _, want := range []string{
			fmt.Sprintf("%d bytes, with a token", len(good)), "stored, by secret 1", "1 record, 1 measurement", "stored      " + ids[0],
			"uplinks/IMEI/" + d.Value() + " " + ids[0] + "  to 1 subscriber", "repeated, by secret 1", "forbidden  token-wrong", "mqtt 127.0.0.1:",
			"connection  connected over MQTT", "connection  session over MQTT ended",
			"stored      " + ids[1], "uplinks/IMEI/" + d.Value() + " " + ids[1] + "  to 1 subscriber",
		} {
			if !strings.Contains(all, want) {
				t.Errorf("node %s does not show %q:\n%s", name, want, all)
			}
		}
		if strings.Contains(all, "forged") || strings.Contains(all, other.ID) {
			t.Errorf("node %s shows what is not its business:\n%s", name, all)
		}
	}
	tail := startCommand(t, append(environment(), "M2M_KEY="+adminKey, "M2M_API_URL=http://"+two.addr("api")), "tail", "--json", "--device", d.ID)
	tail.eventually(`"type":"step"`, 17)
	s.post(one, d, pack(d, 0, "live", 3)).accepted(t)
	tail.eventually(`"type":"step"`, 22)
	tail.eventually(`"type":"uplink"`, 1)
	if code := tail.interrupt(); code != 0 {
		t.Errorf("tail ended with exit code %d", code)
	}
}

// TestTraceIsBounded: of a busy device the last 50 steps are kept; strangers who
// invent devices, or speak for one, push nobody's out; with --trace-memory 0 none
// are kept.
func TestTraceIsBounded(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n, none := s.serve("--trace-memory", "64KiB"), s.serve("--trace-memory", "0")
	list := s.devices(0, 5, nil)
	for i := range 40 {
		s.postQuickly(n, list[0], pack(list[0], 0, fmt.Sprint("m", i), i))
	}
	for i := range 2000 {
		if status := s.postQuickly(n, fleet.Devices("strangers", 1000+i, 1)[0], `[{"n":"x","v":1}]`); status == http.StatusOK {
			t.Fatal("a stranger is believed")
		}
	}
	var steps []step
	eventually(t, 10*time.Second, "the last steps are shown", func() bool { steps = s.trace(n, list[0]); return len(steps) == 50 })
	if last := steps[49]; last.Step != "stored" || last.ID == "" || slices.ContainsFunc(steps, func(s step) bool { return s.Reason != "" }) {
		t.Errorf("%+v", steps)
	}
	if status, answer := s.ask(n, http.MethodGet, "/v1/trace?device="+fleet.Devices("strangers", 1000, 1)[0].ID, nil); status != http.StatusNotFound {
		t.Errorf("a stranger's steps: status %d: %s", status, answer)
	}
	if status, answer := s.ask(none, http.MethodGet, "/v1/trace?device="+list[0].ID, nil); status != http.StatusNotFound || !strings.Contains(string(answer), "--trace-memory") {
		t.Errorf("without a trace: status %d: %s", status, answer)
	}
}
