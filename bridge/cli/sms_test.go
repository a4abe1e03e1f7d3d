package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/api"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/due"
)

// attempt begins and ends the attempt by SMS that is due.
func (s *apiServer) attempt(o downlink.SMSOutcome) (a downlink.SMSAttempt) {
	s.t.Helper()
	b := s.downlinks.SMSDue(time.Minute).Claim(s.t.Context(), due.Ask{N: 1})[0]
	if b.Err != nil || len(b.Claims) != 1 {
		s.t.Fatalf("claimed %+v", b)
	}
	a, ok, err := s.downlinks.BeginSMS(s.t.Context(), b.Claims[0])
	if err != nil || !ok {
		s.t.Fatalf("begin: %v, %v", ok, err)
	}
	if ok, err := s.downlinks.EndSMS(s.t.Context(), a.ID, a.Number, o); err != nil || !ok {
		s.t.Fatalf("end: %v, %v", ok, err)
	}
	return a
}

func (s *apiServer) addSMS(args ...string) string {
	s.t.Helper()
	out, _ := s.run(0, append([]string{"sms", "add", testDevice}, args...)...)
	id, _, ok := strings.Cut(out, " ")
	if !ok {
		s.t.Fatalf("add: %q", out)
	}
	return id
}

func TestSMSCommands(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice, "--msisdn", "31612345678")
	if out, _ := s.run(0, "sms", "list"); out != "no SMS\n" {
		t.Errorf("empty list: %q", out)
	}
	out, _ := s.run(0, "sms", "add", testDevice, "reboot now", "--ttl", "2h", "--key-id", "k", "--priority", "9")
	added := regexp.MustCompile(`^(\S+) EXECUTING\nit waits for its first attempt by SMS\n$`).FindStringSubmatch(out)
	if added == nil {
		t.Fatalf("add: %q", out)
	}
	if again := s.addSMS("reboot now", "--ttl", "2h", "--key-id", "k", "--priority", "9"); again != added[1] {
		t.Errorf("the same key made %s beside %s", again, added[1])
	}
	s.attempt(downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by a test, id 7", Receipts: true})
	const at = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`
	out, _ = s.run(0, "sms", "get", added[1])
	if !regexp.MustCompile(`^id         ` + added[1] + `
device     IMEI:356726104408422
state      EXECUTING
cause      attempt 1 by SMS: accepted by a test, id 7
reason     waits for the receipt of attempt 1 by SMS; the next attempt is at \S+Z
channel    sms
text       reboot now
priority   9
sms        accepted, 1 attempt, first ` + at + `, next ` + at + `, until ` + at + `
app        admin
key id     k
attempts   1
via        sms
handed     ` + at + `
created    ` + at + `
expires    ` + at + `
modified   ` + at + `
timeline
  ` + at + `  queued     created by app admin
  ` + at + `  executing  its turn
  ` + at + `  accepted   attempt 1: accepted by a test, id 7
$`).MatchString(out) {
		t.Errorf("get:\n%s", out)
	}
	file := filepath.Join(t.TempDir(), "octets")
	if err := os.WriteFile(file, []byte{0, 0xff}, 0o600); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{"0a 1F:00": "0a1f00", "@" + file: "00ff"} {
		id := s.addSMS("--data", data, "--not-before", "1h")
		if out, _ := s.run(0, "sms", "get", id); !strings.Contains(out, "\ndata       "+want+"\n") || !strings.Contains(out, "\nstate      QUEUED\n") {
			t.Errorf("--data %s:\n%s", data, out)
		}
		if out, _ := s.run(0, "sms", "cancel", id); out != "cancelled "+id+"\n" {
			t.Errorf("cancel: %q", out)
		}
	}
	pack := filepath.Join(t.TempDir(), "pack.json")
	if err := os.WriteFile(pack, []byte(`[{"n":"led","vb":true}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	var d api.Downlink
	out, _ = s.run(0, "sms", "add", testDevice, "--pack", pack, "--ack", "--json")
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Channel != downlink.SMS || !d.Ack || !strings.Contains(string(d.Pack), `"downlinkId"`) {
		t.Errorf("--pack: %s", out)
	}
	out, _ = s.run(0, "sms", "list", "--state", "QUEUED,EXECUTING", "--device", testDevice)
	if !regexp.MustCompile(`^ID +DEVICE +STATE +ATTEMPTS +CREATED +WHY
` + d.ID + `  IMEI:356726104408422  QUEUED     0         ` + at + `  waits for its turn
` + added[1] + `  IMEI:356726104408422  EXECUTING  1         ` + at + `  waits for the receipt of attempt 1 by SMS; the next attempt is at [-0-9T:]+Z
$`).MatchString(out) {
		t.Errorf("list:\n%s", out)
	}
	if out, _ := s.run(0, "sms", "list", "--json", "--limit", "1"); object(t, out)["id"] != d.ID {
		t.Errorf("list --json: %s", out)
	}
	if out, _ := s.run(0, "sms", "cancel", added[1], "--json"); out != `{"cancelled":"`+added[1]+`"}`+"\n" {
		t.Errorf("cancel --json: %q", out)
	}
	if out, _ := s.run(0, "downlink", "get", added[1], "--json"); !strings.Contains(out, `"what":"cancelled","text":"cancelled by app admin, after attempt 1, which may still arrive"`) {
		t.Errorf("get --json: %s", out)
	}
}

func TestSMSErrors(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	add := "sms add " + testDevice
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{add, 2, "give one of a text, --data and --pack"},
		{add + " text --data 00", 2, "give one of a text"},
		{add + " --data 0", 2, "neither hex such as 0a1f00 nor @FILE"},
		{add + " --data @/none/such", 1, "no such file"},
		{add + " --pack /none/such", 1, "no such file"},
		{add + " text --not-before soon", 2, "neither an instant such as"},
		{add + " text --channel sms", 2, "--channel"},
		{add + " text", 1, "device: the device cannot be reached by SMS: it is registered without an msisdn"},
		{add + " text --ack", 1, "ack: a device can acknowledge a pack only"},
		{add + " " + strings.Repeat("x", 1600), 1, "text: it is 11 SMS long"},
		{"sms get 0-none", 1, "404 Not Found"},
		{"sms cancel 0-none", 1, "404 Not Found"},
		{"sms list --state DONE", 2, "--state"},
		{"sms", 2, "sms"},
	} {
		t.Run(c.args[:min(len(c.args), 60)], func(t *testing.T) {
			if out, errs := s.run(c.code, strings.Fields(c.args)...); out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("%q, %q; want %s", out, errs, c.want)
			}
		})
	}
}

// A device is woken up, and who follows it sees each attempt.
func TestWakeIsFollowed(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice, "--msisdn", "31612345678")
	out, _ := s.run(0, "downlink", "add", testDevice, "--channel", "http", "--wake", "led=true")
	id, _, _ := strings.Cut(out, " ")
	if !strings.HasSuffix(out, "it waits for the device's next uplink over HTTP; and, to wake it up, for its first attempt by SMS\n") {
		t.Errorf("add: %s", out)
	}
	s.attempt(downlink.SMSOutcome{End: downlink.SMSTemporary, Text: "a test: refused (temporary): busy"})
	if out, _ := s.run(0, "downlink", "get", id); !strings.Contains(out, "\nwake       by SMS\nsms        refused, 1 attempt, first ") {
		t.Errorf("get:\n%s", out)
	}
	r := s.tail("--kind", "events", "--after", "0")
	for _, want := range []string{
		"downlink  " + id + " QUEUED  created by app admin", "downlink  " + id + " EXECUTING  its turn",
		"sms       " + id + " TEMPORARY  attempt 1: a test: refused (temporary): busy", "downlink  " + id + " EXECUTING  attempt 1 by SMS: a test: refused (temporary): busy",
	} {
		if line := r.next(); !strings.HasSuffix(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
}
