package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/doctor"
)

func TestDoctorExitCodes(t *testing.T) {
	s := redistest.Start(t)
	args := []string{"doctor", "--redis", s.URL(), "--no-listeners"}
	code, out, errs := run(t, nil, args...)
	if code != exitOK || !strings.Contains(out, "warn   persistence") || !strings.Contains(out, "-> CONFIG SET appendonly yes") {
		t.Errorf("warnings only: exit %d: %s%s", code, out, errs)
	}
	s.Client().HSet(t.Context(), "m2m:{0}:device:IMEI:356726104408422", "auth", "x")
	code, out, errs = run(t, nil, append(args, "--fix")...)
	if code != exitFailure || !strings.Contains(out, "FAULT  registry") || !strings.Contains(errs, "a fault remains") {
		t.Errorf("a fault: exit %d: %s%s", code, out, errs)
	}
	for _, wrong := range [][]string{{"--partitions", "5000"}, {"--http", "8080"}, {"--mqtt-tls", "x"}, {"--uplinks-max", "-1"}} {
		if code, _, errs := run(t, nil, append(args, wrong...)...); code != exitUsage || !strings.Contains(errs, wrong[0]) {
			t.Errorf("%v: exit %d: %s", wrong, code, errs)
		}
	}
}

func TestDoctorJSON(t *testing.T) {
	s := redistest.Start(t)
	s.Client().ZAdd(t.Context(), "m2m:{0}:devices", redis.Z{Member: "IMEI:356726104408422"})
	for _, c := range []struct {
		args  []string
		level doctor.Level
		code  int
	}{{nil, doctor.Fault, exitFailure}, {[]string{"--fix"}, doctor.OK, exitOK}, {nil, doctor.OK, exitOK}} {
		code, out, _ := run(t, nil, append([]string{"doctor", "--redis", s.URL(), "--no-listeners", "--json"}, c.args...)...)
		var found doctor.Finding
		for line := range strings.Lines(out) {
			var f doctor.Finding
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if f.Name == "registry" {
				found = f
			}
		}
		if code != c.code || found.Level != c.level || (found.Mended > 0) != (c.args != nil) {
			t.Errorf("%v: exit %d: %+v", c.args, code, found)
		}
	}
}

// What serve is told is what doctor looks for: the same names, variables and defaults.
func TestDoctorTakesServesSettings(t *testing.T) {
	var c CLI
	env := &Env{Ctx: t.Context(), Settings: newSettings(nil)}
	if _, err := parse(&c, env, []string{"serve"}); err != nil {
		t.Fatal(err)
	}
	serve, byName := env.Call.Command, map[string]string{}
	for _, f := range serve.Flags {
		byName[f.Name] = f.Env + " " + f.Default
	}
	if _, err := parse(&c, env, []string{"doctor"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range env.Call.Command.Flags {
		if f.Env != "" && f.Name != "partitions" && f.Name != "config" && byName[f.Name] != f.Env+" "+f.Default {
			t.Errorf("--%s is %q here, %q of serve", f.Name, f.Env+" "+f.Default, byName[f.Name])
		}
	}
}
