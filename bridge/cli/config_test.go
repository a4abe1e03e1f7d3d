package cli

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

// What `config` prints, --config reads back to the same, bar secrets.
func TestConfigRoundTrip(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--redis=unix:///run/redis.sock", "--partitions=16", "--uplinks-age=90m30s", "--keep-raw", "--no-trailing-nul",
			"--max-body=1.5MB", "--mqtt-tls=:8883", "--tls-cert=a b", "--tls-key=c\"d\\", "--profile=strict", "--once=enforce",
			"--tolerance=0s", "--device-rate=0.25", "--device-burst=4", "--reveal-unknown", "--log-level=error", "--log-format=json",
			"--unsigned-from=10.0.0.0/8", "--unsigned-from=fd00::/8,192.168.0.0/16", "--http=off", "--device-cache=0"},
	} {
		want := serveConfig(t, nil, args...)
		code, printed, stderr := run(t, nil, append([]string{"config"}, args...)...)
		if code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		got := serveConfig(t, nil, "--config", writeFile(t, printed))
		if d := cmp.Diff(want, got, comparePrefixes, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%v: %s\n%s", args, d, printed)
		}
	}
}

func TestConfigSaysWhereFrom(t *testing.T) {
	file := writeFile(t, "once-window = 5\n")
	_, printed, _ := run(t, []string{"M2M_ONCE=off"}, "config", "--config", file, "--partitions=1")
	for _, text := range []string{
		"M2M_PARTITIONS; here by: flag\npartitions = 1\n",
		"M2M_ONCE; here by: environment, M2M_ONCE\nonce = \"off\"\n",
		"M2M_ONCE_WINDOW; here by: file, " + file + "\nonce-window = 5\n",
		"M2M_TOLERANCE; here by: default\ntolerance = \"10m\"\n",
	} {
		if !strings.Contains(printed, text) {
			t.Errorf("%q is missing in\n%s", text, printed)
		}
	}
}

func TestConfigShowsNoSecret(t *testing.T) {
	environ := []string{"M2M_ADMIN_KEY=PassWord1", "M2M_REDIS=redis+sentinel://u:PassWord2@h/m?sentinel_password=PassWord3"}
	code, printed, stderr := run(t, environ, "config", "--secret-key=PassWord4")
	if code != exitOK || strings.Contains(printed+stderr, "PassWord") {
		t.Errorf("exit %d: %s%s", code, printed, stderr)
	}
	for _, text := range []string{"\nadmin-key = \"********\"\n", "\nsecret-key = \"********\"\n", "\nredis = \"redis+sentinel://u:********@h/m?sentinel_password=********\"\n"} {
		if !strings.Contains(printed, text) {
			t.Errorf("%q is missing in\n%s", text, printed)
		}
	}
	// The stars are no secret: what was printed is refused until each is put in.
	file := writeFile(t, printed)
	for environ, refused := range map[string]string{
		"X=": "redis admin-key secret-key", "M2M_ADMIN_KEY=k": "redis secret-key", "M2M_REDIS=redis://u:********@h": "redis admin-key secret-key",
	} {
		code, _, stderr := run(t, []string{environ}, "serve", "--config", file)
		var named []string
		for line := range strings.Lines(stderr) {
			key, _, ok := strings.Cut(strings.TrimPrefix(line, "m2mbridge: "), " (from ")
			if ok && strings.Contains(line, "): it holds a starred secret") {
				named = append(named, key)
			}
		}
		if code != exitUsage || strings.Join(named, " ") != refused {
			t.Errorf("%s: exit %d, want %s: %s", environ, code, refused, stderr)
		}
	}
	got := serveConfig(t, []string{"M2M_ADMIN_KEY=k", "M2M_SECRET_KEY=s"}, "--config", file, "--redis=redis://h")
	if got.AdminKey != "k" || got.SecretKey != "s" || got.Redis != "redis://h" {
		t.Errorf("what wins over the stars: %+v", got)
	}
	if code, _, stderr := run(t, nil, "config", "--admin-key=********"); code != exitUsage || !strings.Contains(stderr, "--admin-key: it holds a starred secret, put the real one in") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestShortDuration(t *testing.T) {
	for _, d := range []time.Duration{0, time.Second, time.Minute, time.Hour, 168 * time.Hour, 90 * time.Minute, 10*time.Minute + 10*time.Second, 20 * time.Hour, 100 * time.Millisecond} {
		text := shortDuration(d)
		if back, err := time.ParseDuration(text); err != nil || back != d {
			t.Errorf("%v: %s", d, text)
		}
	}
	if got := shortDuration(168 * time.Hour); got != "168h" {
		t.Error(got)
	}
}

func TestGatewayIsStarred(t *testing.T) {
	for url, want := range map[string]string{
		"loopback:?after=1s":         "loopback:?after=1s",
		"http:/etc/kannel@kpn.toml":  "http:/etc/kannel@kpn.toml",
		"smpp://u:p@h:2775?window=1": "smpp://u:********@h:2775?window=1",
		"smpps://u:p@h?ca=/x@y":      "smpps://u:********@h?ca=/x@y",
		"smpp://u:p@q@h":             "smpp://u:********@h",
		"smpp://u:p%40q@h":           "smpp://u:********@h",
		"smpp://u:a?b@h":             "smpp://u:********@h",
		"smpp://u:secret":            "smpp://u:********",
		"smpp://h":                   "smpp://h",
	} {
		if got := redactGateway(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
