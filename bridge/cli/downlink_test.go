package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/api"
)

// addDownlink gives the id of a downlink made on the command line.
func (s *apiServer) addDownlink(args ...string) string {
	s.t.Helper()
	out, _ := s.run(0, append([]string{"downlink", "add", testDevice}, args...)...)
	id, _, ok := strings.Cut(out, " ")
	if !ok {
		s.t.Fatalf("add: %q", out)
	}
	return id
}

func TestDownlinkCommands(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	if out, _ := s.run(0, "downlink", "list"); out != "no downlinks\n" {
		t.Errorf("empty list: %q", out)
	}
	out, _ := s.run(0, "downlink", "add", testDevice, "led=true", "interval,s=600", `code="007"`, "--channel", "http", "--ack", "--key-id", "k", "--priority", "9", "--ttl", "2h")
	added := regexp.MustCompile(`^(\S+) EXECUTING\nit waits for the device's next uplink over HTTP\n$`).FindStringSubmatch(out)
	if added == nil {
		t.Fatalf("add: %q", out)
	}
	if again := s.addDownlink("led=true", "interval,s=600", `code="007"`, "--channel", "http", "--ack", "--key-id", "k", "--priority", "9"); again != added[1] {
		t.Errorf("the same key made %s beside %s", again, added[1])
	}
	second := s.addDownlink("n=1")
	out, _ = s.run(0, "downlink", "get", second)
	if !strings.Contains(out, "\nreason     waits for its turn, 1 before it\n") {
		t.Errorf("get:\n%s", out)
	}
	const at = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`
	out, _ = s.run(0, "downlink", "get", added[1])
	if !regexp.MustCompile(`^id         ` + added[1] + `
device     IMEI:356726104408422
state      EXECUTING
cause      its turn
reason     waits for the device's next uplink over HTTP
channel    http
pack       \[\{"bn":"urn:dev:IMEI:356726104408422:"\},\{"n":"led","vb":true\},\{"n":"interval","u":"s","v":600\},\{"n":"code","vs":"007"\},\{"n":"downlinkId","vs":"` + added[1] + `"\}\]
priority   9
ack        by the device
app        admin
key id     k
attempts   0
created    ` + at + `
expires    ` + at + `
modified   ` + at + `
timeline
  ` + at + `  queued     created by app admin
  ` + at + `  executing  its turn
$`).MatchString(out) {
		t.Errorf("get:\n%s", out)
	}
	out, _ = s.run(0, "downlink", "list")
	if !regexp.MustCompile(`^ID +DEVICE +STATE +CHANNEL +CREATED +WHY
` + second + `  IMEI:356726104408422  QUEUED     any      ` + at + `  waits for its turn
` + added[1] + `  IMEI:356726104408422  EXECUTING  http     ` + at + `  waits for the device's next uplink over HTTP
$`).MatchString(out) {
		t.Errorf("list:\n%s", out)
	}
	for args, want := range map[string]string{
		"--state QUEUED": second, "--state EXECUTING,FAILED": added[1], "--channel http": added[1], "--limit 1": second,
		"--state FAILED": "", "--channel mqtt": "", "--device " + testDevice + " --channel any": second,
	} {
		out, _ := s.run(0, append([]string{"downlink", "list", "--json"}, strings.Fields(args)...)...)
		var d api.Downlink
		if err := json.Unmarshal([]byte(out), &d); (want == "") != (out == "") || want != "" && (err != nil || d.ID != want) {
			t.Errorf("%s: %q, want %s", args, out, want)
		}
	}
	if out, _ := s.run(0, "downlink", "cancel", second); out != "cancelled "+second+"\n" {
		t.Errorf("cancel: %q", out)
	}
	if out, _ := s.run(0, "downlink", "cancel", added[1], "--json"); out != `{"cancelled":"`+added[1]+`"}`+"\n" {
		t.Errorf("cancel --json: %q", out)
	}
	if _, errs := s.run(1, "downlink", "cancel", second); !strings.Contains(errs, "409 Conflict: it has ended: it is CANCELLED") {
		t.Errorf("cancel again: %q", errs)
	}
}

func TestDownlinkPack(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	const pack = `[{"n":"led","vb":true}]`
	file := filepath.Join(t.TempDir(), "pack.json")
	if err := os.WriteFile(file, []byte(pack), 0o600); err != nil {
		t.Fatal(err)
	}
	var got api.Downlink
	out, _ := s.run(0, "downlink", "add", testDevice, "--pack", file, "--json", "--not-before", "1h")
	if err := json.Unmarshal([]byte(out), &got); err != nil || !strings.Contains(string(got.Pack), `{"n":"led","vb":true}`) {
		t.Errorf("--pack FILE: %s", out)
	}
	if d := time.Until(got.NotBefore); d < 50*time.Minute || d > time.Hour || got.State != "QUEUED" {
		t.Errorf("--not-before 1h: %s, %s", got.NotBefore, got.State)
	}
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), []string{"downlink", "add", testDevice, "--pack", "-", "--not-before", "2001-02-03T04:05:06Z"}, s.environ(), strings.NewReader(pack), &stdout, &stderr)
	if code != 0 || !strings.Contains(stdout.String(), " EXECUTING\n") {
		t.Errorf("--pack -: %d, %s%s", code, &stdout, &stderr)
	}
}

func TestDownlinkErrorsHelp(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	file := filepath.Join(t.TempDir(), "pack.json")
	if err := os.WriteFile(file, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	add := "downlink add " + testDevice
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{add, 2, "nothing to send: give measurements such as led=true"},
		{add + " led", 2, `measurement "led"`},
		{add + " led=true --pack x", 2, "not both"},
		{add + " --pack " + file, 2, "it is no JSON"},
		{add + " --pack " + file + ".none", 1, "no such file"},
		{add + " led=true --channel pigeon", 2, "--channel"},
		{add + " led=true --ttl soon", 2, "--ttl"},
		{add + " led=true --not-before soon", 2, "neither an instant such as"},
		{add + " led=true --ttl -1s", 1, "ttl: "},
		{add + " led=true --priority 10", 1, "priority: "},
		{add + " led=true --channel sms", 1, "device: the device cannot be reached by SMS: it is registered without an msisdn"},
		{add + " led=true --wake", 1, "device: the device cannot be reached by SMS"},
		{"downlink add IMEI:490154203237518 led=true", 1, "device: there is no such device"},
		{"downlink add x led=true", 1, "device: "},
		{"downlink get 0-none", 1, "404 Not Found"},
		{"downlink get a/../b", 1, "404 Not Found"},
		{"downlink cancel 0-none", 1, "404 Not Found"},
		{"downlink list --state DONE", 2, "--state"},
		{"downlink list --device x", 1, "query.device"},
	} {
		t.Run(c.args, func(t *testing.T) {
			if out, errs := s.run(c.code, strings.Fields(c.args)...); out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("%q, %q; want %s", out, errs, c.want)
			}
		})
	}
}

func TestTailShowsDownlinks(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	id := s.addDownlink("led=true")
	s.run(0, "downlink", "cancel", id)
	r := s.tail("--kind", "events", "--after", "0")
	for _, want := range []string{"QUEUED  created by app admin", "EXECUTING  its turn", "CANCELLED  cancelled by app admin"} {
		if line := r.next(); !strings.HasSuffix(line, "downlink  "+id+" "+want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
}
