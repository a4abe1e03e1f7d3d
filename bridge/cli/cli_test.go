package cli

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"m2mbridge/bridge"
	"m2mbridge/bridge/flags"
)

// run runs one command line without reading anything of the machine's.
func run(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, environ, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// serveConfig is what `serve` would run with.
func serveConfig(t *testing.T, environ []string, args ...string) bridge.Config {
	t.Helper()
	var c CLI
	env := &Env{Ctx: t.Context(), Stdout: os.Stdout, Stderr: os.Stderr, Settings: newSettings(environ)}
	if _, err := parse(&c, env, append([]string{"serve"}, args...)); err != nil {
		t.Fatal(err)
	}
	return c.Serve.Config
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m2m.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "partitions = 2\nonce-window = 2\nhttp = 'off'\nkeep-raw = true\nunsigned-from = ['10.0.0.0/8', '::1/128']\n")
	environ := []string{"M2M_CONFIG=" + file, "M2M_ONCE_WINDOW=3", "M2M_PARTITIONS=3", "M2M_API=", "M2M_TRAILING_NUL=no"}
	c := serveConfig(t, environ, "--partitions", "4", "--uplinks-age=90m")
	if c.Partitions != 4 || c.OnceWindow != 3 || c.HTTP != "off" || !c.KeepRaw || c.TrailingNUL {
		t.Errorf("%+v", c)
	}
	if c.API != "127.0.0.1:8081" { // an empty variable is none
		t.Errorf("api %q", c.API)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if !cmp.Equal(c.UnsignedFrom, want, cmpopts.EquateComparable(netip.Prefix{})) {
		t.Errorf("unsigned-from %v", c.UnsignedFrom)
	}
	if c.UplinksAge != 90*time.Minute {
		t.Errorf("uplinks-age %v", c.UplinksAge)
	}
	if c := serveConfig(t, environ, "--no-keep-raw", "--trailing-nul"); c.KeepRaw || !c.TrailingNUL {
		t.Errorf("%+v", c)
	}
}

func TestUsageErrors(t *testing.T) {
	file := func(text string) []string { return []string{"config", "--config", writeFile(t, text)} }
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		says    string
	}{
		{"no command", nil, nil, "expected one of"},
		{"help of the program", nil, []string{"sreve"}, "(see m2mbridge --help)"},
		{"help of a group", nil, []string{"device"}, "(see m2mbridge device --help)"},
		{"help of a command", nil, []string{"device", "add"}, "(see m2mbridge device add --help)"},
		{"help of a flag's command", nil, []string{"serve", "--partition", "2"}, "(see m2mbridge serve --help)"},
		{"unknown command", nil, []string{"sreve"}, "sreve"},
		{"unknown flag", nil, []string{"serve", "--partition", "2"}, "--partition"},
		{"bad number", nil, []string{"serve", "--partitions", "two"}, "--partitions"},
		{"bad variable", []string{"M2M_PARTITIONS=two"}, []string{"config"}, `partitions (from M2M_PARTITIONS): "two" is no whole number`},
		{"bad duration", nil, file("uplinks-age = 7\n"), `m2m.toml): "7" is no duration`},
		{"bad size", nil, file("max-body = 'big'\n"), `m2m.toml): "big" is no size`},
		{"bad network", nil, file("unsigned-from = ['10/8']\n"), `m2m.toml): "10/8" is no network such as`},
		{"fraction of a number", nil, file("partitions = 1.5\n"), "partitions (from /"},
		{"bad level", nil, file("log-level = 'loud'\n"), `m2m.toml): "loud" is none of debug, info, warn, error`},
		{"bad choice", []string{"M2M_ONCE=maybe"}, []string{"serve"}, `once (from M2M_ONCE): "maybe" is none of off, observe, dedupe, enforce`},
		{"bad choice printed", []string{"M2M_ONCE=maybe"}, []string{"config"}, `once (from M2M_ONCE): "maybe" is none of`},
		{"bad address", nil, []string{"serve", "--http=8080"}, `--http: "8080" is no host:port`},
		{"bad address of the file", nil, file("http = '8080'\n"), `m2m.toml): "8080" is no host:port`},
		{"all at fault", []string{"M2M_ONCE=maybe"}, []string{"serve", "--api=x"}, "maybe\" is none of off, observe, dedupe, enforce\n--api: "},
		{"unknown key", nil, file("partitons = 2\nhttp = 'off'\n[tls]\ncert = 'x'\n"), "unknown key partitons, tls.cert"},
		{"underscore", nil, file("max_body = 2\n"), "unknown key max_body"},
		{"not TOML", nil, file("partitions: 2\n"), "line 1"},
		{"no such file", nil, []string{"config", "--config", "/does/not/exist"}, "/does/not/exist"},
		{"impossible pair", nil, []string{"serve", "--device-burst", "3"}, "device-burst"},
		{"impossible pair printed", nil, []string{"config", "--device-burst", "3"}, "device-burst"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := run(t, c.environ, c.args...)
			if code != exitUsage || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d: %s", code, stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"--version"}} {
		code, stdout, stderr := run(t, nil, args...)
		if code != exitOK || !strings.Contains(stdout, "m2mbridge") || stderr != "" {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// Every flag of every command has a variable of its own, a key and a help text
// that ends as a sentence.
func TestEveryFlagIsDocumented(t *testing.T) {
	s := newSettings(nil)
	root := flags.New("m2mbridge", "", new(CLI))
	s.adopt(root)
	root.Walk(func(c *flags.Command) {
		if _, ok := c.Target.(runner); !ok && len(c.Commands) == 0 {
			t.Errorf("%v cannot be run", c.Words())
		}
		for _, f := range c.Flags {
			if n := s.names[f]; !f.Alone && (!strings.HasPrefix(n.env, "M2M_") || n.key == "" && f.Name != "config") {
				t.Errorf("%v --%s: %+v", c.Words(), f.Name, n)
			}
			if !f.Hidden && !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%v --%s: help %q", c.Words(), f.Name, f.Help)
			}
		}
	})
}

// Two flags may share a variable only if they are the same setting.
func TestVariablesAreDistinct(t *testing.T) {
	s := newSettings(nil)
	root := flags.New("m2mbridge", "", new(CLI))
	s.adopt(root)
	seen := map[string]string{}
	for f, n := range s.names {
		if other, ok := seen[n.env]; ok && other != f.Name {
			t.Errorf("%s is --%s and --%s", n.env, other, f.Name)
		}
		seen[n.env] = f.Name
	}
}

func TestStrayVariables(t *testing.T) {
	s := newSettings([]string{"M2M_PARTITONS=2", "M2M_PARTITIONS=2", "HOME=/root", "M2MBRIDGE_HTTP=off", "m2m_api=off", "M2MBRIDGE_PORT=tcp://10.0.0.1:80"})
	s.adopt(flags.New("m2mbridge", "", new(CLI)))
	if got := strings.Join(s.Stray(), " "); got != "M2MBRIDGE_HTTP M2M_PARTITONS m2m_api" {
		t.Errorf("stray: %s", got)
	}
	for name, want := range map[string]string{
		"M2M_PARTITONS": "M2M_PARTITIONS", "M2MBRIDGE_HTTP": "M2M_HTTP", "m2m_api": "M2M_API", "M2M_LOGLEVEL": "M2M_LOG_LEVEL", "M2M_XYZXYZ": "",
	} {
		if got := s.meant(name); got != want {
			t.Errorf("%s means %q", name, got)
		}
	}
	// Whatever else is wrong, the warning is there: it may be the reason.
	for _, args := range [][]string{{"config"}, {"serve", "--once=maybe"}} {
		_, _, stderr := run(t, []string{"M2M_PARTITONS=2"}, args...)
		if !strings.Contains(stderr, "name=M2M_PARTITONS meant=M2M_PARTITIONS") {
			t.Errorf("%v: %s", args, stderr)
		}
	}
}

func TestLogStarsWhatIsPrivate(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		h := newLogHandler(&b, 0, format)
		log := slog.New(h).With("password", "hidden")
		log.Info("said", "Token", "hidden", "device", "IMEI:1")
		log.WithGroup("g").Info("said", "body", []byte("hidden"), "msisdn", 31612345678)
		if strings.Contains(b.String(), "hidden") || strings.Contains(b.String(), "316") || !strings.Contains(b.String(), "IMEI:1") {
			t.Errorf("%s", b.String())
		}
	}
}

func TestExitCodeOfFailure(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, _, errs := run(t, nil, "serve", "--redis", "redis://:PassWord@127.0.0.1:1", "--http", taken.Addr().String())
	if code != exitFailure || strings.Contains(errs, "PassWord") || !strings.Contains(errs, taken.Addr().String()) {
		t.Errorf("exit %d: %s", code, errs)
	}
}
