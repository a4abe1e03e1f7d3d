package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestREADME runs the README's own commands, as they stand but for the ports,
// in the order a reader would.
func TestREADME(t *testing.T) {
	t.Parallel()
	need(t, "bash", "curl", "mosquitto_pub", "mosquitto_sub", "redis-cli")
	s := newSite(t)
	n := s.serve()
	const id, secret = "IMEI:356726104408422", "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	s.confide(secret, "the device's secret")
	r := &readme{s: s, n: n, dir: t.TempDir(), swap: []string{
		"localhost:8080", n.addr("http"), "localhost:8081", n.addr("api"), "-p 1883", "-h 127.0.0.1 -p " + n.port("mqtt"),
		"redis-cli ", "redis-cli -p " + portOf(s.redis.Addr) + " ", "app add dashboard ", "app add dashboard-2 ", "--for 30s", "--for 2s",
	}}
	if err := os.Symlink(program(t), filepath.Join(r.dir, "m2mbridge")); err != nil {
		t.Fatal(err)
	}

	register := r.blocks("Register a device, send an uplink")
	out := r.run(register[0])
	if !strings.Contains(out, `"id":"`+id+`"`) || !strings.Contains(out, "HTTP/1.1 200 OK") || len(s.stored("uplinks")) != 1 {
		t.Fatalf("%s\nsaid\n%s", register[0], out)
	}
	own, tail := cutLine(t, register[1], "m2mbridge tail")
	if out := r.run(own); !strings.Contains(out, "added IMEI:490154203237518") || !strings.Contains(out, "200 OK") || len(s.stored("uplinks")) != 2 {
		t.Fatalf("%s\nsaid\n%s", own, out)
	}

	// What is followed for ever runs beside what it is to see.
	apps := r.blocks("Read uplinks in an app")[0]
	add, rest := splitAfter(t, apps, "prints the app's key")
	out = r.run(add)
	_, key, ok := strings.Cut(out, `"key":"`)
	key, _, _ = strings.Cut(key, `"`)
	if !ok || !strings.HasPrefix(key, "m2m_") {
		t.Fatalf("%s\nsaid\n%s", add, out)
	}
	r.swap = append(r.swap, "m2m_…", s.confide(key, "the app's key"))
	sub, rest := splitAfter(t, rest, "# MQTT")
	read, rest := splitAfter(t, rest, "the stream itself")
	pages, live := splitAfter(t, rest, "pages, from any stream id")
	following := map[string]*background{}
	for name, command := range map[string]string{"tail": tail, "mosquitto_sub": sub, "redis-cli": read, "live": live} {
		following[name] = r.follow(command)
	}
	eventually(t, 10*time.Second, "the app is subscribed", func() bool {
		return strings.Contains(curl(t, "http://"+n.addr("api")+"/metrics").body, "m2mbridge_mqtt_subscriptions 1")
	})
	publish := r.blocks("The same over MQTT")[0]
	eventually(t, 20*time.Second, "all that follow see the uplink", func() bool {
		r.run(publish) // again: when they began to follow cannot be seen of all
		for _, f := range following {
			if !strings.Contains(f.out.String(), "temperature") {
				return false
			}
		}
		return true
	})
	if out := r.run(pages); !strings.Contains(out, `"temperature"`) || !strings.Contains(out, `"via":"mqtt"`) {
		t.Errorf("%s\nsaid\n%s", pages, out)
	}
	r.manage()
	explain := r.blocks("Find out why a token does not match")[0]
	wrong := strings.ReplaceAll(explain, "4f39858b…", strings.Repeat("0a", 32))
	if out := r.run("body='[]'\n{\n" + wrong + "} || echo exit code $?"); !strings.Contains(out, "exit code 1") || strings.Count(out, "\n") < 3 {
		t.Errorf("%s\nsaid\n%s", explain, out)
	}
	sim := r.blocks("Simulate a fleet")[0]
	if out := r.run(sim); !strings.Contains(out, "accepted") || strings.Contains(out, "failed") {
		t.Errorf("%s\nsaid\n%s", sim, out)
	}
}

// manage runs what operators and backend engineers are told of downlinks, fleets,
// apps and traces.
func (r *readme) manage() {
	r.s.Helper()
	wants := func(commands string, texts ...string) {
		r.s.Helper()
		out := r.run(commands)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				r.s.Errorf("%s\nsaid\n%s\nwithout %q", commands, out, text)
			}
		}
	}
	wants(r.blocks("Send to a device")[0], `"channel":"any"`, "EXECUTING", "QUEUED", "uplink over HTTP")
	fleet := "id,name,labels\nIMEI:356726104408422,Pump 6,site=depot\nIMEI:490154203237518,Pump 7,site=depot\n"
	if err := os.WriteFile(filepath.Join(r.dir, "fleet.csv"), []byte(fleet), 0o600); err != nil {
		r.s.Fatal(err)
	}
	wants(r.blocks("Manage a fleet")[0], "Pump 6", "temperature", "changed IMEI:356726104408422", "it is never shown again")
	wants(r.blocks("Manage apps")[0], "added dashboard-2", "key m2m_")
	follow, last := cutLine(r.s.T, r.blocks("Find out what became of a message")[0], "--last")
	wants(last, "verdict", "stored")
	live := r.follow(follow)
	live.eventually("received", 1)
}

// readme is the commands of the README, run in a directory of their own.
type readme struct {
	s    *site
	n    *node
	dir  string
	swap []string // what stands in the README, and what is run instead
}

// blocks are the shell commands below a heading.
func (r *readme) blocks(heading string) []string {
	r.s.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		r.s.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n### "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n#")
	var blocks []string
	for parts := strings.Split(section, "```"); len(parts) > 2; parts = parts[2:] {
		if block, isShell := strings.CutPrefix(parts[1], "sh\n"); isShell {
			blocks = append(blocks, block)
		}
	}
	if !ok || len(blocks) == 0 {
		r.s.Fatalf("the README has no commands below %q", heading)
	}
	return blocks
}

func (r *readme) script(commands string) string {
	return "set -eo pipefail\n" + strings.NewReplacer(r.swap...).Replace(commands)
}

// environment spares the program's commands their ports.
func (r *readme) environment() []string {
	return append(environment(), "M2M_ADMIN_KEY="+adminKey, "M2M_API_URL=http://"+r.n.addr("api"),
		"M2M_SEND_TO=http://"+r.n.addr("http"), "M2M_SIM_TO=mqtt://"+r.n.addr("mqtt"))
}

func (r *readme) run(commands string) string {
	r.s.Helper()
	code, out, errs := runFor(r.s.T, time.Minute, r.environment(), "", "bash", "-c", "cd "+r.dir+"\n"+r.script(commands))
	if code != 0 {
		r.s.Fatalf("exit code %d of\n%s\n%s%s", code, commands, out, errs)
	}
	return out + errs
}

// follow runs commands that do not end by themselves.
func (r *readme) follow(commands string) *background {
	r.s.Helper()
	return start(r.s.T, r.environment(), "stdbuf", "-oL", "bash", "-c", "cd "+r.dir+"\n"+r.script(commands))
}

// cutLine takes the line that holds a text out of a block.
func cutLine(t *testing.T, block, text string) (others, line string) {
	t.Helper()
	for l := range strings.Lines(block) {
		if strings.Contains(l, text) {
			line = l
		} else {
			others += l
		}
	}
	if line == "" {
		t.Fatalf("the README has no %q in\n%s", text, block)
	}
	return others, line
}

// splitAfter splits a block behind the line that holds a text.
func splitAfter(t *testing.T, block, text string) (first, rest string) {
	t.Helper()
	before, after, ok := strings.Cut(block, text)
	if !ok {
		t.Fatalf("the README has no %q in\n%s", text, block)
	}
	end, rest, _ := strings.Cut(after, "\n")
	return before + text + end, rest
}
