package store_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"m2mbridge/bridge/store"
)

// TestMain is also the program that TestChildEndsWithItsParent kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("M2M_TEST_HOLD"); dir != "" {
		_, err := store.Open(context.Background(), store.Config{URL: store.Embedded, Data: dir})
		fmt.Println("opened", err)
		select {}
	}
	os.Exit(m.Run())
}

func TestChild(t *testing.T) {
	needServer(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir, book := shortDir(t), &logBook{}
	for want := range int64(3) { // what one life stores, the next finds
		st, err := store.Open(t.Context(), store.Config{URL: store.Embedded, Data: dir, Log: book.logger()})
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind != store.KindChild || !strings.Contains(st.Describe(), dir) {
			t.Errorf("kind %q, %q", st.Kind, st.Describe())
		}
		if err := st.CanStore(t.Context()); err != nil {
			t.Error(err)
		}
		if n, err := st.Client.Incr(t.Context(), "lives").Result(); n != want+1 || err != nil {
			t.Errorf("life %d: %d, %v", want+1, n, err)
		}
		pid := childPID(t, dir)
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if alive(pid) {
			t.Error("the child outlives Close")
		}
	}
	if text := book.String(); text != "" {
		t.Errorf("an uneventful life is logged: %s", text)
	}
}

func TestChildSettings(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	st := open(t, store.Config{Data: dir})
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction",
		"port": "0", "unixsocketperm": "700", "maxmemory": strconv.FormatInt(store.AvailableMemory()/2, 10),
	} {
		got, err := st.Client.ConfigGet(t.Context(), name).Result()
		if err != nil || got[name] != want {
			t.Errorf("%s is %q, not %q; %v", name, got[name], want, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "redis"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
}

func TestChildKilledIsRestarted(t *testing.T) {
	needServer(t)
	dir, book := shortDir(t), &logBook{}
	st := open(t, store.Config{Data: dir, Log: book.logger()})
	for round := range 5 {
		id, err := st.Client.XAdd(t.Context(), &redis.XAddArgs{Stream: "s", Values: []any{"round", round}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		pid := childPID(t, dir)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another child serves", func() bool {
			now := childPID(t, dir)
			return now != 0 && now != pid && st.CanStore(t.Context()) == nil &&
				strings.Count(book.String(), "redis-server runs again") == round+1
		})
		var last []redis.XMessage // go-redis repeats its last failure to connect for up to a second
		eventually(t, "it can be read", func() bool {
			last, err = st.Client.XRevRangeN(t.Context(), "s", "+", "-", 1).Result()
			return err == nil
		})
		if len(last) != 1 || last[0].ID != id {
			t.Errorf("round %d: acknowledged %s, found %v", round, id, last)
		}
	}
	if n := strings.Count(book.String(), "redis-server ended"); n != 5 {
		t.Errorf("the end is logged %d times: %s", n, book)
	}
}

func TestChildThatCannotRestartIsLoggedOnce(t *testing.T) {
	needServer(t)
	dir, book := shortDir(t), &logBook{}
	log := slog.New(slog.NewTextHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug}))
	st := open(t, store.Config{Data: dir, Log: log})
	if err := st.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "redis", "appendonlydir", "appendonly.aof.manifest")
	good, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(childPID(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has tried again three times", func() bool {
		return strings.Count(book.String(), "manifest file format") >= 3
	})
	if err := os.WriteFile(manifest, good, 0o600); err != nil {
		t.Fatal(err)
	}
	book.await(t, "redis-server runs again")
	eventually(t, "it serves", func() bool { return st.Client.Get(t.Context(), "k").Val() == "v" })
	if n := strings.Count(book.String(), "redis-server ended"); n != 1 {
		t.Errorf("the end is logged %d times: %s", n, book)
	}
}

func TestChildThatCannotStart(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "redis", "appendonlydir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "redis", "appendonlydir", "appendonly.aof.manifest"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{Data: dir})
	if err == nil || !strings.Contains(err.Error(), "redis-server said:") || !strings.Contains(err.Error(), "manifest") {
		t.Errorf("%v", err)
	}
}

func TestTwoBridgesOneDirectory(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	first := open(t, store.Config{Data: dir})
	_, err := store.Open(t.Context(), store.Config{Data: dir})
	if err == nil || !strings.Contains(err.Error(), dir+" is in use by another m2mbridge (process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("%v", err)
	}
	if err := first.CanStore(t.Context()); err != nil {
		t.Errorf("the first is disturbed: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, store.Config{Data: dir})
}

func TestChildEndsWithItsParent(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "M2M_TEST_HOLD="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "opened <nil>\n" {
		t.Fatal(line)
	}
	pid := childPID(t, dir)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "the child has ended", func() bool { return !alive(pid) })
}

func TestStaleServerIsEnded(t *testing.T) {
	needServer(t)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{{"running", syscall.SIGCONT}, {"stopped", syscall.SIGSTOP}} {
		t.Run(c.name, func(t *testing.T) {
			dir, book := shortDir(t), &logBook{}
			st := open(t, store.Config{Data: dir})
			if err := st.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			// A server that nobody owns, as where there is no parent-death signal.
			s := &server{sock: filepath.Join(dir, "redis", "redis.sock")}
			s.start(t, "--appendonly", "yes", "--pidfile", filepath.Join(dir, "redis", "redis.pid"))
			s.signal(t, c.signal)
			reaped := make(chan struct{})
			go func() { _ = s.cmd.Wait(); close(reaped) }()
			next := open(t, store.Config{Data: dir, Log: book.logger()})
			<-reaped
			if v := next.Client.Get(t.Context(), "k").Val(); v != "v" {
				t.Errorf("found %q", v)
			}
			if !strings.Contains(book.String(), "ending the redis-server of an earlier run") {
				t.Error("nothing is said of it")
			}
		})
	}
}

func TestForeignPIDIsLeftAlone(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	other := startServer(t) // a redis-server too, but not in our directory
	if err := os.MkdirAll(filepath.Join(dir, "redis"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "redis", "redis.pid"), []byte(strconv.Itoa(other.cmd.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, store.Config{Data: dir})
	st := open(t, store.Config{URL: "unix://" + other.sock})
	if err := st.CanStore(t.Context()); err != nil {
		t.Errorf("a server of somebody else was ended: %v", err)
	}
}

// reaches wants another to reach the child of that directory by its URL.
func reaches(t *testing.T, dir string) {
	t.Helper()
	url, err := store.RunningURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, store.Config{URL: url})
	if err := other.CanStore(t.Context()); err != nil {
		t.Errorf("%s: %v", url, err)
	}
}

func TestRunningURL(t *testing.T) {
	needServer(t)
	dir := filepath.Join(shortDir(t), "a?b c")
	if url, err := store.RunningURL(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("before: %q, %v", url, err)
	}
	st := open(t, store.Config{Data: dir})
	reaches(t, dir)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if url, err := store.RunningURL(dir); err == nil {
		t.Errorf("afterwards: %q", url)
	}
}

func TestDeepDirectoryGetsShortSocket(t *testing.T) {
	needServer(t)
	dir := filepath.Join(shortDir(t), strings.Repeat("deep/", 30))
	st := open(t, store.Config{Data: dir})
	reaches(t, dir)
	if err := st.CanStore(t.Context()); err != nil {
		t.Error(err)
	}
	sockets, err := st.Client.ConfigGet(t.Context(), "unixsocket").Result()
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Dir(sockets["unixsocket"])
	if info, err := os.Stat(place); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(place); !os.IsNotExist(err) {
		t.Errorf("%s is left behind", place)
	}
}

func TestNoServerOnPath(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Setenv("PATH", t.TempDir())
	book := &logBook{}
	st, err := store.Open(t.Context(), store.Config{Data: t.TempDir(), Log: book.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if st.Kind != store.KindMiniredis || !strings.Contains(st.Describe(), "lost at exit") {
		t.Errorf("kind %q, %q", st.Kind, st.Describe())
	}
	if strings.Count(book.String(), "NOTHING IS KEPT") != 1 || !strings.Contains(book.String(), "no redis-server on PATH") {
		t.Errorf("it is not said loudly, once: %s", book)
	}
	if err := st.CanStore(t.Context()); err != nil {
		t.Error(err)
	}
	if err := st.Client.Set(t.Context(), "short", "1", 1200*time.Millisecond).Err(); err != nil {
		t.Error(err)
	}
	eventually(t, "the key has expired", func() bool { return st.Client.Exists(t.Context(), "short").Val() == 0 })
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func TestOldServerOnPath(t *testing.T) {
	dir := t.TempDir()
	old := "#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=a3fdef44459b3ad6'\n"
	if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte(old), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	book := &logBook{}
	st := open(t, store.Config{Data: t.TempDir(), Log: book.logger()})
	if st.Kind != store.KindMiniredis || !strings.Contains(book.String(), "version 6.0.16, older than 7.0") {
		t.Errorf("kind %q: %s", st.Kind, book)
	}
}

func TestDataWithoutServerIsRefused(t *testing.T) {
	needServer(t)
	dir := shortDir(t)
	if err := open(t, store.Config{Data: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err := store.Open(t.Context(), store.Config{Data: dir})
	if err == nil || !strings.Contains(err.Error(), dir+" holds what an earlier run stored") {
		t.Errorf("%v", err)
	}
}

func TestDefaultData(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	for xdg, want := range map[string]string{
		"/xdg":     "/xdg/m2mbridge",
		"":         "/home/ann/.local/share/m2mbridge",
		"relative": "/home/ann/.local/share/m2mbridge", // to be ignored, says the specification
	} {
		t.Setenv("XDG_DATA_HOME", xdg)
		if got, err := store.DefaultData(); got != want || err != nil {
			t.Errorf("%q: %s, %v", xdg, got, err)
		}
	}
}

// childPID reads the pid file of the child in dir; 0: there is none now.
func childPID(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "redis", "redis.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// alive tells whether a process runs, and is not only waiting to be reaped.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
