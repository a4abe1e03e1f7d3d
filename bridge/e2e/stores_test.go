package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// TestStores runs the main job on each of the three stores: a server, a
// redis-server of the program's own, and this process's memory where there is
// no redis-server.
func TestStores(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	t.Run("server", func(t *testing.T) {
		s := newSite(t)
		n := s.serve()
		s.mainJob(n)
		n.stop()
		n.again()
		s.keeps(n)
	})
	t.Run("child", func(t *testing.T) {
		need(t, "redis-server")
		s := siteOn(t, nil)
		data := t.TempDir()
		n := s.serveIn(environment(), "--data", data)
		if !strings.Contains(n.store, data) {
			t.Errorf("the banner says %q", n.store)
		}
		s.mainJob(n)
		n.stop()
		n.again()
		s.keeps(n)
		n.kill() // the child dies with it, and what was acknowledged is there
		n.again()
		s.keeps(n)
	})
	t.Run("memory", func(t *testing.T) {
		s := siteOn(t, nil)
		n := s.serveIn([]string{"PATH=" + t.TempDir(), "HOME=" + t.TempDir()})
		if !strings.Contains(n.out.String(), "NOTHING IS KEPT") {
			t.Errorf("it does not say that nothing is kept:\n%s", n.out)
		}
		s.mainJob(n)
	})
}

// mainJob: devices on both edges, an app on both, a reject; the API tells of it.
func (s *site) mainJob(n *node) {
	s.Helper()
	list := s.devices(0, 2, nil)
	reader := s.app("dashboard", []string{"uplink.read", "reject.read"})
	l := s.subscribe(n, v5, reader, []string{"#"})
	old := s.subscribe(n, v311, reader, []string{"uplinks/#"}, "-i", "old")
	for range 2 { // stored once
		s.send(n, list[0], pack(list[0], 1700000000, "http", 1))
	}
	s.mustPublish(n, v311, list[1], pack(list[1], 0, "mqtt", 2))
	s.mustPublish(n, v5, list[1], pack(list[1], 1700000000, "five", 2))
	if r := s.postWith(n, list[0].Path(), s.token(list[1], "x"), pack(list[0], 0, "forged", 3)); r.status != 403 {
		s.Errorf("forged: status %d", r.status)
	}
	for _, name := range []string{"http", "mqtt", "five"} {
		if l.await(name).payload != old.await(name).payload {
			s.Errorf("the apps differ on %s", name)
		}
	}
	if got := len(l.on("uplinks/IMEI/"+list[0].Value())) + len(l.on("uplinks/IMEI/"+list[1].Value())); got != 3 {
		s.Errorf("the app got %d uplinks, want 3: %v", got, l.messages())
	}
	eventually(s.T, 5*time.Second, "the reject", func() bool { return len(l.on("rejects/IMEI/"+list[0].Value())) == 1 })
}

// keeps wants what mainJob left behind after a restart.
func (s *site) keeps(n *node) {
	s.Helper()
	var page struct {
		Items []struct {
			Device string
			Pack   json.RawMessage
		}
	}
	if err := json.Unmarshal(s.call(http.MethodGet, "/v1/uplinks", nil, http.StatusOK), &page); err != nil || len(page.Items) != 3 {
		s.Fatalf("%d uplinks are left of 3 (%v)", len(page.Items), err)
	}
	for i, name := range []string{"http", "mqtt", "five"} {
		if !strings.Contains(string(page.Items[i].Pack), fmt.Sprintf("%q", name)) {
			s.Errorf("uplink %d is %s", i, page.Items[i].Pack)
		}
	}
	list := fleet.Devices(s.Name(), 0, 2)
	s.send(n, list[0], pack(list[0], 1700000000, "http", 1)) // known still
	if err := json.Unmarshal(s.call(http.MethodGet, "/v1/uplinks", nil, http.StatusOK), &page); err != nil || len(page.Items) != 3 {
		s.Errorf("a repeat after the restart made it %d uplinks (%v)", len(page.Items), err)
	}
}

// A directory that holds data is not put aside for an empty memory.
func TestDataWithoutServer(t *testing.T) {
	t.Parallel()
	need(t, "redis-server")
	s := siteOn(t, nil)
	data := t.TempDir()
	n := s.serveIn(environment(), "--data", data)
	s.device(0, nil)
	n.stop()
	cmd := exec.Command(program(t), "serve", "--data", data, "--http", "off", "--mqtt", "off", "--api", "127.0.0.1:0")
	cmd.Env = []string{"PATH=" + t.TempDir(), "HOME=" + t.TempDir(), "M2M_ADMIN_KEY=" + adminKey}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), data) {
		t.Errorf("it started without its data: %v\n%s", err, out)
	}
	if entries, err := os.ReadDir(filepath.Clean(data)); err != nil || len(entries) == 0 {
		t.Errorf("the data is gone: %v", err)
	}
}

// TestGeneratedKey: without --admin-key one is made and shown once.
func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := startNode(t, environment(), append(freePorts(), "--redis", s.redis.URL())...)
	key := ""
	for line := range strings.Lines(n.out.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "admin key"); ok {
			key = strings.Fields(rest)[0]
		}
	}
	if r := curl(t, "-H", "Authorization: Bearer "+key, "http://"+n.addr("api")+"/v1/devices"); r.status != 200 || len(key) < 20 {
		t.Errorf("key %q: status %d", key, r.status)
	}
	if strings.Count(n.out.String(), key) != 1 {
		t.Errorf("the key is shown more than once")
	}
}
