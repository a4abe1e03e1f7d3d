package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
)

const imei = "IMEI:356726104408422"

// desk is one node's commands, and what it could not carry out.
type desk struct {
	*Commands
	downlinks *downlink.Service

	mu       sync.Mutex
	rejected []Rejected
}

func newDesk(t *testing.T, s *redistest.Server, name string, create func(context.Context, downlink.Draft) (downlink.Downlink, bool, error)) *desk {
	t.Helper()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.PutDevice(t.Context(), auth.Device{ID: imei, Unsigned: true, MSISDN: "31612345678"}, auth.Upsert); err != nil {
		t.Fatal(err)
	}
	d := &desk{downlinks: downlink.New(downlink.Config{
		Client: s.Client(), Schedule: "0;3600000", SMS: func(text string, data []byte) (int, error) { return 1, nil },
	})}
	if create == nil {
		create = d.downlinks.Create
	}
	d.Commands = New(Config{
		Client: s.Client(), Blocking: s.Client(), Node: name, Create: create, Log: slog.New(slog.DiscardHandler),
		Reject: func(r Rejected) { d.mu.Lock(); defer d.mu.Unlock(); d.rejected = append(d.rejected, r) },
	})
	return d
}

// run has it carry out commands until the test ends, or stop is called.
func (d *desk) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (d *desk) rejects() []Rejected {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Rejected(nil), d.rejected...)
}

func add(t *testing.T, c redis.UniversalClient, fields ...string) string {
	t.Helper()
	id, err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:commands", Values: fields}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}

func created(t *testing.T, d *desk) []downlink.Downlink {
	t.Helper()
	list, _, err := d.downlinks.List(t.Context(), downlink.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCommands(t *testing.T) {
	s := redistest.Start(t)
	d, c := newDesk(t, s, "a", nil), s.Client()
	pack := `[{"n":"interval","v":60}]`
	add(t, c, "device", imei, "channel", "http", "pack", pack, "ttl", "1h", "not_before", "1700000000000", "key", "k1", "priority", "7") // before anybody reads
	d.run(t)
	add(t, c, "device", "imei:356726104408422", "pack", pack, "ttl", "60000")
	add(t, c, "device", imei, "channel", "http", "pack", pack, "ttl", "1h", "key", "k1", "priority", "7") // the same again
	for _, bad := range [][]string{
		{"device", "nobody", "pack", pack}, {"device", "IMEI:000000000000000", "pack", pack}, {"device", imei, "pack", "[{"},
		{"device", imei, "pack", pack, "channel", "pigeon"}, {"device", imei, "pack", pack, "tll", "1h"}, {"device", imei, "pack", pack, "ttl", "soon"}, {"pack", pack},
	} {
		add(t, c, bad...)
	}
	eventually(t, "all are carried out", func() bool { return c.XLen(t.Context(), "m2m:{0}:commands").Val() == 0 })
	list := created(t, d)
	if len(list) != 2 || list[0].Channel != downlink.HTTP || list[0].Priority != 7 || list[0].Key != "k1" || list[0].ExpiresAt.Sub(list[0].CreatedAt) != time.Hour ||
		list[1].Channel != downlink.Any || list[1].ExpiresAt.Sub(list[1].CreatedAt) != time.Minute {
		t.Errorf("created %+v", list)
	}
	if r := d.rejects(); len(r) != 7 {
		t.Errorf("rejected %+v", r)
	} else if r[4].Device != imei || !strings.Contains(r[4].Detail, `unknown field "tll"`) || r[4].Pack != pack {
		t.Errorf("rejected %+v", r[4])
	}
}

// SMS are of text, data or a pack; what wakes a device up goes another way.
func TestCommandsOfSMS(t *testing.T) {
	s := redistest.Start(t)
	d, c := newDesk(t, s, "a", nil), s.Client()
	d.run(t)
	pack := `[{"n":"interval","v":60}]`
	for _, good := range [][]string{
		{"text", "reboot", "channel", "sms"}, {"data", "3q2+7w==", "channel", "sms"}, {"pack", pack, "channel", "sms", "ack", "true"}, {"pack", pack, "channel", "http", "wake", "true"},
	} {
		add(t, c, append([]string{"device", imei}, good...)...)
	}
	for _, bad := range [][]string{
		{"text", "reboot"}, {"text", "reboot", "pack", pack, "channel", "sms"}, {"data", "%", "channel", "sms"}, {"pack", pack, "wake", "perhaps"}, {"text", "x", "channel", "sms", "wake", "true"},
	} {
		add(t, c, append([]string{"device", imei}, bad...)...)
	}
	eventually(t, "all are carried out", func() bool { return c.XLen(t.Context(), "m2m:{0}:commands").Val() == 0 })
	var made []string
	for _, m := range created(t, d) {
		made = append(made, fmt.Sprintf("%s text %q data %x pack %v ack %v wake %v", m.Channel, m.Text, m.Data, len(m.Pack) > 0, m.Ack, m.Wake))
	}
	slices.Sort(made) // those of one ms are in no order
	if want := []string{
		`http text "" data  pack true ack false wake true`, `sms text "" data  pack true ack true wake false`,
		`sms text "" data deadbeef pack false ack false wake false`, `sms text "reboot" data  pack false ack false wake false`,
	}; !slices.Equal(made, want) {
		t.Errorf("created %q", made)
	}
	rejected := d.rejects()
	if len(rejected) != 5 {
		t.Fatalf("rejected %+v", rejected)
	}
	for i, want := range []string{"text: only an SMS has text", "one of text, data and pack", `data "%": want base64`, `wake "perhaps": want true or false`, "wake: an SMS needs none"} {
		if !strings.Contains(rejected[i].Detail, want) {
			t.Errorf("rejected %+v, want %s", rejected[i], want)
		}
	}
	if rejected[0].Pack != "reboot" || rejected[2].Pack != "%" {
		t.Errorf("rejected %+v", rejected)
	}
}

// A command whose node died between creating the downlink and settling it makes no second one; one that could not be
// created waits until it can.
func TestCommandsOutliveFailures(t *testing.T) {
	s := redistest.Start(t)
	var mu sync.Mutex
	away := true
	d := newDesk(t, s, "a", nil)
	real := d.cfg.Create
	d.cfg.Create = func(ctx context.Context, draft downlink.Draft) (downlink.Downlink, bool, error) {
		made, fresh, err := real(ctx, draft)
		mu.Lock()
		defer mu.Unlock()
		if away { // it was created, but who asked does not hear of it
			return made, fresh, errors.Join(downlink.ErrUnavailable, err)
		}
		return made, fresh, err
	}
	stop := d.run(t)
	add(t, s.Client(), "device", imei, "pack", `[{"n":"a","v":1}]`)
	eventually(t, "it is created", func() bool { return len(created(t, d)) == 1 })
	stop()
	if n := s.Client().XLen(t.Context(), "m2m:{0}:commands").Val(); n != 1 {
		t.Fatalf("%d commands wait", n)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	id := s.Client().XRange(t.Context(), "m2m:{0}:commands", "-", "+").Val()[0].ID
	if err := s.Client().Do(t.Context(), "XCLAIM", "m2m:{0}:commands", group, "a", 0, id, "IDLE", 60000).Err(); err != nil { // as if it had had it for long
		t.Fatal(err)
	}
	newDesk(t, s, "b", nil).run(t)
	eventually(t, "another node carries it out", func() bool { return s.Client().XLen(t.Context(), "m2m:{0}:commands").Val() == 0 })
	if list := created(t, d); len(list) != 1 {
		t.Errorf("created %+v", list)
	}
}

func TestCommandsGoOnWhenRedisComesBack(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	d := newDesk(t, s, "a", nil)
	d.run(t)
	eventually(t, "the group is there", func() bool { return s.Client().Exists(t.Context(), "m2m:{0}:commands").Val() == 1 })
	s.Kill()
	s.Restart()
	eventually(t, "redis is back", func() bool { return s.Client().Ping(t.Context()).Err() == nil })
	s.Client().Del(t.Context(), "m2m:{0}:commands") // and somebody took the stream away, with its group
	add(t, s.Client(), "device", imei, "pack", `[{"n":"a","v":1}]`)
	eventually(t, "it is created", func() bool { return len(created(t, d)) == 1 })
}
