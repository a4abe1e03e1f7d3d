package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"m2mbridge/bridge/api"
)

// runWith is run with something on standard input.
func (s *apiServer) runWith(code int, stdin string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	if got := Run(s.t.Context(), args, s.environ(), strings.NewReader(stdin), &out, &errs); got != code {
		s.t.Fatalf("%v: code %d, want %d\n%s%s", args, got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

func (s *apiServer) device(id string) (d api.Device) {
	s.t.Helper()
	out, _ := s.run(0, "device", "get", id, "--json")
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func TestDeviceIsSet(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice, "--secret", testSecret, "--name", "old", "--label", "a=b", "--label", "c=d")
	out, _ := s.run(0, "device", "get", testDevice)
	tag := regexp.MustCompile(`(?m)^etag +(\S+)$`).FindStringSubmatch(out)
	if tag == nil {
		t.Fatalf("no etag:\n%s", out)
	}
	out, _ = s.run(0, "device", "set", testDevice, "--name", "Pump, 7", "--no-sms", "--label", "x=y=z", "--unlabel", "a", "--if-match", tag[1])
	if out != "changed "+testDevice+"\n" {
		t.Errorf("%q", out)
	}
	if d := s.device(testDevice); d.Name != "Pump, 7" || d.SMS || joinLabels(d.Labels) != "c=d,x=y=z" || d.Secrets != 1 {
		t.Errorf("%+v", d)
	}
	_, errs := s.run(1, "device", "set", testDevice, "--name", "x", "--if-match", tag[1])
	holds(t, errs, "412")
	s.run(0, "device", "set", testDevice, "--name", "", "--sms", "--require-token")
	if d := s.device(testDevice); d.Name != "" || !d.SMS || !d.RequireToken {
		t.Errorf("%+v", d)
	}
	_, errs = s.run(2, "device", "set", testDevice)
	holds(t, errs, "nothing to change")
	s.run(0, "device", "disable", testDevice)
	if !s.device(testDevice).Disabled {
		t.Error("not disabled")
	}
	out, _ = s.run(0, "device", "list", "--disabled")
	holds(t, out, testDevice, "SEEN", "PRESENCE")
	s.run(0, "device", "enable", testDevice, "--if-match", "*")
	out, _ = s.run(0, "device", "list", "--disabled")
	holds(t, out, "no devices")
	s.run(2, "device", "list", "--disabled", "--enabled")
	s.run(1, "device", "remove", testDevice, "--if-match", tag[1])
	s.run(0, "device", "remove", testDevice)
}

func TestDevicesAreSearched(t *testing.T) {
	s := startAPI(t)
	for i, name := range []string{"Water pump", "Water tank", "Gate"} {
		s.run(0, "device", "add", fmt.Sprintf("IMEI:35672610440842%d", i), "--unsigned", "--name", name, "--label", fmt.Sprintf("row=%d", i%2), "--label", "site=depot")
	}
	for args, want := range map[string]string{
		"--name wat": "0 1", "--label row=0": "0 2", "--label row=0 --label site": "0 2", "--id IMEI:356726104408421": "1", "--sort -id --enabled": "2 1 0",
		"--sort=-createdAt": "2 1 0", "--created-before 2001-01-01T00:00:00Z": "",
	} {
		out, _ := s.run(0, append([]string{"device", "list", "--json"}, strings.Fields(args)...)...)
		var got []string
		for _, id := range regexp.MustCompile(`"id":"IMEI:35672610440842(\d)"`).FindAllStringSubmatch(out, -1) {
			got = append(got, id[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", args, got, want)
		}
	}
}

func TestSecretIsRotated(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice, "--secret", testSecret)
	out, _ := s.run(0, "device", "rotate", testDevice, "--window", "2h", "--after", "5")
	made := regexp.MustCompile(`(?m)^secret ([0-9a-zA-Z]{30,100})$`).FindStringSubmatch(out)
	if made == nil {
		t.Fatalf("%q", out)
	}
	holds(t, out, "rotated "+testDevice, "the old secret ends ", "after 5 more messages")
	if secrets, err := s.secrets(); err != nil || len(secrets) != 2 || secrets[0] != made[1] {
		t.Errorf("%d secrets, %v", len(secrets), err)
	}
	out, _ = s.run(0, "device", "get", testDevice)
	holds(t, out, "two secrets", "2, neither used yet")
	if strings.Contains(out, made[1]) {
		t.Error("get shows the secret")
	}
	out, _ = s.run(0, "device", "revoke", testDevice, "old")
	holds(t, out, "has one secret")
	given := strings.Repeat("aB3", 11)
	out, _ = s.runWith(0, given+"\n", "device", "rotate", testDevice, "--secret", "-", "--window", "0s")
	if strings.Contains(out, given) || strings.Contains(out, "secret ") {
		t.Errorf("%q", out)
	}
	if secrets, err := s.secrets(); err != nil || len(secrets) != 1 || secrets[0] != given {
		t.Errorf("%d secrets, %v", len(secrets), err)
	}
	s.run(2, "device", "revoke", testDevice, "oldest")
	s.run(1, "device", "revoke", testDevice, "old")
}

func TestDeviceIsShownWhole(t *testing.T) {
	d := api.Device{
		ID: testDevice, Secrets: 2, LastSecret: 2, LastSeen: &api.Seen{Via: "http", Uplink: "17-0"}, Presence: &api.Presence{State: "online"},
		Counters: &api.Counters{Uplinks: 3, Refused: 1},
		Values:   []api.Value{{Name: "temperature", Value: []byte("21.50"), Unit: "Cel", Uplink: "17-0"}, {Name: "note", Value: []byte("\"\\u001b[2J\"")}},
	}
	var out bytes.Buffer
	showDevice(&out, &d)
	if err := showValues(&out, d.Values); err != nil {
		t.Fatal(err)
	}
	holds(t, out.String(), "the old one is used", "over http, uplink 17-0", "online since", "3 uplinks, 0 repeats, 0 heartbeats, 1 refused", "NAME", "temperature  21.50", "Cel")
}

// file writes a file of the test and gives its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileIsImported(t *testing.T) {
	s := startAPI(t)
	path := file(t, "fleet.csv", "id,name,secret,labels\n"+testDevice+",Pump,"+testSecret+",site=depot\nIMEI:490154203237518,Tank,"+strings.Repeat("x", 30)+",\n")
	out, _ := s.run(0, "device", "import", path, "--dry-run")
	holds(t, out, "+ "+testDevice, `    name: "Pump"`, `    labels: {"site":"depot"}`, `    secret: "new"`, "2 rows: would be 2 created, 0 changed, 0 unchanged")
	if strings.Contains(out, testSecret) {
		t.Error("the secret is shown")
	}
	out, _ = s.run(0, "device", "list")
	holds(t, out, "no devices")
	out, errs := s.run(0, "device", "import", path)
	if out != "2 rows: 2 created, 0 changed, 0 unchanged\n" || errs != "" {
		t.Errorf("%q %q", out, errs)
	}
	out, _ = s.run(0, "device", "import", path)
	holds(t, out, "2 unchanged")
	s.run(0, "device", "set", testDevice, "--name", "other")
	out, _ = s.run(0, "device", "import", path, "--dry-run")
	holds(t, out, "~ "+testDevice+"\n", `    name: "other" → "Pump"`, "1 changed, 1 unchanged")
	out, _ = s.run(0, "device", "import", path, "--json")
	var total importTotal
	if err := json.Unmarshal([]byte(out), &total); err != nil || !total.Done || total.Changed != 1 {
		t.Errorf("%s", out)
	}
}

func TestFaultsKeepAFileOut(t *testing.T) {
	s := startAPI(t)
	text := `{"id":"` + testDevice + `","unsigned":true}` + "\n" + `{"id":"IMEI:1"}` + "\n" + `{"id":"IMEI:490154203237518"}` + "\n"
	path := file(t, "fleet.jsonl", text)
	for _, run := range []struct{ name, stdin string }{{path, ""}, {"-", text}} {
		where := run.name
		if where == "-" {
			where = "stdin"
		}
		_, errs := s.runWith(1, run.stdin, "device", "import", run.name)
		holds(t, errs, where+":2: id: invalid device id", where+":3: IMEI:490154203237518: it has no secret", "nothing was imported: 2 rows at fault", "--skip-faults")
		out, _ := s.run(0, "device", "list")
		holds(t, out, "no devices")
		out, errs = s.runWith(1, run.stdin, "device", "import", run.name, "--dry-run")
		holds(t, errs, where+":2: ", "2 rows at fault")
		holds(t, out, "+ "+testDevice)
	}
	out, errs := s.runWith(1, text, "device", "import", "-", "--skip-faults")
	holds(t, errs, "stdin:2: ", "2 rows at fault")
	holds(t, out, "3 rows: 1 created")
	s.device(testDevice)
	_, errs = s.run(1, "device", "import", filepath.Join(t.TempDir(), "none.csv"))
	holds(t, errs, "none.csv")
	_, errs = s.run(1, "device", "import", path, "--key", "wrong")
	holds(t, errs, "401")
}

func TestImportWritesTheSecretsItMakes(t *testing.T) {
	s := startAPI(t)
	path := file(t, "fleet.csv", "id\n"+testDevice+"\n")
	kept := filepath.Join(t.TempDir(), "secrets.csv")
	out, errs := s.run(0, "device", "import", path, "--generate-secrets", kept)
	info, err := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	text, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	secrets, serr := s.secrets()
	if err != nil || serr != nil || len(rows) != 2 || rows[1][0] != testDevice || rows[1][1] != secrets[0] {
		t.Errorf("%d rows, %v %v", len(rows), err, serr)
	}
	if strings.Contains(out+errs, secrets[0]) {
		t.Error("the secret is printed")
	}
	_, errs = s.run(1, "device", "import", path, "--generate-secrets", kept)
	holds(t, errs, "exists")
	other := filepath.Join(t.TempDir(), "none.csv")
	s.run(0, "device", "import", path, "--generate-secrets", other)
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Errorf("a file without secrets is left: %v", err)
	}
}

func TestExportCanBeImported(t *testing.T) {
	s := startAPI(t)
	s.run(0, "device", "add", testDevice, "--unsigned", "--name", "=1+2", "--label", "site=depot")
	s.run(0, "device", "add", "IMEI:490154203237518", "--secret", testSecret, "--no-sms")
	dir := t.TempDir()
	for _, name := range []string{"all.csv", "all.ndjson"} {
		path := filepath.Join(dir, name)
		s.run(0, "device", "export", path)
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), testSecret) || strings.Count(string(text), "IMEI:") != 2 {
			t.Fatalf("%v %s", err, text)
		}
		out, _ := s.run(0, "device", "import", path)
		holds(t, out, "2 rows: 0 created, 0 changed, 2 unchanged")
	}
	out, _ := s.run(0, "device", "export", "--label", "site=depot", "--format", "csv")
	if !strings.HasPrefix(out, "id,") || strings.Count(out, "\n") != 2 {
		t.Errorf("%s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v %v", left, err)
	}
}

func TestAppIsSet(t *testing.T) {
	s := startAPI(t)
	out, _ := s.run(0, "app", "add", "dashboard", "--scope", "device.read", "-d", "site=depot", "--requests", "50")
	key := regexp.MustCompile(`(?m)^key (\S+)$`).FindStringSubmatch(out)[1]
	out, _ = s.run(0, "app", "get", "dashboard")
	holds(t, out, "scopes     device.read", "devices    site=depot", "requests   50 a second", "etag ")
	s.run(0, "app", "set", "dashboard", "-s", "uplink.read,device.read", "--all-devices", "--requests", "0", "--sessions", "3")
	out, _ = s.run(0, "app", "get", "dashboard")
	holds(t, out, "uplink.read,device.read", "devices    all", "sessions   3")
	if strings.Contains(out, "requests") {
		t.Errorf("%s", out)
	}
	s.run(2, "app", "set", "dashboard")
	s.run(2, "app", "set", "dashboard", "--all-devices", "-d", "a=b")
	s.run(1, "app", "set", "dashboard", "--sessions", "4", "--if-match", "x")
	out, _ = s.run(0, "app", "rotate-key", "dashboard", "--window", "1h")
	made := regexp.MustCompile(`(?m)^key (\S+)$`).FindStringSubmatch(out)
	holds(t, out, "new key of dashboard", "the old key ends ")
	s.run(0, "device", "list", "--key", key)
	s.run(0, "device", "list", "--key", made[1])
	s.run(0, "app", "rotate-key", "dashboard", "--json")
	s.run(1, "device", "list", "--key", made[1])
}

// The bar is written over itself, and taken away before other lines.
func TestImportBar(t *testing.T) {
	var out bytes.Buffer
	b := newImportBar(&out, 200, true)
	b.show(7)
	if out.Len() != 0 {
		t.Errorf("%q on what is no terminal", &out)
	}
	b.w = &out
	if _, err := b.reading(strings.NewReader(strings.Repeat("x", 100))).Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	b.show(7)
	b.clear()
	b.clear()
	if want := "\rchecking [###############               ]  50 %, 7 rows\r\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}
