package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/fleet"
)

const adminKey = "AdminKeyOfTheTests0123456789"

// site is one installation: a Redis, the nodes on it, and what was told to them
// in confidence, which no log may hold.
type site struct {
	*testing.T
	redis *redistest.Server // nil: the store is embedded
	own   *redis.Client     // ours to look with; it comes back by itself after a fault
	nodes []*node

	mu       sync.Mutex
	confided map[string]string // secret → what it is
}

// newSite starts a Redis; a node is started by serve.
func newSite(t *testing.T, options ...redistest.Option) *site {
	t.Helper()
	return siteOn(t, redistest.Start(t, options...))
}

func siteOn(t *testing.T, server *redistest.Server) *site {
	s := &site{T: t, redis: server, confided: map[string]string{adminKey: "the admin key", "31612345678": "a telephone number"}}
	if server != nil {
		s.own = redis.NewClient(&redis.Options{Addr: server.Addr, Protocol: 2})
		t.Cleanup(func() { _ = s.own.Close() })
	}
	t.Cleanup(s.inspect)
	return s
}

// inspect searches all that the nodes logged; they have stopped.
func (s *site) inspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		text := n.out.whole()
		confess(s.T, text, s.confided)
		if s.Failed() && testing.Verbose() {
			s.Logf("the program said:\n%.20000s", text)
		}
	}
}

// confide notes something that must not be logged.
func (s *site) confide(secret, what string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) > 7 {
		s.confided[secret] = what
	}
	return secret
}

// serve starts a node on the site's Redis.
func (s *site) serve(args ...string) *node {
	s.Helper()
	return s.serveOn(s.redis.URL(), args...)
}

// serveOn starts a node on a Redis by URL, which may be a proxy's.
func (s *site) serveOn(url string, args ...string) *node {
	s.Helper()
	return s.serveIn(environment(), append([]string{"--redis", url}, args...)...)
}

func (s *site) serveIn(env []string, args ...string) *node {
	s.Helper()
	n := startNode(s.T, append(env, "M2M_ADMIN_KEY="+adminKey), append(freePorts(), args...)...)
	s.nodes = append(s.nodes, n)
	return n
}

// environment is what a program needs of the machine's, and no settings. The
// race detector would have each wait a second at its end.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=atexit_sleep_ms=10"}
}

// call makes a request of the API as the admin, and wants the status.
func (s *site) call(method, path string, body any, want int) []byte {
	s.Helper()
	status, answer := s.ask(s.nodes[0], method, path, body)
	if status != want {
		s.Fatalf("%s %s: status %d, want %d: %s", method, path, status, want, answer)
	}
	return answer
}

func (s *site) ask(n *node, method, path string, body any) (status int, answer []byte) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			s.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.addr("api")+path, r)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := oneShot.Do(req)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, answer
}

// oneShot makes a connection for each request, as a device does that wakes up.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// devices registers n devices, the first having number first. more are further
// members of the API's device, in JSON's names.
func (s *site) devices(first, n int, more map[string]any) []fleet.Device {
	s.Helper()
	list := fleet.Devices(s.Name(), first, n)
	for _, d := range list {
		s.confide(d.Secret, "the secret of "+d.ID)
		in := map[string]any{"id": d.ID, "secret": d.Secret}
		for k, v := range more {
			in[k] = v
		}
		s.call(http.MethodPost, "/v1/devices", in, http.StatusCreated)
	}
	return list
}

func (s *site) device(number int, more map[string]any) fleet.Device {
	s.Helper()
	return s.devices(number, 1, more)[0]
}

// app is one that may log in.
type app struct{ name, key string }

func (s *site) app(name string, scopes []string, devices ...string) app {
	s.Helper()
	answer := s.call(http.MethodPost, "/v1/apps", map[string]any{"name": name, "scopes": scopes, "devices": devices}, http.StatusCreated)
	var created struct{ Key string }
	if err := json.Unmarshal(answer, &created); err != nil || created.Key == "" {
		s.Fatalf("the app's key is not in %s (%v)", answer, err)
	}
	return app{name, s.confide(created.Key, "the key of app "+name)}
}

// token is the message token of a body, which no log may hold.
func (s *site) token(d fleet.Device, body string) string {
	return s.confide(d.Token([]byte(body)), "a token")
}

// stored reads a stream of the site's Redis from the start.
func (s *site) stored(name string) []redis.XMessage {
	s.Helper()
	entries, err := s.own.XRange(context.Background(), "m2m:{0}:"+name, "-", "+").Result()
	if err != nil {
		s.Fatalf("read stream %s: %v", name, err)
	}
	return entries
}

// storedPaged reads a long stream of the site's Redis from the start.
func (s *site) storedPaged(name string) (entries []redis.XMessage) {
	s.Helper()
	for from := "-"; ; {
		page, err := s.own.XRangeN(context.Background(), "m2m:{0}:"+name, from, "+", 2000).Result()
		if err != nil {
			s.Fatalf("read stream %s: %v", name, err)
		}
		entries = append(entries, page...)
		if len(page) < 2000 {
			return entries
		}
		from = "(" + page[len(page)-1].ID
	}
}

// packs are what is stored of a device, in order.
func (s *site) packs(d fleet.Device) (packs []string) {
	s.Helper()
	for _, e := range s.stored("uplinks") {
		if e.Values["device"] == d.ID {
			packs = append(packs, e.Values["pack"].(string))
		}
	}
	return packs
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, limit time.Duration, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !yes(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond) // between questions
	}
}

// pack is a body of a device with one measurement, n=v. Without a time it is
// always new; bt in whole seconds fixes it.
func pack(d fleet.Device, bt int64, name string, v any) string {
	time := ""
	if bt != 0 {
		time = fmt.Sprintf(`"bt":%d,`, bt)
	}
	value := fmt.Sprintf(`"v":%v`, v)
	if text, ok := v.(string); ok {
		value = fmt.Sprintf(`"vs":%q`, text)
	}
	return fmt.Sprintf(`[{"bn":"%s",%s"n":"%s",%s}]`, d.BaseName(), time, name, value)
}

// holding are the packs that hold a text.
func holding(packs []string, text string) (found []string) {
	for _, p := range packs {
		if strings.Contains(p, text) {
			found = append(found, p)
		}
	}
	return found
}
