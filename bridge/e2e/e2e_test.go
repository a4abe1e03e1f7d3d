// Package e2e_test runs the built program as its users do: a real process with
// real flags on free ports, a real Redis beside it, and clients that are not
// ours (curl, mosquitto_pub, mosquitto_sub, redis-cli). It breaks Redis and the
// program in every way the project promises to survive, and holds what was
// acknowledged against what is stored.
//
// Which file do I want? README's own commands: readme_test.go. What devices are
// told over HTTP: http_test.go, over MQTT: mqtt_test.go. What apps may not see:
// access_test.go. Apps' sessions: session_test.go, slow and away stall_test.go,
// over deaths of all kinds death_test.go, shared share_test.go, what was trimmed
// trim_test.go and gap_test.go, where to start after_test.go. Redis failing:
// faults_test.go, cut_test.go, chaos_test.go. The program stopping: stop_test.go.
// A device's removal: revoke_test.go. What a device's steps show: trace_test.go.
// Downlinks over HTTP: downlink_test.go. SMS over an SMSC of npm's (smsc_test.go), and over Kannel: sms_test.go, kannel_test.go.
// A whole fleet: fleet_test.go. New secrets and keys: rotate_test.go. Limits of
// rate: quota_test.go. What an app may not do over the API: access_api_test.go.
//
// It knows nothing of the program's insides. After every test all that the
// program logged, at debug level, is searched for what must never be there.
package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// workshop is where the program is built, once for all tests.
var workshop string

func TestMain(m *testing.M) {
	var err error
	if workshop, err = os.MkdirTemp("", "m2mbridge-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(workshop)
	os.Exit(code)
}

// built gives the path of the program, built as the tests were: with the race
// detector if they have it.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workshop, "m2mbridge")
	args := []string{"build", "-buildvcs=false", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	root := filepath.Join("..", "..")
	if err := look(root); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// look has go test see the files that the program is built from: else it would
// take a result from its cache although the program has changed.
func look(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		}
		if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, just gone
		}
		return err
	})
}

func program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips the test where a program is missing, and fails it in CI.
func need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s, which CI must have", name)
		}
		t.Skipf("no %s", name)
	}
}

// slow skips what takes more than a few seconds in a short run.
func slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow")
	}
}
