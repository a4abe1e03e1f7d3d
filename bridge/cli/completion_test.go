package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// needShell skips a test that needs a shell; in CI there must be bash.
func needShell(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if name == "bash" && os.Getenv("CI") == "true" {
		t.Fatal("there is no bash")
	}
	t.Skip("there is no " + name)
}

// completionFile has the script, which the shell must be able to read.
func completionFile(t *testing.T, shell string) string {
	t.Helper()
	needShell(t, shell)
	code, script, errs := run(t, nil, "completion", shell)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	file := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), shell, "-n", file).CombinedOutput(); err != nil {
		t.Fatalf("%s -n: %v %s", shell, err, out)
	}
	return file
}

// completions are lines as they stand in the shell, the cursor behind the last
// word, with some of what it must offer and some of what it must not.
var completions = []struct{ line, offers, never string }{
	{"m2mbridge ", "serve device app session token send tail sim demo completion version config", "add list --help"},
	{"m2mbridge de", "device demo", "serve"},
	{"m2mbridge device ", "add get list remove", "serve"},
	{"m2mbridge device add ", "", "add serve"},
	{"m2mbridge device add --la", "--label", "--limit"},
	{"m2mbridge --", "--config --help --version", "--via"},
	{"m2mbridge send --", "--device --secret --via --json --no-token --config", "--devices --rate"},
	{"m2mbridge send --via ", "http mqtt", "--to"},
	{"m2mbridge send --via m", "mqtt", "http"},
	{"m2mbridge send --via=m", "mqtt", "http"},
	{"m2mbridge send --via=mqtt --t", "--to --token --timeout", "--via mqtt"},
	{"m2mbridge send --device device --v", "--via", "--version-only device"},
	{"m2mbridge --config serve tail --kind ", "uplinks rejects events", "serve"},
	{"m2mbridge serve --keep", "--keep-raw", ""},
	{"m2mbridge serve --no-k", "--no-keep-raw", ""},
	{"m2mbridge completion ", "bash zsh", "serve"},
	{"m2mbridge session remove --j", "--json", ""},
	{"m2mbridge sms ", "add get list cancel", "serve"},
	{"m2mbridge sms add --", "--data --pack --ttl --not-before --priority --key-id", "--channel --wake"},
	{"m2mbridge downlink add --w", "--wake", ""},
}

func TestBashCompletion(t *testing.T) {
	file := completionFile(t, "bash")
	for _, c := range completions {
		words := strings.Split(strings.ReplaceAll(c.line, "=", " = "), " ") // as bash parts them
		const script = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _m2mbridge; printf '%s\n' "${COMPREPLY[@]}"`
		offered(t, c.line, c.offers, c.never, exec.CommandContext(t.Context(), "bash", append([]string{"--norc", "-uc", script, "bash", file}, words...)...))
	}
	out, err := exec.CommandContext(t.Context(), "bash", "--norc", "-c", `source "$1"; complete -p m2mbridge`, "bash", file).Output()
	if err != nil || strings.TrimSpace(string(out)) != "complete -o default -F _m2mbridge m2mbridge" {
		t.Errorf("registered as %q, %v", out, err)
	}
}

// The function is what runs in zsh; what it calls of zsh's own, which needs a
// terminal, is ours.
func TestZshCompletion(t *testing.T) {
	file := completionFile(t, "zsh")
	const script = `compdef() { }; compset() { cur=${cur#*=} }; _files() { }
compadd() { shift; for w in "$@"; do [[ $w == ${cur}* ]] && print -r -- $w; done; true }
source "$1"; shift; words=("$@"); CURRENT=$#; _m2mbridge`
	for _, c := range completions {
		offered(t, c.line, c.offers, c.never, exec.CommandContext(t.Context(), "zsh", append([]string{"-fc", script, "zsh", file}, strings.Split(c.line, " ")...)...))
	}
}

func offered(t *testing.T, line, offers, never string, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v %s", line, err, out)
		return
	}
	got := strings.Fields(string(out))
	for word := range strings.FieldsSeq(offers) {
		if !slices.Contains(got, word) {
			t.Errorf("%q is not offered %s: %v", line, word, got)
		}
	}
	for word := range strings.FieldsSeq(never) {
		if slices.Contains(got, word) {
			t.Errorf("%q is offered %s: %v", line, word, got)
		}
	}
}
