package e2e_test

import (
	"strings"
	"testing"

	"m2mbridge/auth/redistest"
)

// Beside a node that works all is well, and looking leaves no trace; beside one
// that outside hands got at, what they did is mended while it runs.
func TestDoctor(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t, redistest.AppendOnly())
	n := s.serve("--mqtt-ws", "127.0.0.1:0", "--partitions", "2")
	d := s.imei()
	s.send(n, d, pack(d, 0, "t", 1))
	s.app("dashboard", []string{"uplink.read"})
	s.queue(n, d, 1)
	args := []string{
		"doctor", "--redis", s.redis.URL(), "--http", n.addr("http"), "--api", n.addr("api"), "--mqtt", n.addr("mqtt"), "--mqtt-ws", n.addr("mqtt-ws"),
	}
	rejects := len(s.stored("rejects"))
	out := s.mustCLI(n, "", args...)
	if strings.Contains(out, "FAULT") || strings.Count(out, "\n") < 20 {
		t.Errorf("doctor: %s", out)
	}
	for _, line := range []string{"ok     http ", "ok     api ", "ok     mqtt ", "ok     mqtt-ws ", "ok     registry ", "ok     downlinks ", "ok     partitions   2"} {
		if !strings.Contains(out, line) {
			t.Errorf("doctor does not say %q: %s", line, out)
		}
	}
	if now := len(s.stored("rejects")); now != rejects {
		t.Errorf("looking made %d rejects", now-rejects)
	}
	for _, p := range []string{"0", "1"} {
		if err := s.own.Del(t.Context(), "m2m:{"+p+"}:devices", "m2m:{"+p+"}:due:downlink").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, _ := s.cli(n, "", args...); code != 1 || !strings.Contains(out, "FAULT  registry") || !strings.Contains(out, "FAULT  downlinks") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out := s.mustCLI(n, "", append(args, "--fix")...); !strings.Contains(out, "mended") {
		t.Errorf("doctor --fix: %s", out)
	}
	s.mustCLI(n, "", args...)
	if out := s.mustCLI(n, "", "device", "list"); !strings.Contains(out, d.ID) {
		t.Errorf("device list: %s", out)
	}
}
