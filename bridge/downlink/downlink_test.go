package downlink

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

const (
	imei  = auth.DeviceID("IMEI:356726104408422")
	other = auth.DeviceID("IMEI:356726104408423")
)

// movedClock is a time that tests move.
type movedClock struct{ ahead atomic.Int64 }

func (c *movedClock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *movedClock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// bench is a service on a server, with two devices.
type bench struct {
	*Service
	t      testing.TB
	clock  *movedClock
	server *redistest.Server
}

func newBench(t testing.TB, server *redistest.Server, options ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: &movedClock{}, server: server}
	c := Config{Client: server.Client(), Now: b.clock.now}
	for _, o := range options {
		o(&c)
	}
	b.Service = New(c)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: server.Client(), Keys: c.Keys})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []auth.DeviceID{imei, other} {
		if _, err := registry.PutDevice(context.Background(), auth.Device{ID: id, Unsigned: true}, auth.Upsert); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func draft(n int, more ...func(*Draft)) Draft {
	d := Draft{Device: imei, Channel: Any, Pack: fmt.Appendf(nil, `[{"n":"n","v":%d}]`, n), Priority: DefaultPriority}
	for _, m := range more {
		m(&d)
	}
	return d
}

func (b *bench) create(d Draft) Downlink {
	b.t.Helper()
	made, fresh, err := b.Create(b.t.Context(), d)
	if err != nil || !fresh {
		b.t.Fatalf("create: %+v, fresh %v, %v", made, fresh, err)
	}
	return made
}

// is holds a downlink's state, and returns it.
func (b *bench) is(id string, want State) Downlink {
	b.t.Helper()
	d, err := b.Get(b.t.Context(), id)
	if err != nil || d.State != want {
		b.t.Fatalf("%s is %s (%s), %v; want %s", id, d.State, d.Cause, err, want)
	}
	return d
}

func (b *bench) hand(via Channel, want string) Handed {
	b.t.Helper()
	h, ok, err := b.Hand(b.t.Context(), imei, via)
	if err != nil || h.ID != want || ok != (want != "") {
		b.t.Fatalf("hand over %s: %+v, %v, %v; want %q", via, h, ok, err, want)
	}
	return h
}

func (b *bench) done(h Handed, delivered bool) {
	b.t.Helper()
	if ok, err := b.Done(b.t.Context(), h, delivered, "told by the test"); err != nil || !ok {
		b.t.Fatalf("done: %v, %v", ok, err)
	}
}

// looked does what the time demands.
func (b *bench) looked() {
	b.t.Helper()
	if err := b.Look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// lookedAtLast does so as soon as Redis is back.
func (b *bench) lookedAtLast() {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		if err := b.Look(b.t.Context()); err == nil {
			return
		} else if time.Now().After(end) {
			b.t.Fatal(err)
		}
	}
}

func TestOneAtATimeInOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		first, second := b.create(draft(1)), b.create(draft(2))
		urgent := b.create(draft(3, func(d *Draft) { d.Priority = 9 }))
		b.is(first.ID, Executing)
		b.is(second.ID, Queued)
		h := b.hand(HTTP, first.ID)
		if string(h.Pack) != `[{"bn":"urn:dev:IMEI:356726104408422:"},{"n":"n","v":1}]` || h.Attempt != 1 {
			t.Errorf("handed %+v: %s", h, h.Pack)
		}
		if own, err := h.Spell("urn:dev:imei:356726104408422:"); err != nil || string(own) != `[{"bn":"urn:dev:imei:356726104408422:"},{"n":"n","v":1}]` {
			t.Errorf("spelled %s, %v", own, err)
		}
		b.hand(HTTP, "")
		b.hand(MQTT, "")
		if err := b.Cancel(t.Context(), first.ID, "test"); !errors.Is(err, ErrHanded) {
			t.Errorf("cancel what is under way: %v", err)
		}
		b.done(h, true)
		if ok, err := b.Done(t.Context(), h, true, "again"); ok || err != nil {
			t.Errorf("done twice: %v, %v", ok, err)
		}
		b.is(first.ID, Succeeded)
		b.is(urgent.ID, Executing)
		if err := b.Cancel(t.Context(), urgent.ID, "test"); err != nil {
			t.Errorf("cancel: %v", err)
		}
		b.is(urgent.ID, Cancelled)
		b.is(second.ID, Executing)
		h = b.hand(MQTT, second.ID)
		b.done(h, false)
		if d := b.is(second.ID, Executing); d.Attempts != 1 || !d.LeaseEnds.IsZero() || d.Cause != "told by the test" {
			t.Errorf("back again: %+v", d)
		}
		b.done(b.hand(HTTP, second.ID), true)
		b.is(second.ID, Succeeded)
		if err := b.Cancel(t.Context(), second.ID, "test"); !errors.Is(err, ErrFinal) {
			t.Errorf("cancel what has ended: %v", err)
		}
		var told []string
		for _, e := range s.Client().XRange(t.Context(), "m2m:{0}:events", "-", "+").Val() {
			if e.Values["kind"] == "downlink" && e.Values["id"] == second.ID {
				told = append(told, e.Values["state"].(string))
			}
		}
		if got := strings.Join(told, " "); got != "QUEUED EXECUTING EXECUTING SUCCEEDED" {
			t.Errorf("events %s", got)
		}
	})
}

func TestChannels(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		d := b.create(draft(1, func(d *Draft) { d.Channel = MQTT }))
		open := func() int64 {
			return s.Client().Exists(t.Context(), string(AppendContactKey(nil, auth.Keyspace{}, 0, imei))).Val()
		}
		b.hand(HTTP, "")
		if open() != 0 {
			t.Error("a contact over HTTP is to take what goes over MQTT")
		}
		b.done(b.hand(MQTT, d.ID), true)
		d = b.create(draft(1, func(d *Draft) { d.Channel = HTTP }))
		if open() != 1 {
			t.Error("no contact over HTTP is to take it")
		}
		b.hand(MQTT, "")
		b.done(b.hand(HTTP, d.ID), true)
		if open() != 0 {
			t.Error("a contact over HTTP is to take what has ended")
		}
		for _, bad := range []Draft{
			draft(1, func(d *Draft) { d.Channel = "pigeon" }), draft(1, func(d *Draft) { d.Channel = SMS }),
			draft(1, func(d *Draft) { d.Priority = 10 }), draft(1, func(d *Draft) { d.TTL = time.Millisecond }),
			draft(1, func(d *Draft) { d.NotBefore = time.Now().Add(49 * time.Hour) }), draft(1, func(d *Draft) { d.Key = "a\nb" }),
			draft(1, func(d *Draft) { d.Pack = nil }), draft(1, func(d *Draft) { d.Pack = []byte(`[{"n":"a"`) }),
			draft(1, func(d *Draft) { d.Pack = []byte(`[{"bn":"urn:dev:IMEI:356726104408422:"}]`) }),
			draft(1, func(d *Draft) { d.Pack = []byte(`[{"bn":"urn:dev:IMEI:356726104408423:","n":"a","v":1}]`) }),
			draft(1, func(d *Draft) { d.Pack = fmt.Appendf(nil, `[{"n":"a","vs":"%s"}]`, strings.Repeat("x", 5000)) }),
		} {
			if _, _, err := b.Create(t.Context(), bad); !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		if _, _, err := b.Create(t.Context(), draft(1, func(d *Draft) { d.Device = "IMEI:000000000000000" })); !errors.Is(err, ErrDevice) {
			t.Errorf("unknown device: %v", err)
		}
	})
}

func TestTime(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s, func(c *Config) { c.Attempts = 2 })
		later := b.create(draft(1, func(d *Draft) { d.NotBefore = b.clock.now().Add(time.Hour); d.TTL = 3 * time.Hour }))
		b.is(later.ID, Queued)
		now := b.create(draft(2, func(d *Draft) { d.TTL = time.Minute }))
		b.is(now.ID, Executing)
		b.clock.pass(61 * time.Second)
		b.hand(HTTP, "") // its time is over, looked at or not
		b.is(now.ID, Expired)
		b.clock.pass(time.Hour)
		b.looked()
		b.is(later.ID, Executing)
		b.hand(HTTP, later.ID)
		b.clock.pass(31 * time.Second)
		b.hand(HTTP, "") // not until it is known what became of the attempt
		b.looked()
		if d := b.is(later.ID, Executing); !strings.Contains(d.Cause, "nobody knows") {
			t.Errorf("cause %s", d.Cause)
		}
		b.hand(HTTP, later.ID)
		b.clock.pass(31 * time.Second)
		b.looked()
		if d := b.is(later.ID, Failed); !strings.Contains(d.Cause, "attempt 2 of 2") {
			t.Errorf("cause %s", d.Cause)
		}
		waiting := b.create(draft(3, func(d *Draft) { d.NotBefore = b.clock.now().Add(time.Hour); d.TTL = 2 * time.Hour }))
		b.clock.pass(3 * time.Hour)
		b.looked()
		b.is(waiting.ID, Expired)
		b.clock.pass(8 * 24 * time.Hour)
		b.looked()
		for _, id := range []string{later.ID, now.ID, waiting.ID} {
			if _, err := b.Get(t.Context(), id); !errors.Is(err, ErrUnknown) {
				t.Errorf("%s is kept for ever: %v", id, err)
			}
		}
		for _, key := range s.Client().Keys(t.Context(), "m2m:{0}:d*").Val() {
			if key != "m2m:{0}:downlink:n" && !strings.HasPrefix(key, "m2m:{0}:device") {
				t.Errorf("%s is left", key)
			}
		}
	})
}

// What cannot be written as JSON is refused, and shown as none where outside hands wrote it.
func TestNotBeforeOutOfRange(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		for _, at := range []time.Time{time.UnixMilli(-62167219300000), time.UnixMilli(math.MinInt64), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(math.MaxInt64)} {
			if _, _, err := b.Create(t.Context(), draft(1, func(d *Draft) { d.NotBefore = at })); !errors.Is(err, ErrInvalid) {
				t.Errorf("%v: %v", at, err)
			}
		}
		made := b.create(draft(1, func(d *Draft) { d.NotBefore = time.Unix(1, 0) }))
		for _, ms := range []string{"-62167219300000", "-9223372036854775808", "9223372036854775807", "1e300"} {
			if err := s.Client().HSet(t.Context(), downlinkKey(b.cfg.Keys, 0, made.ID), "notbefore", ms).Err(); err != nil {
				t.Fatal(err)
			}
			if d, err := b.Get(t.Context(), made.ID); err != nil || !d.NotBefore.IsZero() {
				t.Errorf("%s: %v, %v", ms, d.NotBefore, err)
			}
		}
	})
}

// A key of another type where a downlink should be is no downlink, and keeps no other one from being looked at.
func TestKeyOfAnotherType(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		damaged, sound := b.create(draft(1)).ID, b.create(draft(2)).ID
		key := downlinkKey(b.cfg.Keys, 0, damaged)
		c := s.Client()
		if err := errors.Join(c.Del(t.Context(), key).Err(), c.Set(t.Context(), key, "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		if ok, err := b.Acknowledge(t.Context(), imei, damaged); ok || err != nil {
			t.Errorf("acknowledged: %v, %v", ok, err)
		}
		if err := b.Cancel(t.Context(), damaged, "test"); !errors.Is(err, ErrUnknown) {
			t.Errorf("cancelled: %v", err)
		}
		b.clock.pass(maxTTL)
		b.looked()
		if n, err := c.Exists(t.Context(), key).Result(); n != 0 || err != nil {
			t.Errorf("%s is there, %v", key, err)
		}
		b.is(sound, Expired)
	})
}

// What the device's session never took is no attempt, and leaves the downlink to another channel.
func TestUnsentIsNoAttempt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s, func(c *Config) { c.Attempts = 2 })
		id := b.create(draft(1)).ID
		for range 5 {
			h := b.hand(MQTT, id)
			h.Unsent = true
			b.done(h, false)
		}
		if d := b.is(id, Executing); d.Attempts != 0 || d.Cause != "told by the test" {
			t.Errorf("%+v", d)
		}
		if n, err := s.Client().XLen(t.Context(), "m2m:{0}:events").Result(); err != nil || n != 3 { // created, its turn, and what keeps it
			t.Errorf("%d events, %v", n, err)
		}
		b.done(b.hand(HTTP, id), false)
		b.done(b.hand(HTTP, id), false)
		if d := b.is(id, Failed); d.Attempts != 2 || d.Cause != "told by the test; it was attempt 2 of 2" {
			t.Errorf("%+v", d)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s, func(c *Config) { c.Room = 2 })
		keyed := func(d *Draft) { d.Key, d.App = "k:1", "a" }
		first := b.create(draft(1, keyed))
		if again, fresh, err := b.Create(t.Context(), draft(1, keyed)); err != nil || fresh || again.ID != first.ID {
			t.Errorf("again: %+v, %v, %v", again, fresh, err)
		}
		if _, _, err := b.Create(t.Context(), draft(2, keyed)); !errors.Is(err, ErrOther) {
			t.Errorf("another one: %v", err)
		}
		// The same key for another device is another key, and leaves the first one what it is.
		theirs := func(d *Draft) { keyed(d); d.Device = other }
		second := b.create(draft(1, theirs))
		for _, c := range []struct {
			keyed func(*Draft)
			want  string
		}{{keyed, first.ID}, {theirs, second.ID}} {
			if again, fresh, err := b.Create(t.Context(), draft(1, c.keyed)); err != nil || fresh || again.ID != c.want {
				t.Errorf("with the key of %s: %+v, %v, %v", c.want, again, fresh, err)
			}
		}
		b.create(draft(2, func(d *Draft) { d.Key, d.App = "k:1", "b" }))
		if _, _, err := b.Create(t.Context(), draft(3)); !errors.Is(err, ErrFull) {
			t.Errorf("a third: %v", err)
		}
		if n, err := b.Drop(t.Context(), imei); err != nil || n != 2 {
			t.Errorf("drop: %d, %v", n, err)
		}
		b.is(first.ID, Cancelled)
	})
}

func TestAcknowledge(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		acked := func(d *Draft) { d.Ack = true }
		d := b.create(draft(1, acked))
		says := func(device auth.DeviceID, want bool) {
			t.Helper()
			if ok, err := b.Acknowledge(t.Context(), device, d.ID); err != nil || ok != want {
				t.Errorf("acknowledge: %v, %v", ok, err)
			}
		}
		says(imei, false) // it has not got it
		h := b.hand(HTTP, d.ID)
		if want := `[{"bn":"urn:dev:IMEI:356726104408422:"},{"n":"n","v":1},{"n":"downlinkId","vs":"` + d.ID + `"}]`; string(h.Pack) != want {
			t.Errorf("the device gets %s, want %s", h.Pack, want)
		}
		b.done(h, true)
		if is := b.is(d.ID, Executing); !strings.Contains(is.Cause, "waits for the device") {
			t.Errorf("cause %s", is.Cause)
		} else if !is.Taken {
			t.Errorf("it does not await the device: %+v", is)
		}
		says(other, false)
		says(imei, true)
		b.is(d.ID, Succeeded)
		says(imei, false)
		d = b.create(draft(2, acked))
		b.done(b.hand(HTTP, d.ID), true)
		b.clock.pass(11 * time.Minute)
		b.looked()
		if is := b.is(d.ID, Executing); is.Taken {
			t.Errorf("it awaits the device: %+v", is)
		}
		h = b.hand(MQTT, d.ID)
		if is := b.is(d.ID, Executing); is.Taken {
			t.Errorf("it awaits the device before it has it: %+v", is)
		}
		if err := b.Cancel(t.Context(), d.ID, "test"); !errors.Is(err, ErrHanded) {
			t.Errorf("cancel what is under way: %v", err)
		}
		b.done(h, true)
		if err := b.Cancel(t.Context(), d.ID, "test"); err != nil { // nothing is under way: it need not block the device
			t.Errorf("cancel what is not acknowledged: %v", err)
		}
		if is := b.is(d.ID, Cancelled); !strings.Contains(is.Cause, "after the device took it") {
			t.Errorf("cause %s", is.Cause)
		}
	})
}

func TestRemovedDevice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client()})
		if err != nil {
			t.Fatal(err)
		}
		first, second := b.create(draft(1)), b.create(draft(2))
		stays := b.create(draft(3, func(d *Draft) { d.Device = other }))
		b.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: imei}) // as after any change
		b.looked()
		b.is(first.ID, Executing)
		if err := registry.DeleteDevice(t.Context(), imei, auth.AnyRevision); err != nil {
			t.Fatal(err)
		}
		for _, id := range []auth.DeviceID{imei, other} {
			b.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: id})
		}
		b.looked()
		b.is(first.ID, Cancelled)
		if d := b.is(second.ID, Cancelled); d.Cause != "the device was removed" {
			t.Errorf("cause %s", d.Cause)
		}
		b.is(stays.ID, Executing)
		if err := registry.DeleteDevice(t.Context(), other, auth.AnyRevision); err != nil {
			t.Fatal(err)
		}
		b.clock.pass(49 * time.Hour) // which nobody was told of
		b.looked()
		b.is(stays.ID, Cancelled)
	})
}

func TestRepeatedContact(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		d := b.create(draft(1))
		first := b.hand(HTTP, d.ID)
		b.clock.pass(31 * time.Second)
		b.looked()
		second := b.hand(MQTT, d.ID)
		// Nobody knew what became of the first attempt. Now it is known, and that it arrived is as good late.
		if ok, err := b.Done(t.Context(), first, false, "late"); err != nil || ok {
			t.Errorf("an earlier attempt came to nothing, which ended the one under way: %v, %v", ok, err)
		}
		b.done(first, true)
		b.is(d.ID, Succeeded)
		if ok, err := b.Done(t.Context(), second, false, "late"); err != nil || ok {
			t.Errorf("done after it has ended: %v, %v", ok, err)
		}
	})
}

// That a device is gone is not forgotten because Redis was away when it was told.
func TestRemovalThatRedisWasNotTold(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	b := newBench(t, s)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	d := b.create(draft(1))
	if err := registry.DeleteDevice(t.Context(), imei, auth.AnyRevision); err != nil {
		t.Fatal(err)
	}
	b.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: imei})
	s.Kill()
	if err := b.Look(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("look without redis: %v", err)
	}
	s.Restart()
	b.lookedAtLast()
	b.is(d.ID, Cancelled)
}

func TestOutcomeThatRedisWasNotTold(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	b := newBench(t, s)
	d := b.create(draft(1))
	h := b.hand(MQTT, d.ID)
	s.Kill()
	if err := b.Settle(t.Context(), h, true, "test"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("settle without redis: %v", err)
	}
	if err := b.Look(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("look without redis: %v", err)
	}
	s.Restart()
	b.clock.pass(time.Minute) // longer than its lease
	b.lookedAtLast()
	b.is(d.ID, Succeeded)
}

func TestDeviceRegisteredAnew(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), Now: b.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		keyed := func(d *Draft) { d.Key = "k" }
		old, second := b.create(draft(1, keyed)), b.create(draft(2))
		if err := registry.DeleteDevice(t.Context(), imei, auth.AnyRevision); err != nil {
			t.Fatal(err)
		}
		b.clock.pass(time.Millisecond)
		if _, err := registry.PutDevice(t.Context(), auth.Device{ID: imei, Unsigned: true}, auth.Create); err != nil {
			t.Fatal(err)
		}
		own := b.create(draft(1, keyed)) // the key was of another device
		b.hand(HTTP, own.ID)
		for _, d := range []Downlink{old, second} {
			if d := b.is(d.ID, Cancelled); d.Cause != "the device was removed" {
				t.Errorf("cause %s", d.Cause)
			}
		}
	})
}
