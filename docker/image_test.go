// Package docker_test builds the image from the Dockerfile as it stands, and
// runs it beside a Redis with the configuration that compose.yaml gives it.
package docker_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// uid is whom the image runs as.
const uid = "65532:65532"

func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image")
	}
	need(t, "buildah", "redis-server")
	if os.Getuid() != 0 {
		absent(t, "buildah's chroot isolation needs root")
	}
	b := newBuilder(t)
	b.build(t)
	container := strings.TrimSpace(b.run(t, "from", "localhost/m2mbridge"))
	root := strings.TrimSpace(b.run(t, "mount", container))

	t.Run("configuration", func(t *testing.T) {
		checkConfiguration(t, b.run(t, "inspect", "--type", "image", "localhost/m2mbridge"))
	})
	t.Run("file system", func(t *testing.T) { checkFiles(t, root) })
	t.Run("variables", func(t *testing.T) { checkVariables(t, filepath.Join(root, "m2mbridge")) })
	t.Run("serve", func(t *testing.T) { serve(t, b, container) })
}

func checkConfiguration(t *testing.T, inspected string) {
	var image struct {
		OCIv1 struct {
			Config struct {
				User            string
				Entrypoint, Cmd []string
				ExposedPorts    map[string]any
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(inspected), &image); err != nil {
		t.Fatal(err)
	}
	c := image.OCIv1.Config
	if c.User != uid || !slices.Equal(c.Entrypoint, []string{"/m2mbridge"}) || !slices.Equal(c.Cmd, []string{"serve"}) {
		t.Errorf("%+v", c)
	}
	for _, port := range []string{"8080/tcp", "8081/tcp", "1883/tcp"} {
		if _, ok := c.ExposedPorts[port]; !ok {
			t.Errorf("port %s is not exposed", port)
		}
	}
}

// checkFiles: one static program, and nothing beside it.
func checkFiles(t *testing.T, root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && e.Name() != "m2mbridge" {
			t.Errorf("the image holds %s", e.Name())
		}
	}
	program := filepath.Join(root, "m2mbridge")
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	// A package that looks up methods by name costs a third more (bridge/flags).
	if info.Size() > 24e6 {
		t.Errorf("the program has grown to %d bytes", info.Size())
	}
}

// checkVariables: what Dockerfile and compose.yaml set, the program knows.
func checkVariables(t *testing.T, program string) {
	help, err := exec.Command(program, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"Dockerfile", "compose.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`M2M_[A-Z_]+`).FindAllString(string(text), -1) {
			if !bytes.Contains(help, []byte(name)) {
				t.Errorf("%s sets %s, which is no setting", file, name)
			}
		}
	}
}

// serve runs the container as it is, but for its addresses, and asks it.
func serve(t *testing.T, b *builder, container string) {
	redis := startRedis(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := b.command(ctx, "run", "--isolation", "chroot", "--network", "host",
		"--env", "M2M_REDIS=redis://"+redis, "--env", "M2M_HTTP=127.0.0.1:0", "--env", "M2M_API=127.0.0.1:0", "--env", "M2M_MQTT=127.0.0.1:0",
		container, "--", "/m2mbridge", "serve")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	addresses, text := readBanner(out)
	if strings.Contains(text, "level=WARN") {
		t.Errorf("it warns of the Redis of redis.conf:\n%s", text)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		resp, err := http.Get(addresses["api"] + path)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if owner := ownerOf(t, "/m2mbridge\x00serve"); owner != "65532" {
		t.Errorf("it runs as user %q", owner)
	}
}

// readBanner reads what serve says until it is ready, or has ended.
func readBanner(out io.Reader) (addresses map[string]string, text string) {
	addresses = map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text += lines.Text() + "\n"
		if words := strings.Fields(lines.Text()); len(words) == 2 {
			addresses[words[0]] = words[1]
		}
		if lines.Text() == "ready" {
			break
		}
	}
	return addresses, text
}

// ownerOf is the user id of the process with that command line.
func ownerOf(t *testing.T, commandLine string) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if !strings.HasPrefix(string(text), commandLine) {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if m := regexp.MustCompile(`Uid:\t(\d+)`).FindSubmatch(status); m != nil {
			return string(m[1])
		}
	}
	return "none"
}

// startRedis runs redis-server with the configuration of compose.yaml, but for
// its directory and port.
func startRedis(t *testing.T) (address string) {
	t.Helper()
	configuration, err := filepath.Abs("redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("redis-server", configuration, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return address // serve waits for it
}

// builder is a buildah with images and containers of its own.
type builder struct{ dir string }

func newBuilder(t *testing.T) *builder {
	t.Helper()
	b := &builder{dir: t.TempDir()}
	t.Cleanup(func() {
		out, err := b.command(context.Background(), "rm", "--all").CombinedOutput()
		if err != nil {
			t.Errorf("buildah rm: %v: %s", err, out)
		}
	})
	return b
}

func (b *builder) command(ctx context.Context, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "buildah", append([]string{
		"--root", filepath.Join(b.dir, "root"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs",
	}, arguments...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (b *builder) run(t *testing.T, arguments ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := b.command(t.Context(), arguments...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s%s", strings.Join(arguments, " "), err, out, &stderr)
	}
	return string(out)
}

// build builds the Dockerfile. No image can be pulled here, so that the build
// stage's is an empty one with this machine's Go and shell mounted into it.
func (b *builder) build(t *testing.T) {
	t.Helper()
	empty := strings.TrimSpace(b.run(t, "from", "scratch"))
	b.run(t, "config", "--env", "PATH=/host/go/bin:/usr/bin:/bin", "--env", "GOPROXY=off", "--env", "GOTOOLCHAIN=local",
		"--env", "GOMODCACHE=/host/mod", "--env", "GOCACHE=/host/cache", "--env", "HOME=/tmp", empty)
	b.run(t, "commit", "--quiet", empty, "localhost/go")
	arguments := []string{"build", "--isolation", "chroot", "--network", "host", "--build-arg", "GO_IMAGE=localhost/go",
		"--file", "Dockerfile", "--tag", "localhost/m2mbridge",
		"--volume", goEnv(t, "GOROOT") + ":/host/go:ro", "--volume", goEnv(t, "GOMODCACHE") + ":/host/mod:ro",
		"--volume", goEnv(t, "GOCACHE") + ":/host/cache", "--volume", t.TempDir() + ":/tmp"}
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			arguments = append(arguments, "--volume", dir+":"+dir+":ro")
		}
	}
	b.run(t, append(arguments, "..")...)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// need skips the test where a program is missing, and fails it in CI.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			absent(t, p+" is not installed")
		}
	}
}

func absent(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
