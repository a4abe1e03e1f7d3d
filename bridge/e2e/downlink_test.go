package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// downlink is one as the API shows it.
type downlink struct {
	ID, State, Cause, Reason, Via string
	Attempts                      int
}

// imei registers a device that is named by its IMEI.
func (s *site) imei() fleet.Device {
	s.Helper()
	for number := 0; ; number++ {
		if d := s.device(number, nil); d.Type() == "IMEI" {
			return d
		}
	}
}

// queue creates a downlink n=v for a device, with curl.
func (s *site) queue(n *node, d fleet.Device, v int) (made downlink) {
	s.Helper()
	body := fmt.Sprintf(`{"device":%q,"channel":"http","pack":[{"n":"n","v":%d}]}`, d.ID, v)
	s.admin(n, "/v1/downlinks", "-H", "Content-Type: application/json", "-d", body).read(s.T, 201, &made)
	return made
}

func (s *site) downlink(n *node, id string) (d downlink) {
	s.Helper()
	s.admin(n, "/v1/downlinks/"+id).read(s.T, 200, &d)
	return d
}

// comesTo waits until a downlink is in a state, and its cause says so.
func (s *site) comesTo(n *node, id, state, cause string) (d downlink) {
	s.Helper()
	eventually(s.T, 15*time.Second, id+" is "+state+", "+cause, func() bool {
		d = s.downlink(n, id)
		return d.State == state && strings.Contains(d.Cause, cause)
	})
	return d
}

// brings wants an answer with the downlink n=v as devices can read it: few
// header lines, a length, no chunks, and the body begins with the pack.
func (r reply) brings(t *testing.T, baseName string, v int) {
	t.Helper()
	want := fmt.Sprintf(`[{"bn":"%s"},{"n":"n","v":%d}]`, baseName, v)
	if r.status != 200 || r.body != want {
		t.Fatalf("status %d, body %q, want %q", r.status, r.body, want)
	}
	if r.field("Content-Length") != strconv.Itoa(len(want)) || r.field("Transfer-Encoding") != "" || strings.Count(r.header, "\r\n") > 3 {
		t.Errorf("header:\n%s", r.header)
	}
}

func TestDownlinksOverHTTP(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	d := s.imei()
	var queued []downlink
	for v := range 3 {
		queued = append(queued, s.queue(n, d, v))
	}
	for i, want := range []string{"waits for the device's next uplink over HTTP", "waits for its turn, 1 before it", "waits for its turn, 2 before it"} {
		if got := s.downlink(n, queued[i].ID); got.Reason != want || got.State != []string{"EXECUTING", "QUEUED", "QUEUED"}[i] {
			t.Errorf("downlink %d: %+v", i, got)
		}
	}
	body := pack(d, 1_700_000_000, "t", 1)
	s.post(n, d, body).brings(t, d.BaseName(), 0)
	got := s.comesTo(n, queued[0].ID, "SUCCEEDED", "the device took the whole answer")
	if got.Attempts != 1 || got.Via != "http" || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	if got := s.downlink(n, queued[1].ID); got.State != "EXECUTING" || got.Attempts != 0 {
		t.Errorf("the second: %+v", got)
	}
	s.post(n, d, body).brings(t, d.BaseName(), 0) // its answer was lost on the way: it gets the same again
	if got := s.downlink(n, queued[1].ID); got.Attempts != 0 {
		t.Errorf("the second: %+v", got)
	}
	own := strings.Replace(d.BaseName(), "IMEI", "imei", 1)
	s.post(n, d, strings.Replace(pack(d, 0, "t", 2), d.BaseName(), own, 1)).brings(t, own, 1)
	s.comesTo(n, queued[1].ID, "SUCCEEDED", "")
	s.post(n, d, `[{"bn":"`+d.BaseName()+`"}]`).brings(t, d.BaseName(), 2) // a heartbeat is a contact too
	s.comesTo(n, queued[2].ID, "SUCCEEDED", "")
	s.post(n, d, pack(d, 0, "t", 3)).accepted(t)
	if out := s.mustCLI(n, "", "downlink", "list", "--device", d.ID, "--state", "SUCCEEDED", "--json"); strings.Count(out, "\n") != 3 {
		t.Errorf("downlink list: %s", out)
	}
}

// contact sends an uplink and gives the body of its answer.
func (s *site) contact(n *node, d fleet.Device, body string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+n.addr("http")+d.Path(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Things-Message-Token", s.token(d, body))
	resp, err := oneShot.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK && err == nil {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	return string(answer), err
}

// Two nodes are asked at once: one answer has the downlink.
func TestDownlinkGoesToOneOfTwoUplinks(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	nodes := []*node{s.serve(), s.serve()}
	d := s.imei()
	type result struct {
		body string
		err  error
	}
	for round := range 10 {
		made := s.queue(nodes[0], d, round)
		results := make(chan result, 4)
		for i := range cap(results) {
			go func() {
				body, err := s.contact(nodes[i%2], d, pack(d, 0, "t", round*10+i))
				results <- result{body, err}
			}()
		}
		brought := 0
		for range cap(results) {
			r := <-results
			if r.err != nil {
				t.Fatal(r.err)
			}
			if r.body != "" {
				brought++
			}
		}
		if got := s.comesTo(nodes[1], made.ID, "SUCCEEDED", ""); brought != 1 || got.Attempts != 1 {
			t.Fatalf("round %d: %d answers brought it, %+v", round, brought, got)
		}
	}
}

// A device whose connection breaks before its answer gets the downlink with
// its next uplink.
func TestDownlinkForDeviceThatWentAway(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	p := between(t, s.redis)
	n := s.serveOn(p.url())
	d := s.imei()
	s.post(n, d, pack(d, 0, "t", 0)).accepted(t) // from now on Redis knows the script
	made := s.queue(n, d, 7)
	release := p.hold(t)
	conn := s.half(n, d, pack(d, 0, "t", 1))
	eventually(t, 5*time.Second, "it is handed over", func() bool { return s.downlink(n, made.ID).Attempts == 1 })
	_ = conn.SetLinger(0) // so that closing is a reset
	_ = conn.Close()
	release()
	got := s.comesTo(n, made.ID, "EXECUTING", "the answer did not reach the device")
	if got.Attempts != 1 || got.Reason != "waits for the device's next uplink over HTTP" {
		t.Errorf("%+v", got)
	}
	s.post(n, d, pack(d, 0, "t", 2)).brings(t, d.BaseName(), 7)
	if got := s.comesTo(n, made.ID, "SUCCEEDED", "took the whole answer"); got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
}

// half sends an uplink, and leaves its answer to be read.
func (s *site) half(n *node, d fleet.Device, body string) *net.TCPConn {
	s.Helper()
	conn, err := net.DialTimeout("tcp", n.addr("http"), 5*time.Second)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: %s\r\nContent-Length: %d\r\n\r\n%s", d.Path(), s.token(d, body), len(body), body)
	if err != nil {
		s.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// Between the hand-over and the answer a node dies: until the lease ends the
// outcome is awaited, then nobody knows it, and the downlink goes out again.
func TestDownlinkOfNodeThatDied(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	p := between(t, s.redis)
	lease := []string{"--downlink-lease", "8s"}
	doomed, n := s.serveOn(p.url(), lease...), s.serve(lease...)
	d := s.imei()
	s.post(doomed, d, pack(d, 0, "t", 0)).accepted(t)
	made := s.queue(n, d, 7)
	p.hold(t)
	s.half(doomed, d, pack(d, 0, "t", 1))
	eventually(t, 5*time.Second, "it is handed over", func() bool { return s.downlink(n, made.ID).Attempts == 1 })
	doomed.kill()
	if got := s.downlink(n, made.ID); got.State != "EXECUTING" || !strings.HasPrefix(got.Reason, "attempt 1 under way over HTTP since ") {
		t.Errorf("after the death: %+v", got)
	}
	s.admin(n, "/v1/downlinks/"+made.ID, "-X", "DELETE").read(t, 409, nil)
	s.post(n, d, pack(d, 0, "t", 2)).accepted(t) // it may be on its way: it is not sent twice
	got := s.comesTo(n, made.ID, "EXECUTING", "nobody knows what became of attempt 1")
	if got.Attempts != 1 || got.Reason != "waits for the device's next uplink over HTTP" {
		t.Errorf("after the lease: %+v", got)
	}
	s.post(n, d, pack(d, 0, "t", 3)).brings(t, d.BaseName(), 7)
	if got := s.comesTo(n, made.ID, "SUCCEEDED", "took the whole answer"); got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
}
