package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/api"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/session"
	"m2mbridge/bridge/trace"
)

const (
	testAdminKey = "the-admin-key-of-this-test-0123456789"
	testDevice   = "IMEI:356726104408422"
	testSecret   = "72J3wD2bd4QcKpLzRtYuVbNmAsDfGh42"
)

// apiServer is a real API on a port of its own, over a real Redis.
type apiServer struct {
	t      *testing.T
	client *redis.Client
	trace  *trace.Trace
	url    string
	addr   string
	stop   func()

	downlinks *downlink.Service
}

func startAPI(t *testing.T) *apiServer {
	t.Helper()
	server := redistest.Start(t)
	s := &apiServer{t: t, client: server.Client(), addr: "127.0.0.1:0"}
	s.start(server)
	return s
}

// start serves on s.addr until s.stop.
func (s *apiServer) start(server *redistest.Server) {
	s.t.Helper()
	blocking := server.Client()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.client, Blocking: blocking, AdminKey: testAdminKey})
	if err != nil {
		s.t.Fatal(err)
	}
	s.trace = trace.New(trace.Config{Memory: 1 << 20, Node: "here", Client: s.client, Registry: registry})
	s.downlinks = downlink.New(downlink.Config{
		Client: s.client, Schedule: "0,60000;172800000", SMS: func(text string, _ []byte) (int, error) { return 1 + len(text)/160, nil },
	})
	a, err := api.New(api.Config{
		Registry: registry, Client: s.client, Trace: s.trace, Downlinks: s.downlinks, Sessions: session.NewKeeper(session.Config{Client: s.client}),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr, s.url = ln.Addr().String(), "http://"+ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- registry.Run(ctx) }()
	go func() { ended <- s.trace.Run(ctx) }()
	go func() { ended <- a.Serve(ctx, ln) }()
	running := true
	s.stop = func() {
		cancel()
		_ = blocking.Close() // ends its XREAD
		for range 3 {
			if running {
				<-ended
			}
		}
		running = false
	}
	s.t.Cleanup(func() { s.stop() })
}

func (s *apiServer) environ() []string {
	return []string{"M2M_API_URL=" + s.url, "M2M_ADMIN_KEY=" + testAdminKey}
}

// run is a command that must end with that code.
func (s *apiServer) run(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	got, stdout, stderr := run(s.t, s.environ(), args...)
	if got != code {
		s.t.Fatalf("%v: code %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout, stderr
}

func (s *apiServer) uplink(v int) string {
	s.t.Helper()
	id, err := s.client.XAdd(s.t.Context(), &redis.XAddArgs{Stream: auth.Keyspace{}.Key(0, "uplinks"), Values: []any{
		"device", testDevice, "via", "http", "at", time.Now().UnixMilli(),
		"pack", fmt.Sprintf(`[{"bn":"urn:dev:%s:","bt":1700000000,"n":"temperature","u":"Cel","v":%d.50},{"n":"door","vb":true},{"n":"note","vs":"a b"}]`, testDevice, v),
	}}).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func TestDeviceCommands(t *testing.T) {
	s := startAPI(t)
	if out, _ := s.run(0, "device", "list"); out != "no devices\n" {
		t.Errorf("empty list: %q", out)
	}
	out, _ := s.run(0, "device", "add", testDevice, "--name", "Pump 7", "--label", "site=depot;x", "--label=a=b,c", "--no-sms", "--require-token")
	made := regexp.MustCompile(`(?m)^secret ([0-9a-zA-Z]{30,100})$`).FindStringSubmatch(out)
	if !strings.HasPrefix(out, "added "+testDevice+"\n") || made == nil {
		t.Fatalf("add: %q", out)
	}
	out, _ = s.run(0, "device", "add", "DVNUUID:0B2AE3F5-5a1c-4c1e-9d0e-3f1d2c4b5a69", "--secret", testSecret, "--json")
	var d api.Device
	if err := json.Unmarshal([]byte(out), &d); err != nil || strings.Contains(out, testSecret) || d.ID != "DVNUUID:0b2ae3f5-5a1c-4c1e-9d0e-3f1d2c4b5a69" {
		t.Errorf("add --json: %s", out)
	}
	out, _ = s.run(0, "device", "get", testDevice)
	for _, want := range []string{"id         " + testDevice, "name       Pump 7", "state      token required, no SMS", "labels     a=b,c,site=depot;x"} {
		if !strings.Contains(out, want) {
			t.Errorf("get lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, made[1]) {
		t.Error("get shows the secret")
	}
	out, _ = s.run(0, "device", "list")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "ID") || !strings.HasPrefix(lines[2], testDevice) {
		t.Errorf("list:\n%s", out)
	}
	out, _ = s.run(0, "device", "list", "--json", "--limit=1")
	if json.Unmarshal([]byte(out), &d) != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("list --json: %s", out)
	}
	if out, _ := s.run(0, "device", "remove", testDevice); out != "removed "+testDevice+"\n" {
		t.Errorf("remove: %q", out)
	}
	if _, errs := s.run(1, "device", "get", testDevice); !strings.Contains(errs, "404 Not Found") {
		t.Errorf("get after remove: %q", errs)
	}
}

func TestDeviceSecretFromStandardInput(t *testing.T) {
	s := startAPI(t)
	var out, errs bytes.Buffer
	if code := Run(t.Context(), []string{"device", "add", testDevice, "--secret", "-"}, s.environ(), strings.NewReader(testSecret+"\n"), &out, &errs); code != 0 {
		t.Fatalf("%s%s", &out, &errs)
	}
	secrets, err := s.secrets()
	if err != nil || len(secrets) != 1 || secrets[0] != testSecret {
		t.Errorf("%v", err)
	}
}

func (s *apiServer) secrets() ([]string, error) {
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.client, Blocking: s.client})
	if err != nil {
		return nil, err
	}
	return registry.Secrets(s.t.Context(), testDevice)
}

// A list is followed through all its pages.
func TestDeviceListIsWhole(t *testing.T) {
	s := startAPI(t)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.client, Blocking: s.client})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1203
	for i := range n {
		d := auth.Device{ID: auth.DeviceID(fmt.Sprintf("IMEI:35672610440%04d", i)), Unsigned: true}
		if _, err := registry.PutDevice(t.Context(), d, auth.Create); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[string]int{"0": n, "501": 501, "3": 3} {
		out, _ := s.run(0, "device", "list", "--limit", limit)
		if got := strings.Count(out, "\nIMEI:"); got != want {
			t.Errorf("--limit %s: %d devices, want %d", limit, got, want)
		}
	}
}

func TestAppCommands(t *testing.T) {
	s := startAPI(t)
	out, _ := s.run(0, "app", "add", "dashboard", "--scope", "uplink.read,device.read", "-d", "site=depot", "-d", testDevice)
	key := regexp.MustCompile(`(?m)^key (\S+)$`).FindStringSubmatch(out)
	if key == nil {
		t.Fatalf("add: %q", out)
	}
	out, _ = s.run(0, "app", "list")
	if !strings.Contains(out, "dashboard  uplink.read,device.read  site=depot,"+testDevice) || strings.Contains(out, key[1]) {
		t.Errorf("list:\n%s", out)
	}
	// --key wins over the admin key.
	if _, errs := s.run(1, "app", "list", "--key", key[1]); !strings.Contains(errs, "lacks the scope admin") {
		t.Errorf("list as app: %q", errs)
	}
	s.run(0, "device", "list", "--key", key[1])
	s.run(0, "app", "remove", "dashboard")
	if _, errs := s.run(1, "device", "list", "--key", key[1]); !strings.Contains(errs, "401") || !strings.Contains(errs, "--key") {
		t.Errorf("list with a dead key: %q", errs)
	}
	if out, _ := s.run(0, "app", "list"); out != "no apps\n" {
		t.Errorf("list: %q", out)
	}
}

func TestClientErrorsHelp(t *testing.T) {
	s := startAPI(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	for _, c := range []struct {
		name    string
		code    int
		environ []string
		args    string
		want    string
	}{
		{"nobody there", 1, s.environ(), "device list --api-url " + nobody, "--api-url"},
		{"nobody there, tail", 1, s.environ(), "tail --api-url " + nobody, "--api-url"},
		{"no key", 2, []string{"M2M_API_URL=" + s.url}, "device list", "M2M_KEY"},
		{"no URL", 2, s.environ(), "device list --api-url localhost", "--api-url"},
		{"wrong key", 1, s.environ(), "device list --key wrong", "no app has this key"},
		{"bad id", 1, s.environ(), "device add IMEI:1", "id: "},
		{"bad scope", 1, s.environ(), "app add x --scope uplink.raed", "scopes[0]"},
		{"no scope", 2, s.environ(), "app add x", "--scope"},
		{"tail of a device that is none", 1, s.environ(), "tail --device x", "query.device"},
		{"tail of a kind that is none", 2, s.environ(), "tail --kind x", "--kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := run(t, c.environ, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("code %d, %q, %q; want %d, %q", code, out, errs, c.code, c.want)
			}
		})
	}
}

// tailRun is a `tail` under way.
type tailRun struct {
	t     *testing.T
	lines chan string
	notes *bufio.Reader
	stop  context.CancelFunc
	code  chan int
}

func (s *apiServer) tail(args ...string) *tailRun {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	out, w := io.Pipe()
	notes, nw := io.Pipe()
	r := &tailRun{s.t, make(chan string), bufio.NewReader(notes), cancel, make(chan int, 1)}
	go func() {
		r.code <- Run(ctx, append([]string{"tail"}, args...), s.environ(), strings.NewReader(""), w, nw)
		w.Close()
		nw.Close()
	}()
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.lines <- lines.Text()
		}
		close(r.lines)
	}()
	s.t.Cleanup(cancel)
	return r
}

func (r *tailRun) next() string {
	r.t.Helper()
	select {
	case line := <-r.lines:
		return line
	case <-time.After(20 * time.Second):
		r.t.Fatal("nothing came")
		return ""
	}
}

func TestTailShowsColumns(t *testing.T) {
	s := startAPI(t)
	s.uplink(21)
	ks := auth.Keyspace{}
	for _, add := range []*redis.XAddArgs{
		{Stream: ks.Key(0, "rejects"), Values: []any{"device", testDevice, "via", "http", "at", "1700000000000", "reason", "wrong-token", "detail", "the token\x1b[2J does not match", "remote", "192.0.2.7:1"}},
		{Stream: ks.Key(0, "events"), Values: []any{"device", testDevice, "at", "1700000000000", "kind", "downlink", "id", "d1", "state", "SUCCEEDED", "cause", "read"}},
	} {
		if err := s.client.XAdd(t.Context(), add).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := s.tail("--after", "0")
	for _, want := range []string{
		`^\d\d:\d\d:\d\d\.\d{3}  uplink  IMEI:356726104408422  http  temperature=21\.5Cel door=true note="a b"$`,
		`^\d\d:\d\d:\d\d\.\d{3}  reject  IMEI:356726104408422  http  wrong-token: the token\.\[2J does not match  192\.0\.2\.7:1$`,
		`^\d\d:\d\d:\d\d\.\d{3}  event   IMEI:356726104408422  downlink  d1 SUCCEEDED  read$`,
	} {
		if line := r.next(); !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("got  %s\nwant %s", line, want)
		}
	}
	r.stop()
	if code := <-r.code; code != 0 {
		t.Errorf("code %d after the interrupt", code)
	}
}

func TestTailJSON(t *testing.T) {
	s := startAPI(t)
	id := s.uplink(7)
	r := s.tail("--after", "0", "--json", "--kind", "uplinks", "--device", testDevice)
	var got struct {
		Type, ID, Device string
		Pack             json.RawMessage
	}
	if line := r.next(); json.Unmarshal([]byte(line), &got) != nil || got.Type != "uplink" || got.ID != id || !strings.Contains(string(got.Pack), `"v":7.50`) {
		t.Errorf("got %s", line)
	}
}

func TestTailStartsAtAnInstant(t *testing.T) {
	s := startAPI(t)
	id := s.uplink(7)
	var got struct{ ID string }
	r := s.tail("--after", "2001-02-03T04:05:06+01:00", "--json")
	if line := r.next(); json.Unmarshal([]byte(line), &got) != nil || got.ID != id {
		t.Errorf("got %s", line)
	}
	if _, stderr := s.run(1, "tail", "--after", "yesterday"); !strings.Contains(stderr, "want a stream id such as") || !strings.Contains(stderr, "an instant such as") {
		t.Errorf("stderr %s", stderr)
	}
}

func TestTailGoesOnWhenTheBridgeIsBack(t *testing.T) {
	server := redistest.Start(t)
	s := &apiServer{t: t, client: server.Client(), addr: "127.0.0.1:0"}
	s.start(server)
	s.uplink(1)
	r := s.tail("--after", "0")
	if line := r.next(); !strings.Contains(line, "temperature=1.5") {
		t.Fatalf("got %s", line)
	}
	s.stop()
	note, err := r.notes.ReadString('\n')
	if err != nil || !strings.Contains(note, "connection lost") {
		t.Errorf("note %q, %v", note, err)
	}
	go io.Copy(io.Discard, r.notes)
	s.uplink(2) // while it is away
	s.start(server)
	s.uplink(3)
	for v := 2; v <= 3; v++ {
		if line, want := r.next(), fmt.Sprintf("temperature=%d.5", v); !strings.Contains(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
}

func TestTailEndsWithItsKey(t *testing.T) {
	s := startAPI(t)
	out, _ := s.run(0, "app", "add", "soon-gone", "--scope", "uplink.read", "--json")
	var app api.App
	if err := json.Unmarshal([]byte(out), &app); err != nil {
		t.Fatal(err)
	}
	s.uplink(1)
	r := s.tail("--key", app.Key, "--after", "0")
	r.next()
	notes := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r.notes)
		notes <- string(all)
	}()
	s.run(0, "app", "remove", "soon-gone")
	if code := <-r.code; code != 1 {
		t.Errorf("code %d", code)
	}
	if text := <-notes; !strings.Contains(text, "401") {
		t.Errorf("notes %q", text)
	}
}
