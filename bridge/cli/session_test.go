package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/api"
	"m2mbridge/bridge/session"
	"m2mbridge/broker"
)

// session keeps one of an app that is away, or connected.
func (s *apiServer) session(app, clientID string, away bool) {
	s.t.Helper()
	kept := broker.Saved{
		Key: broker.SessionKey{App: app, ClientID: clientID}, Owner: "o", Version: 5, Remote: "192.0.2.7:1", Expiry: time.Hour, Detached: away,
		Subscriptions: []broker.SavedSubscription{{Filter: "uplinks/#", QoS: 1}},
		Cursors:       []broker.Cursor{{Stream: 0}},
	}
	k := session.NewKeeper(session.Config{Client: s.client, Node: "gateway-1:7"})
	if _, _, err := k.Open(s.t.Context(), kept, false, 0); err != nil {
		s.t.Fatal(err)
	}
	if err := k.Save(s.t.Context(), []broker.Saved{kept})[0]; err != nil {
		s.t.Fatal(err)
	}
}

func TestSessionCommands(t *testing.T) {
	s := startAPI(t)
	if out, _ := s.run(0, "session", "list"); out != "no sessions\n" {
		t.Errorf("empty list: %q", out)
	}
	s.uplink(1)
	s.session("ui", "left/1\x1b[2J", true)
	s.session("ui", strings.Repeat("x", 100), false)
	s.session("other", "o", false)
	for _, c := range []struct{ args, want string }{
		{"session list", `^SESSION +STATE +NODE +BEHIND +SEEN +EXPIRES
other/o +connected  gateway-1:7  1, [0-9]s +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d
ui/left/1\.\[2J +away       gateway-1:7  1, [0-9]s +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \d{4}-\d\d-\d\d \d\d:\d\d
ui/x{100}  connected  gateway-1:7  1, [0-9]s +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d
$`},
		{"session list --app ui --limit 1", `^SESSION.*\nui/left.*\n$`},
		{"session get ui/left/1\x1b[2J", `^app        ui
client id  left/1\.\[2J
state      away
node       gateway-1:7
remote     192\.0\.2\.7:1
mqtt       5
created    [-\d]+ \d\d:\d\d
seen       [-\d]+ \d\d:\d\d:\d\d
expires    [-\d]+ \d\d:\d\d
kept for   1h0m0s
in flight  0
behind     1, [0-9]s
subscribed uplinks/# \(QoS 1\)

STREAM   PARTITION  CURSOR  BEHIND
uplinks  0          0-0     1, [0-9]s
$`},
	} {
		if out, _ := s.run(0, strings.Fields(c.args)...); !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("%s:\n%s", c.args, out)
		}
	}
	out, _ := s.run(0, "session", "list", "--json")
	var got api.Session
	if json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &got) != nil || got.App != "other" || strings.Count(out, "\n") != 3 {
		t.Errorf("list --json: %s", out)
	}
	out, _ = s.run(0, "session", "get", "other/o", "--json")
	if json.Unmarshal([]byte(out), &got) != nil || len(got.Streams) != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("get --json: %s", out)
	}
	if out, _ := s.run(0, "session", "remove", "ui/left/1\x1b[2J"); out != "removed ui/left/1.[2J\n" {
		t.Errorf("remove: %q", out)
	}
	for _, command := range []string{"get", "remove"} {
		if _, errs := s.run(1, "session", command, "ui/left"); !strings.Contains(errs, `there is no session "ui/left"; m2mbridge session list`) {
			t.Errorf("%s what is not there: %q", command, errs)
		}
		if _, errs := s.run(2, "session", command, "ui"); !strings.Contains(errs, "want APP/CLIENTID") {
			t.Errorf("%s no session: %q", command, errs)
		}
	}
}

func TestSessionOfAnyClientID(t *testing.T) {
	s := startAPI(t)
	for _, id := range []string{"/", ".", "..", "../..", "a//b", "%2F", "a b?c#d", "ü€", "{x}\n"} {
		s.session("ui", id, true)
		s.run(0, "session", "remove", "ui/"+id)
	}
	if out, _ := s.run(0, "session", "list"); out != "no sessions\n" {
		t.Errorf("left: %s", out)
	}
}

func TestBehind(t *testing.T) {
	n := int64(12)
	none := int64(0)
	for want, l := range map[string]api.Lag{
		"12, 5h30m": {Entries: &n, Seconds: 5.5 * 3600}, "12, 1m": {Entries: &n, Seconds: 61}, "12, 59s": {Entries: &n, Seconds: 59.9},
		"-": {Entries: &none}, "1h0m": {Seconds: 3600}, "0s": {},
	} {
		if got := behind(l); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
