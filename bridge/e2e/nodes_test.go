package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestTwoNodes: two processes on one Redis are one bridge. What comes in at
// either reaches the apps of both, in order, and the same bytes are one uplink
// wherever they are sent, even all at once.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	d := s.device(0, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	apps := []*listener{s.subscribe(nodes[0], v5, a, []string{"#"}), s.subscribe(nodes[1], v311, a, []string{"uplinks/#"})}
	const each = 30
	for i := range each {
		if i%3 == 0 {
			s.mustPublish(nodes[i%2], v311, d, pack(d, 0, fmt.Sprintf("m%d.", i), i))
			continue
		}
		s.post(nodes[i%2], d, pack(d, 0, fmt.Sprintf("m%d.", i), i)).accepted(t)
	}
	for _, l := range apps {
		eventually(t, 10*time.Second, l.name+" has all", func() bool { return len(l.messages()) >= each })
		inOrder(t, l.name, l, d)
		if got := len(l.messages()); got != each {
			t.Errorf("%s got %d messages, want %d", l.name, got, each)
		}
	}
	body := pack(d, 1700000000, "atonce", 1)
	var senders sync.WaitGroup
	for i := range 20 {
		senders.Go(func() {
			if status := s.postQuickly(nodes[i%2], d, body); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	}
	senders.Wait()
	if got := len(holding(s.packs(d), "atonce")); got != 1 {
		t.Errorf("stored %d times what came at once", got)
	}
}

// TestTwoNodesUnderLoad: while one takes HTTP and the other MQTT, as fast as
// they can, an app on each is given all of it, in the stream's order.
func TestTwoNodesUnderLoad(t *testing.T) {
	slow(t)
	s := newSite(t)
	first, second := s.serve(), s.serve()
	s.devices(0, fleetSize, nil)
	witnesses := []*witness{s.witness(first, "one"), s.witness(second, "two")}
	fleets := s.startFleets(first, second)
	fleets.acknowledged(2000)
	fleets.stop()
	stored := s.numbered()
	fleets.hold(stored)
	for _, w := range witnesses {
		w.hold(stored)
	}
}

// TestChildKilled: the program's own redis-server is killed; it is started
// again, and what was acknowledged is there.
func TestChildKilled(t *testing.T) {
	slow(t)
	need(t, "redis-server")
	s := siteOn(t, nil)
	n := s.serveIn(environment(), "--data", t.TempDir())
	d := s.device(0, nil)
	const each = 30
	for i := range each {
		if i%10 == 5 {
			if err := syscall.Kill(childOf(t, n, "redis-server"), syscall.SIGKILL); err != nil {
				t.Fatalf("kill redis-server: %v", err)
			}
		}
		body := pack(d, 1700000000+int64(i), fmt.Sprintf("m%d.", i), i)
		eventually(t, 10*time.Second, "the uplink is taken", func() bool { return s.postQuickly(n, d, body) == http.StatusOK })
	}
	answer := string(s.call(http.MethodGet, "/v1/uplinks?limit=100", nil, http.StatusOK))
	for i := range each {
		if got := strings.Count(answer, fmt.Sprintf(`"m%d."`, i)); got != 1 {
			t.Errorf("message %d is stored %d times", i, got)
		}
	}
}

// childOf finds a child process of a node by its name.
func childOf(t *testing.T, n *node, name string) (pid int) {
	t.Helper()
	eventually(t, 10*time.Second, name+" runs", func() bool {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", n.cmd.Process.Pid))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, child := range strings.Fields(string(text)) {
				if comm, _ := os.ReadFile("/proc/" + child + "/comm"); strings.TrimSpace(string(comm)) == name {
					pid, _ = strconv.Atoi(child)
					return true
				}
			}
		}
		return false
	})
	return pid
}
