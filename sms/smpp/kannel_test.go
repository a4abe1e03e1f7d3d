package smpp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const kannelConf = `
group = core
admin-port = %[1]d
admin-interface = 127.0.0.1
admin-password = test
smsbox-port = %[2]d
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-level = 1

group = smsc
smsc = smpp
smsc-id = node
host = 127.0.0.1
port = %[4]s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = VMA
source-addr-ton = 3
source-addr-npi = 0
dest-addr-ton = 1
dest-addr-npi = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %[3]d
sendsms-interface = 127.0.0.1
log-level = 1

group = sendsms-user
username = test
password = test
max-messages = 10
concatenation = true
`

// testKannel has Kannel, as another ESME, send the same messages to the same SMSC: what that SMSC makes of ours it makes of
// Kannel's.
func testKannel(t *testing.T, dir string) {
	bearerbox, smsbox := program(t, "bearerbox"), program(t, "smsbox")
	n := startNode(t, dir)
	_, port, _ := net.SplitHostPort(n.addr)
	ports := freePorts(t, 3)
	conf := filepath.Join(t.TempDir(), "kannel.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, kannelConf, ports[0], ports[1], ports[2], port), 0o600); err != nil {
		t.Fatal(err)
	}
	box(t, bearerbox, conf)
	if s := n.until(t, func(s seen) bool { return s.Bind != nil }); s.Bind["system_id"] != "kannel" {
		t.Fatalf("%v", s.Bind)
	}
	box(t, smsbox, conf)
	client := run(t, Config{Addr: n.addr, SystemID: "m2m"}).bound(t)
	long := []string{strings.Repeat("{a}", 100), strings.Repeat("я", 150)}
	for _, c := range texts {
		long = append(long, c.text)
	}
	for _, text := range long {
		m := wake()
		m.Text = text
		ids, err := client.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		ours := join(t, n, len(ids))
		sendByKannel(t, ports[2], m, ours.Coding)
		theirs := join(t, n, len(ids))
		if ours.Text != text || theirs.Text != text {
			t.Errorf("%q: ours %q, Kannel's %q", text, ours.Text, theirs.Text)
		}
		if ours.Source != theirs.Source || ours.Destination != theirs.Destination || ours.Coding != theirs.Coding || ours.ESM&0x40 != theirs.ESM&0x40 {
			t.Errorf("ours %+v\nKannel's %+v", ours, theirs)
		}
	}
}

// join is so many parts as one.
func join(t *testing.T, n *node, parts int) (all submitted) {
	t.Helper()
	for range parts {
		text := all.Text
		all = n.submit(t)
		all.Text = text + all.Text
	}
	return all
}

// sendByKannel uses sendsms, with the coding that we chose.
func sendByKannel(t *testing.T, port int, m Submit, coding int) {
	t.Helper()
	q := url.Values{"username": {"test"}, "password": {"test"}, "from": {m.Source}, "to": {m.Destination}, "text": {m.Text}, "charset": {"UTF-8"}}
	if coding == codingUCS2 {
		q.Set("coding", "2")
	}
	ctx, cancel := context.WithTimeout(t.Context(), peerLimit)
	defer cancel()
	request := fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/sendsms?%s", port, q.Encode())
	for { // it may not listen yet
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, request, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				t.Fatalf("sendsms: %s %s", resp.Status, body)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("sendsms: %v", err)
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// box runs one of Kannel's until the test ends. A shell ends it when its own input ends, be it by the death of the tests.
func box(t *testing.T, path, conf string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program(t, "sh"), "-c", `"$0" "$@" & read -r _; kill $!; wait $!`, path, "-v", "1", conf)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = t.TempDir(), &out, &out, time.Second
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), &out)
		}
	})
}

// freePorts were free a moment ago. Kannel cannot choose any itself.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
