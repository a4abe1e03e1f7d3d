package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// importSize is how many devices an operator has; under the race detector a twentieth of them, unless M2M_LONG is set.
func importSize() int {
	if (raceEnabled || testing.Short()) && os.Getenv("M2M_LONG") == "" {
		return 5_000
	}
	return 100_000
}

// TestFleet is an operator's day: many devices are imported, over and over, while
// one of them sends; one is found by each thing it is known by, and the export
// is what was imported, but for the secrets.
func TestFleet(t *testing.T) {
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	list := fleet.Devices(s.Name(), 1000, importSize())
	for i := range 20 {
		s.confide(list[i*len(list)/20].Secret, "a secret of the file")
	}
	file := filepath.Join(t.TempDir(), "fleet.csv")
	if err := os.WriteFile(file, []byte(fleetCSV(list)), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := strconv.Itoa(len(list))
	before := resident(t, n)
	if got := lastLine(s.timedCLI(n, "device", "import", file, "--dry-run")); got != rows+" rows: would be "+rows+" created, 0 changed, 0 unchanged" {
		t.Errorf("dry run: %s", got)
	}
	if got := s.count("m2m:{0}:devices"); got != 0 {
		t.Fatalf("a dry run left %d devices", got)
	}
	if got := lastLine(s.timedCLI(n, "device", "import", file)); got != rows+" rows: "+rows+" created, 0 changed, 0 unchanged" {
		t.Errorf("import: %s", got)
	}
	if got := s.count("m2m:{0}:devices"); got != len(list) {
		t.Fatalf("%d devices are registered, want %d", got, len(list))
	}
	one := list[len(list)/2]
	s.post(n, one, pack(one, 0, "t", 1)).accepted(t)
	if got := lastLine(s.timedCLI(n, "device", "import", file)); got != rows+" rows: 0 created, 0 changed, "+rows+" unchanged" {
		t.Errorf("the same again: %s", got)
	}
	s.find(n, len(list)/2, one)
	s.exported(n, list)
	if grown := resident(t, n) - before; grown > 96<<10 && !raceEnabled {
		t.Errorf("the bridge has grown by %d MiB", grown>>10)
	}
	s.postQuickly(n, one, pack(one, 0, "t", 2))
}

// fleetCSV is a file of devices, each found by its number in some way.
func fleetCSV(list []fleet.Device) string {
	var b strings.Builder
	b.WriteString("id,secret,name,iccid,msisdn,labels\n")
	for i, d := range list {
		fmt.Fprintf(&b, "%s,%s,Pump %d,8931%015d,316%08d,site=depot%d;line=%d\n", d.ID, d.Secret, i, i, i, i%50, i%7)
	}
	return b.String()
}

// timedCLI runs a command that may take long, and logs how long.
func (s *site) timedCLI(n *node, args ...string) string {
	s.Helper()
	began := time.Now()
	env := append(environment(), "M2M_ADMIN_KEY="+adminKey, "M2M_API_URL=http://"+n.addr("api"))
	code, out, errs := runFor(s.T, 2*time.Minute, env, "", program(s.T), args...)
	if code != 0 {
		s.Fatalf("m2mbridge %v: exit code %d: %.1000s", args, code, errs)
	}
	s.Logf("%s took %s", strings.Join(args[:2], " "), time.Since(began).Round(time.Millisecond))
	return out
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// count is how many members a sorted set of the site's Redis has.
func (s *site) count(key string) int {
	s.Helper()
	got, err := s.own.ZCard(s.Context(), key).Result()
	if err != nil {
		s.Fatal(err)
	}
	return int(got)
}

// deviceIDs are those of one page of the API's list.
func (s *site) deviceIDs(n *node, query url.Values) (ids []string) {
	s.Helper()
	status, answer := s.ask(n, http.MethodGet, "/v1/devices?"+query.Encode(), nil)
	var page struct{ Items []struct{ ID string } }
	if err := json.Unmarshal(answer, &page); err != nil || status != http.StatusOK {
		s.Fatalf("devices with %v: status %d: %.300s (%v)", query, status, answer, err)
	}
	for _, d := range page.Items {
		ids = append(ids, d.ID)
	}
	return ids
}

// find looks for the i-th device of the file by all that it is known by.
func (s *site) find(n *node, i int, d fleet.Device) {
	s.Helper()
	for name, value := range map[string]string{
		"id": d.ID, "iccid": fmt.Sprintf("8931%015d", i), "msisdn": fmt.Sprintf("316%08d", i), "name": fmt.Sprintf("pump %d", i),
	} {
		began := time.Now()
		if got := s.deviceIDs(n, url.Values{name: {value}}); len(got) != 1 || got[0] != d.ID {
			s.Errorf("by %s %s: %v, want %s", name, value, got, d.ID)
		}
		if took := time.Since(began); took > 2*time.Second {
			s.Errorf("to find one by %s took %s", name, took)
		}
	}
	labels := url.Values{"label": {fmt.Sprintf("site=depot%d", i%50), fmt.Sprintf("line=%d", i%7)}, "limit": {"1000"}}
	if got := len(s.deviceIDs(n, labels)); got < min(1000, importSize()/350-1) {
		s.Errorf("%d devices have both labels", got)
	}
}

// exported holds the export, in both forms, against what was imported.
func (s *site) exported(n *node, list []fleet.Device) {
	s.Helper()
	for _, format := range []string{"csv", "ndjson"} {
		file := filepath.Join(s.TempDir(), "out."+format)
		s.timedCLI(n, "device", "export", file)
		text, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		if got := strings.Count(string(text), "\"IMEI:") + strings.Count(string(text), "\nIMEI:"); got != len(list) {
			s.Errorf("%s: %d devices, want %d", format, got, len(list))
		}
		for i := 0; i < len(list); i += len(list) / 100 {
			if strings.Contains(string(text), list[i].Secret) || !strings.Contains(string(text), list[i].ID) {
				s.Errorf("%s: device %d is missing or shows its secret", format, i)
			}
		}
		want := fmt.Sprintf("%d rows: 0 created, 0 changed, %d unchanged", len(list), len(list))
		if got := lastLine(s.timedCLI(n, "device", "import", file)); got != want {
			s.Errorf("import of the %s export: %s", format, got)
		}
	}
}
