package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/fleet"
)

// The same bytes again, and older ones, in each mode of --once.
func TestOnce(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	for mode, want := range map[string]struct {
		stored int // of the same bytes sent twice
		old    int // status of a pack an hour older
	}{
		"off": {2, 200}, "observe": {2, 200}, "dedupe": {1, 200}, "enforce": {1, 400},
	} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t)
			n := s.serve("--once", mode, "--keep-raw")
			d := s.device(0, nil)
			body := pack(d, 1700000000, "t", 1)
			for range 2 {
				s.post(n, d, body).accepted(t)
			}
			if got := len(s.packs(d)); got != want.stored {
				t.Errorf("stored %d times, want %d", got, want.stored)
			}
			if raw := s.stored("uplinks")[0].Values["raw"]; raw != body {
				t.Errorf("raw is %v", raw)
			}
			if r := s.post(n, d, pack(d, 1700000000-3600, "t", 1)); r.status != want.old {
				t.Errorf("an older pack: status %d, want %d: %s", r.status, want.old, r.body)
			}
			for range 2 { // without a time it is always new
				s.post(n, d, pack(d, 0, "timeless", 1)).accepted(t)
			}
			if got := len(holding(s.packs(d), "timeless")); got != 2 {
				t.Errorf("stored %d packs without a time, want 2", got)
			}
		})
	}
}

func TestStrictProfile(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n, kpn := s.serve("--profile", "strict"), s.serve()
	d := s.device(0, nil)
	for name, body := range map[string]string{
		"base fields only": `[{"bn":"` + d.BaseName() + `"}]`,
		"padded binary":    `[{"bn":"` + d.BaseName() + `","n":"a","vd":"aGk="}]`,
	} {
		if r := s.post(n, d, body); r.status != 400 {
			t.Errorf("%s: status %d: %s", name, r.status, r.body)
		}
		s.post(kpn, d, body).accepted(t)
	}
	s.post(n, d, pack(d, 1700000000, "t", 1)).accepted(t)
}

// A device without a secret is believed on the m2m path, from named networks.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	near, far := s.serve("--unsigned-from", "127.0.0.0/8"), s.serve("--unsigned-from", "10.0.0.0/8")
	d := fleet.Device{ID: "IMEI:356726104408422"}
	s.call(http.MethodPost, "/v1/devices", map[string]any{"id": d.ID, "unsigned": true}, http.StatusCreated)
	s.postWith(near, d.Path(), "", pack(d, 0, "t", 1)).accepted(t)
	if e := s.stored("uplinks"); len(e) != 1 || e[0].Values["unsigned"] != "1" {
		t.Errorf("stored %v", e)
	}
	for name, r := range map[string]reply{
		"another network": s.postWith(far, d.Path(), "", pack(d, 0, "t", 1)),
		"a signed device": s.postWith(near, d.Path(), "", pack(s.device(5, nil), 0, "t", 1)),
	} {
		if r.status != 401 && r.status != 403 {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
}

// Many partitions: the streams are many, the job is the same; and their number
// is for ever.
func TestPartitions(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve("--partitions", "8")
	s.mainJob(n)
	keys, err := s.own.Keys(context.Background(), "m2m:{*}:uplinks").Result()
	if err != nil || len(keys) != 2 {
		t.Errorf("the devices are in %v (%v)", keys, err)
	}
	s.keeps(n)
	code, _, errs := runFor(t, 20*time.Second, environment(), "", program(t), append([]string{"serve", "--redis", s.redis.URL(), "--partitions", "4"}, freePorts()...)...)
	if code != 1 || !strings.Contains(errs, "partitions") {
		t.Errorf("with another number: exit code %d: %s", code, errs)
	}
}

// With --secret-key no secret is in what Redis writes to its disk.
func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	for _, key := range []string{"", "KeyThatNobodyMaySee00KeyThatNobodyMaySee00"} {
		t.Run(fmt.Sprintf("%d", len(key)), func(t *testing.T) {
			s := newSite(t, redistest.AppendOnly())
			n := s.serve("--secret-key", s.confide(key, "the secret key"))
			d := s.device(0, nil)
			s.send(n, d, pack(d, 0, "t", 1))
			a := s.app("dashboard", []string{"uplink.read"})
			files, err := filepath.Glob(filepath.Join(s.redis.Dir, "appendonlydir", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no files: %v", err)
			}
			var disk strings.Builder
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				disk.Write(text)
			}
			if strings.Contains(disk.String(), d.Secret) != (key == "") {
				t.Errorf("with a key of %d letters: the secret on disk: %v", len(key), key != "")
			}
			if strings.Contains(disk.String(), a.key) {
				t.Error("the app's key is on disk")
			}
			n.stop()
			n.again() // the secrets can be read back
			s.send(n, d, pack(d, 0, "t", 2))
		})
	}
}

// Redis with a password: it is used, and shown nowhere; a wrong one is an error.
func TestRedisPassword(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	const password = "PassWordOfRedis123"
	s := newSite(t, redistest.Config("requirepass", password))
	s.confide(password, "Redis's password")
	n := s.serveOn("redis://:" + password + "@" + s.redis.Addr)
	d := s.device(0, nil)
	s.post(n, d, pack(d, 0, "t", 1)).accepted(t)
	for _, url := range []string{"redis://:WrongPassWord456@" + s.redis.Addr, "redis://:WrongPassWord456@127.0.0.1:1"} {
		code, out, errs := runFor(t, 20*time.Second, environment(), "", program(t), append([]string{"serve", "--redis", url}, freePorts()...)...)
		if code != 1 || strings.Contains(out+errs, "WrongPassWord") || !strings.Contains(errs, "redis") {
			t.Errorf("%s: exit code %d: %s%s", url, code, out, errs)
		}
	}
}
