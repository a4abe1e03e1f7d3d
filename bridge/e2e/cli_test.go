package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cli runs a command of the program against a node.
func (s *site) cli(n *node, stdin string, args ...string) (code int, stdout, stderr string) {
	s.Helper()
	env := append(environment(), "M2M_ADMIN_KEY="+adminKey, "M2M_API_URL=http://"+n.addr("api"))
	return runFor(s.T, 30*time.Second, env, stdin, program(s.T), args...)
}

// mustCLI wants exit code 0 and gives what it printed.
func (s *site) mustCLI(n *node, stdin string, args ...string) string {
	s.Helper()
	code, out, errs := s.cli(n, stdin, args...)
	if code != 0 {
		s.Fatalf("m2mbridge %v: exit code %d: %s%s", args, code, out, errs)
	}
	return out
}

func TestCLIRegistry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.serve()
	const id = "IMEI:356726104408422"
	secret := s.confide("72J3wD2bd49jnMI8S31j2L3vZldH3rSS", "a secret")
	out := s.mustCLI(n, "", "device", "add", id, "--name", "Pump 7", "--label", "site=depot", "--msisdn", "31612345678")
	made := secretIn(t, out)
	s.confide(made, "a secret")
	s.mustCLI(n, secret+"\n", "device", "add", "DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950e", "--secret", "-")
	if out := s.mustCLI(n, "", "device", "get", id); !strings.Contains(out, "Pump 7") || strings.Contains(out, made) {
		t.Errorf("device get: %s", out)
	}
	if out := s.mustCLI(n, "", "device", "list"); !strings.Contains(out, id) || !strings.Contains(out, "site=depot") || !strings.Contains(out, "DVNUUID:0f8f") {
		t.Errorf("device list: %s", out)
	}
	lines := strings.Split(strings.TrimSpace(s.mustCLI(n, "", "device", "list", "--json")), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) || len(lines) != 2 {
			t.Errorf("device list --json: %s", line)
		}
	}
	if code, _, errs := s.cli(n, "", "device", "add", id); code != 1 || !strings.Contains(errs, "409") {
		t.Errorf("added twice: exit code %d: %s", code, errs)
	}
	s.mustCLI(n, "", "device", "remove", id)
	if code, _, errs := s.cli(n, "", "device", "get", id); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("a removed device: exit code %d: %s", code, errs)
	}
	out = s.mustCLI(n, "", "app", "add", "dashboard", "--scope", "uplink.read", "--device", "site=depot", "--json")
	var made2 struct{ Name, Key string }
	if err := json.Unmarshal([]byte(out), &made2); err != nil || s.confide(made2.Key, "an app's key") == "" {
		t.Errorf("app add --json: %s", out)
	}
	if out := s.mustCLI(n, "", "app", "list"); !strings.Contains(out, "dashboard") || strings.Contains(out, made2.Key) {
		t.Errorf("app list: %s", out)
	}
	s.mustCLI(n, "", "app", "remove", "dashboard")
	if out := s.mustCLI(n, "", "app", "list"); !strings.Contains(out, "no apps") {
		t.Errorf("app list: %s", out)
	}
	if code, _, errs := runFor(t, 10*time.Second, environment(), "", program(t), "device", "list"); code != 2 || !strings.Contains(errs, "key") {
		t.Errorf("without a key: exit code %d: %s", code, errs)
	}
}

func secretIn(t *testing.T, out string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if secret, ok := strings.CutPrefix(line, "secret "); ok {
			return strings.TrimSpace(secret)
		}
	}
	t.Fatalf("no secret is shown: %s", out)
	return ""
}

func TestCLIToken(t *testing.T) {
	t.Parallel()
	const secret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	run := func(stdin string, args ...string) (int, string) {
		code, out, errs := runFor(t, 10*time.Second, append(environment(), "M2M_SECRET="+secret), stdin, program(t), append([]string{"token"}, args...)...)
		if strings.Contains(out+errs, secret) {
			t.Errorf("it prints the secret: %s%s", out, errs)
		}
		return code, out
	}
	body := `[{"bn":"urn:dev:IMEI:356726104408422:","n":"t","v":1}]`
	code, token := run(body)
	if token = strings.TrimSpace(token); code != 0 || len(token) != 64 {
		t.Fatalf("exit code %d: %s", code, token)
	}
	if code, out := run(body, "--explain", "--token", token); code != 0 || !strings.Contains(out, "matches") {
		t.Errorf("exit code %d: %s", code, out)
	}
	_, withFeed := run(body + "\n")
	if code, out := run(body, "--explain", "--token", strings.TrimSpace(withFeed)); code != 1 || !strings.Contains(out, "line feed") && !strings.Contains(out, "newline") {
		t.Errorf("a line feed too many: exit code %d: %s", code, out)
	}
}

func TestCLISendAndTail(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	send := func(args ...string) (int, string) {
		args = append([]string{"send", "--device", d.ID, "--secret", d.Secret}, args...)
		code, out, errs := s.cli(n, "", args...)
		for _, line := range []string{d.Secret, d.Token([]byte(d.BaseName()))} {
			if strings.Contains(out+errs, line) {
				t.Errorf("it prints what is private: %s%s", out, errs)
			}
		}
		return code, out + errs
	}
	toHTTP, toMQTT := "--to=http://"+n.addr("http"), "--to=mqtt://"+n.addr("mqtt")
	if code, out := send(toHTTP, "temperature,Cel=21.50", "open=true", "mode=idle"); code != 0 || !strings.Contains(out, "200") {
		t.Errorf("over HTTP: exit code %d: %s", code, out)
	}
	if code, out := send(toMQTT, "temperature,Cel=22"); code != 0 || !strings.Contains(out, "PUBACK 0x00") {
		t.Errorf("over MQTT: exit code %d: %s", code, out)
	}
	wrong := strings.Repeat("0", 64)
	if code, out := send(toHTTP, "--token", wrong, "t=1"); code != 1 || !strings.Contains(out, "403") {
		t.Errorf("a wrong token over HTTP: exit code %d: %s", code, out)
	}
	if code, out := send(toMQTT, "--token", wrong, "t=1"); code != 1 || !strings.Contains(out, "0x87") {
		t.Errorf("a wrong token over MQTT: exit code %d: %s", code, out)
	}
	if code, out := send("--to=http://127.0.0.1:1", "t=1"); code != 1 || !strings.Contains(out, "no bridge answers") {
		t.Errorf("to nobody: exit code %d: %s", code, out)
	}
	tail := startCommand(t, append(environment(), "M2M_KEY="+adminKey, "M2M_API_URL=http://"+n.addr("api")), "tail", "--json", "--after", "0")
	tail.eventually(`"type":"uplink"`, 2)
	tail.eventually(`"type":"reject"`, 2)
	send(toHTTP, "live=1")
	tail.eventually(`"live"`, 1)
	for line := range strings.Lines(tail.out.String()) {
		var m struct{ Type, Device string }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Device != d.ID {
			t.Errorf("tail --json: %s", line)
		}
	}
	// The bridge goes and comes back: tail goes on, without a hole or a repeat.
	n.stop()
	n.again()
	send(toHTTP, "later=1")
	tail.eventually(`"later"`, 1)
	if got := strings.Count(tail.out.String(), `"type":"uplink"`); got != 4 {
		t.Errorf("tail showed %d uplinks, want 4:\n%s", got, tail.out)
	}
	if code := tail.interrupt(); code != 0 {
		t.Errorf("tail ended with exit code %d", code)
	}
}

func TestCLISim(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.serve()
	for via, to := range map[string]string{"http": "http://" + n.addr("http"), "mqtt": "mqtt://" + n.addr("mqtt")} {
		out := s.mustCLI(n, "", "sim", "--devices", "5", "--rate", "0", "--count", "100", "--for", "10s", "--pack", "reference", "--to", to)
		if !strings.Contains(out, "accepted  100") || strings.Contains(out, "failed") {
			t.Errorf("%s: %s", via, out)
		}
	}
	if got := len(s.stored("uplinks")); got != 200 {
		t.Errorf("stored %d uplinks, want 200", got)
	}
}

// What config prints, config reads: secrets starred, and the same again.
func TestCLIConfig(t *testing.T) {
	t.Parallel()
	env := append(environment(), "M2M_ADMIN_KEY="+adminKey, "M2M_SECRET_KEY=KeyThatNobodyMaySee00", "M2M_HTTP=127.0.0.1:18080")
	run := func(args ...string) string {
		code, out, errs := runFor(t, 10*time.Second, env, "", program(t), append([]string{"config"}, args...)...)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		return out
	}
	private := run("--redis", "redis://:PassWord12345@127.0.0.1:6379")
	for _, secret := range []string{adminKey, "KeyThatNobodyMaySee00", "PassWord12345"} {
		if strings.Contains(private, secret) {
			t.Errorf("it prints %s", secret)
		}
	}
	first := run("--redis", "redis://127.0.0.1:6379", "--partitions", "3")
	for _, want := range []string{"\npartitions = 3\n", "\nhttp = \"127.0.0.1:18080\"\n", "\nadmin-key = \"********\"\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("it lacks %q:\n%s", want, first)
		}
	}
	file := filepath.Join(t.TempDir(), "m2m.toml")
	if err := os.WriteFile(file, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	env = env[:len(env)-1] // the address comes from the file now
	if second := run("--config", file); settings(second) != settings(first) {
		t.Errorf("read back it differs:\n%s\nand\n%s", settings(first), settings(second))
	}
}

// settings are the lines that are no comments.
func settings(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestCLIDemo(t *testing.T) {
	t.Parallel()
	slow(t)
	code, out, errs := runFor(t, 30*time.Second, environment(), "", program(t), "demo", "--for", "3s", "--rate", "20")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
	for _, want := range []string{"uplink", "over HTTP", "the app received", "data removed"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "the app received 0 uplinks") {
		t.Errorf("the app got nothing:\n%s", out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"serve", "--partitions", "0"}, "partitions"},
		{[]string{"serve", "--mqtt-tls", "127.0.0.1:0"}, "tls-cert"},
		{[]string{"serve", "--redis", "redis://127.0.0.1:6379", "--data", "/tmp"}, "data"},
		{[]string{"serve", "--config", "/does/not/exist"}, "/does/not/exist"},
		{[]string{"serv"}, "serv"},
	} {
		if code, _, errs := runFor(t, 10*time.Second, environment(), "", program(t), c.args...); code != 2 || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit code %d: %s", c.args, code, errs)
		}
	}
	if code, out, _ := runFor(t, 10*time.Second, environment(), "", program(t), "--version"); code != 0 || !strings.HasPrefix(out, "m2mbridge ") {
		t.Errorf("--version: exit code %d: %s", code, out)
	}
}
