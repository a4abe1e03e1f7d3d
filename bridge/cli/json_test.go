package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"m2mbridge/bridge/flags"
)

// Every command has --json, but for the one that prints a script, and a help
// with an example.
func TestEveryCommandHasJSONAndAnExample(t *testing.T) {
	root := flags.New("m2mbridge", "", new(CLI))
	root.Walk(func(c *flags.Command) {
		if len(c.Commands) > 0 {
			return
		}
		command := strings.Join(c.Words(), " ")
		has := false
		for _, f := range c.Flags {
			has = has || f.Name == "json"
		}
		if !has && command != "completion" {
			t.Errorf("%s has no --json", command)
		}
		if !strings.Contains(c.Detail, "m2mbridge "+command) {
			t.Errorf("the help of %s has no example: %s", command, c.Detail)
		}
		for line := range strings.Lines(c.Detail) {
			if len(line) > 101 {
				t.Errorf("the help of %s has a line of %d", command, len(line))
			}
		}
	})
	for _, want := range []string{"Exit codes: 0", "1 ", "2 "} {
		if !strings.Contains(root.Detail, want) {
			t.Errorf("the help does not say %q", want)
		}
	}
}

// object reads the one JSON object that a command printed.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil || d.More() {
		t.Fatalf("%v: %q", err, text)
	}
	return v
}

func TestConfigJSON(t *testing.T) {
	environ := []string{"M2M_ONCE=off", "M2M_ADMIN_KEY=PassWord1", "M2M_REDIS=redis://u:PassWord2@h:1/0"}
	code, out, errs := run(t, environ, "config", "--json", "--partitions=4", "--unsigned-from=10.0.0.0/8")
	all := object(t, out)
	value := func(key string) map[string]any { v, _ := all[key].(map[string]any); return v }
	if code != exitOK || strings.Contains(out+errs, "PassWord") || len(all) < 20 {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if v := value("partitions"); v["value"] != 4.0 || v["from"] != "flag" {
		t.Errorf("partitions %v", v)
	}
	if v := value("once"); v["value"] != "off" || v["from"] != "environment, M2M_ONCE" {
		t.Errorf("once %v", v)
	}
	if v := value("keep-raw"); v["value"] != false || v["from"] != "default" {
		t.Errorf("keep-raw %v", v)
	}
	if v := value("unsigned-from")["value"]; len(v.([]any)) != 1 {
		t.Errorf("unsigned-from %v", v)
	}
	if _, there := all["config.json"]; there {
		t.Error("how it is printed is among the settings")
	}
	if code, out, _ := run(t, nil, "config", "--json", "--device-burst=3"); code != exitUsage || object(t, out) == nil {
		t.Errorf("exit %d of an impossible pair", code)
	}
}

func TestVersionJSON(t *testing.T) {
	code, out, _ := run(t, nil, "version", "--json")
	if v := object(t, out); code != exitOK || v["version"] == "" || v["os"] == "" {
		t.Errorf("exit %d: %v", code, v)
	}
	_, plain, _ := run(t, nil, "version")
	if _, flag, _ := run(t, nil, "--version"); plain != flag || !strings.HasPrefix(plain, "m2mbridge ") {
		t.Errorf("%q, %q", plain, flag)
	}
}

func TestTokenJSON(t *testing.T) {
	_, plain, _ := runWith(t, testPack, nil, "token", "--secret", testSecret)
	code, out, _ := runWith(t, testPack, nil, "token", "--secret", testSecret, "--json")
	if v := object(t, out); code != exitOK || v["token"] != strings.TrimSpace(plain) {
		t.Errorf("exit %d: %v", code, v)
	}
}

// serve, send and sim in JSON, as a program would use them one after the other.
func TestServeSendAndSimJSON(t *testing.T) {
	t.Setenv("PATH", "") // no redis-server: in memory
	ctx, cancel := context.WithCancel(t.Context())
	out, code := newLines(), make(chan int, 1)
	args := []string{"serve", "--json", "--data", t.TempDir(), "--http=127.0.0.1:0", "--api=127.0.0.1:0", "--mqtt=127.0.0.1:0", "--log-level=error"}
	go func() { code <- Run(ctx, args, nil, strings.NewReader(""), out, &bytes.Buffer{}) }()
	defer cancel()
	out.await(t, "\n")
	first, _, _ := strings.Cut(out.String(), "\n")
	var at ready
	if err := json.Unmarshal([]byte(first), &at); err != nil || at.Event != "ready" || at.Listeners["http"] == "" || at.AdminKey == "" {
		t.Fatalf("%v: %s", err, first)
	}
	environ := []string{"M2M_KEY=" + at.AdminKey, "M2M_API_URL=" + at.Listeners["api"], "M2M_SECRET=" + testSecret}
	if code, _, errs := run(t, environ, "device", "add", testDevice, "--secret", testSecret); code != exitOK {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		to, more string
		code     int
		wants    map[string]any
	}{
		{"http", "--timeout=10s", exitOK, map[string]any{"accepted": true, "status": 200.0, "device": testDevice}},
		{"mqtt", "--timeout=10s", exitOK, map[string]any{"accepted": true, "code": "0x00"}},
		{"http", "--token=" + strings.Repeat("0", 64), exitFailure, map[string]any{"accepted": false, "status": 403.0}},
		{"mqtt", "--token=" + strings.Repeat("0", 64), exitFailure, map[string]any{"accepted": false, "code": "0x87"}},
	} {
		code, out, errs := runWith(t, testPack, environ, "send", "--json", "--device", testDevice, "--to", at.Listeners[c.to], c.more)
		if code != c.code {
			t.Errorf("%s %s: exit %d: %s%s", c.to, c.more, code, out, errs)
		}
		got := object(t, out)
		for name, want := range c.wants {
			if got[name] != want {
				t.Errorf("%s %s: %s is %v: %s", c.to, c.more, name, got[name], out)
			}
		}
		if _, list := got["downlinks"].([]any); !list || strings.Contains(out, testSecret) {
			t.Errorf("%s", out)
		}
	}
	// Of 400 uplinks some are of buttons, whose every eighth is a heartbeat.
	simmed, report, errs := run(t, environ, "sim", "--json", "--devices", "4", "--rate", "0", "--count", "400", "--to", at.Listeners["http"])
	got := object(t, report)
	if simmed != exitOK || got["accepted"] != 400.0 || got["heartbeats"].(float64) < 1 || got["latency"].(map[string]any)["p50"].(float64) <= 0 {
		t.Errorf("exit %d: %s%s", simmed, report, errs)
	}
	cancel()
	if got := <-code; got != exitOK || !strings.HasSuffix(out.String(), "{\"event\":\"stopped\"}\n") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("exit %d: %s", got, out)
	}
}

// Where no bridge is, sim says how to tell it where one is, and send shows no
// request: none was sent.
func TestNobodyThere(t *testing.T) {
	const nowhere = "http://127.0.0.1:1"
	code, out, errs := run(t, nil, "sim", "--to", nowhere, "--devices", "1", "--for", "200ms")
	if code != exitFailure || !strings.Contains(errs, "no bridge answers at 127.0.0.1:1 (--to says where") || !strings.Contains(out, "connection refused") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	for _, to := range []string{nowhere, "mqtt://127.0.0.1:1"} {
		code, out, errs = runWith(t, testPack, []string{"M2M_SECRET=" + testSecret}, "send", "--device", testDevice, "--to", to)
		if code != exitFailure || out != "" || !strings.Contains(errs, "--to says where") {
			t.Errorf("%s: exit %d: %q %s", to, code, out, errs)
		}
	}
}

func TestDemoJSON(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, code := newLines(), make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"demo", "--json", "--rate", "20"}, nil, strings.NewReader(""), out, &bytes.Buffer{})
	}()
	out.await(t, `"who":"reject"`)
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("exit %d", got)
	}
	seen := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var e struct {
			Event, Who, Text, Topic string
			Pack                    []map[string]any
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Who == "uplink" && (len(e.Pack) == 0 || !strings.HasPrefix(e.Topic, "uplinks/")) || e.Who != "uplink" && e.Event == "" && e.Text == "" {
			t.Errorf("%s", line)
		}
		seen[e.Who+e.Event]++
	}
	if seen["ready"] != 1 || seen["uplink"] < 2 || seen["tamper"] != 1 || seen["end"] != 1 {
		t.Errorf("%v", seen)
	}
}
