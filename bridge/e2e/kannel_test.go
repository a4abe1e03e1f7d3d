package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Kannel bound to an SMSC that is not ours either: what the bridge gives it over HTTP goes over SMPP, and receipts come back both ways.
const kannelConf = `
group = core
admin-port = %[1]d
admin-interface = 127.0.0.1
admin-password = PassWordAdmin
smsbox-port = %[2]d
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = phones
host = 127.0.0.1
port = %[4]d
transceiver-mode = true
smsc-username = m2m
smsc-password = ` + smscPassword + `
system-type = ""
msg-id-type = 0x01

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %[3]d
sendsms-interface = 127.0.0.1

group = sendsms-user
username = bridge
password = PassWordKannel
concatenation = true
max-messages = 3

group = sms-service
keyword = default
max-messages = 0
text = ""
`

// box starts one of Kannel's programs, which Debian has in /usr/sbin.
func box(t *testing.T, name, file, says string) {
	t.Helper()
	out := newTranscript()
	cmd := exec.Command("/usr/sbin/"+name, "-v", "1", file)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = t.TempDir(), out, out, dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	if !out.await(startLimit, exited, func(line string) bool { return strings.Contains(line, says) }) {
		t.Fatalf("%s does not start:\n%s", name, out)
	}
}

// someport is a port that nobody listened on a moment ago.
func someport(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// TestSMSOverKannel: an operator's HTTP API as README's file for it has it, receipts by webhook.
func TestSMSOverKannel(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	if _, err := os.Stat("/usr/sbin/bearerbox"); err != nil {
		need(t, "bearerbox")
	}
	s := newSite(t)
	for secret, what := range map[string]string{"PassWordKannel": "Kannel's password", "PassWordOfTheWebhook": "the webhook's secret"} {
		s.confide(secret, what)
	}
	c := startSMSC(t, map[string]any{"receipt": 1500})
	dir, sendsms := t.TempDir(), someport(t)
	conf := filepath.Join(dir, "kannel.conf")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(conf, fmt.Sprintf(kannelConf, someport(t), someport(t), sendsms, c.port))
	box(t, "bearerbox", conf, "entering mainloop")
	box(t, "smsbox", conf, "Connected to bearerbox")
	c.await(1, "bound")
	// The file of the documentation, with the ports of this test; the bridge's is known when it has started once.
	example, err := os.ReadFile(filepath.Join("..", "..", "sms", "testdata", "kannel.toml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kannel.toml")
	fill := func(api string) {
		text := strings.ReplaceAll(string(example), "127.0.0.1:13013", fmt.Sprint("127.0.0.1:", sendsms))
		write(file, strings.ReplaceAll(text, "127.0.0.1:8081", api))
	}
	fill("127.0.0.1:1")
	env := append(environment(), "KANNEL_USER=bridge", "KANNEL_PASSWORD=PassWordKannel", "KANNEL_WEBHOOK_SECRET=PassWordOfTheWebhook")
	n := s.serveIn(env, "--redis", s.redis.URL(), "--sms", "http:"+file, "--sms-schedule", "2m/20s", "--sms-limit", "2m")
	fill(n.addr("api"))
	n.stop()
	n.again()
	d := s.reachable(1)
	made := s.text(n, d, "valve {open} €5")
	eventually(t, 40*time.Second, "its receipt has come", func() bool { return s.sms(n, made.ID).State == "SUCCEEDED" })
	if at := c.await(1, "accepted"); len(at) != 1 || at[0].Text != "valve {open} €5" || at[0].To != "31970000001" || at[0].From != "5277" {
		t.Errorf("the SMSC got %+v", at)
	}
	if got := s.sms(n, made.ID); got.Attempts != 1 || !strings.Contains(strings.Join(got.what(), " "), "delivered") {
		t.Errorf("%d attempts: %v", got.Attempts, got.what())
	}
	out := s.admin(n, "/v1/sms/receipts?secret=wrong&ref="+made.ID+".1&state=1")
	if out.status != 403 {
		t.Errorf("a receipt without the secret: %d", out.status)
	}
}
