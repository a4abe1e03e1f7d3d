package uplink

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
)

// withDownlinks is a rig whose contacts over HTTP take downlinks along.
func withDownlinks(t *testing.T, s *redistest.Server, cfg Config) (*rig, *downlink.Service) {
	t.Helper()
	d := downlink.New(downlink.Config{Client: s.Client(), Keys: cfg.Keys})
	cfg.Downlinks = d
	return newRig(t, s, cfg), d
}

func create(t *testing.T, d *downlink.Service, n int, more ...func(*downlink.Draft)) string {
	t.Helper()
	draft := downlink.Draft{Device: testID, Channel: downlink.Any, Pack: fmt.Appendf(nil, `[{"n":"n","v":%d}]`, n), Priority: 5}
	for _, m := range more {
		m(&draft)
	}
	made, _, err := d.Create(t.Context(), draft)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func stands(t *testing.T, d *downlink.Service, id string, want downlink.State) {
	t.Helper()
	if got, err := d.Get(t.Context(), id); err != nil || got.State != want {
		t.Errorf("%s is %s (%s), %v; want %s", id, got.State, got.Cause, err, want)
	}
}

// got is the number of the downlink in a verdict, -1 for none.
func got(v Verdict) (n int) {
	if v.Downlink == nil {
		return -1
	}
	if _, err := fmt.Sscanf(string(v.Downlink.Body), `[{"bn":"urn:dev:IMEI:356726104408422:"},{"n":"n","v":%d}]`, &n); err != nil {
		return -2
	}
	return n
}

func TestUplinkTakesDownlinkAlong(t *testing.T) {
	for _, once := range []Once{OnceOff, OnceObserve, OnceDedupe, OnceEnforce} {
		redistest.Each(t, func(t *testing.T, s *redistest.Server) {
			r, d := withDownlinks(t, s, Config{Once: once})
			first, second, third := create(t, d, 1), create(t, d, 2), create(t, d, 3)
			v := r.send(packAt(testID, 1_700_000_000, 1), testSecret)
			if got(v) != 1 || v.Downlink.ID != first {
				t.Fatalf("took %+v", v.Downlink)
			}
			if v := r.send(timeless(testID, 1), testSecret); v.Downlink != nil {
				t.Errorf("a second one before the first is settled: %+v", v.Downlink)
			}
			v.Downlink.Settle(true, "test")
			stands(t, d, first, downlink.Succeeded)
			if once == OnceObserve || once == OnceDedupe || once == OnceEnforce {
				// The answer was lost behind the device's modem: it sends the same again.
				if v := r.send(packAt(testID, 1_700_000_000, 1), testSecret); got(v) != 1 {
					t.Errorf("a repeat took %+v", v.Downlink)
				} else {
					v.Downlink.Settle(false, "test")
				}
				stands(t, d, first, downlink.Succeeded)
				stands(t, d, second, downlink.Executing)
			}
			if v = r.send(heartbeat(testID), testSecret); got(v) != 2 {
				t.Fatalf("a heartbeat took %+v", v.Downlink)
			}
			v.Downlink.Settle(false, "test")
			stands(t, d, second, downlink.Executing)
			if v = r.send(timeless(testID, 2), testSecret); got(v) != 2 {
				t.Fatalf("the next took %+v", v.Downlink)
			}
			v.Downlink.Settle(true, "test")
			stands(t, d, third, downlink.Executing)
			if v := r.send(timeless(testID, 3), "wrong"+testSecret); v.Downlink != nil {
				t.Errorf("a stranger took %+v", v.Downlink)
			}
			body := strings.Replace(timeless(testID, 4), "urn:dev:IMEI:356726104408422:", "urn:DEV:imei:356726104408422", 1)
			if v := r.send(body, testSecret); v.Downlink == nil || string(v.Downlink.Body) != `[{"bn":"urn:DEV:imei:356726104408422"},{"n":"n","v":3}]` {
				t.Errorf("%s took %+v", body, v)
			}
		})
	}
}

func TestDownlinkAcknowledgedByUplink(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, d := withDownlinks(t, s, Config{})
		id := create(t, d, 1, func(d *downlink.Draft) { d.Ack = true })
		second := create(t, d, 2)
		v := r.send(timeless(testID, 1), testSecret)
		v.Downlink.Settle(true, "test")
		stands(t, d, id, downlink.Executing)
		ack := func(name, value string) string {
			return fmt.Sprintf(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"%s","vs":"%s"}]`, name, value)
		}
		for _, wrong := range []string{ack("downlinkAck", "0-other"), ack("nodownlinkAck", id), ack("downlinkAck", strings.Repeat("x", 100))} {
			if v := r.send(wrong, testSecret); v.Downlink != nil {
				t.Errorf("%s took %+v", wrong, v.Downlink)
			}
			stands(t, d, id, downlink.Executing)
		}
		// Keys beside those of downlinks are none, whatever a device calls them.
		for _, key := range []string{"n", "all", "all:" + string(testID), "open:" + string(testID), "queue:" + string(testID), "current:" + string(testID), "http:" + string(testID), "last:" + string(testID), "0-", "-", "0-a\n"} {
			value, err := json.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			body := fmt.Sprintf(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"downlinkAck","vs":%s}]`, value)
			if v := r.send(body, testSecret); v.Outcome != Stored {
				t.Errorf("%s: %v, %+v", key, v.Outcome, v)
			}
			stands(t, d, id, downlink.Executing)
		}
		// Nor does the type of a key that has the form of one end the batch.
		if err := s.Client().Set(t.Context(), "m2m:{0}:downlink:0-wrongtype", "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if v := r.send(ack("downlinkAck", "0-wrongtype"), testSecret); v.Outcome != Stored {
			t.Errorf("a key of another type: %v", v.Outcome)
		}
		if v := r.send(ack("downlinkAck", id), testSecret); got(v) != 2 { // which may go out at once
			t.Errorf("took %+v", v.Downlink)
		}
		stands(t, d, id, downlink.Succeeded)
		stands(t, d, second, downlink.Executing)
	})
}

// What is wrong with a downlink is its own fault alone: the uplinks of its batch are stored, once, and so accepted.
func TestDamagedDownlinkFailsNoUplink(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, d := withDownlinks(t, s, Config{})
		id := create(t, d, 1, func(d *downlink.Draft) { d.Ack = true })
		r.send(timeless(testID, 1), testSecret).Downlink.Settle(true, "test")
		if err := s.Client().Set(t.Context(), "m2m:{0}:events", "no stream", 0).Err(); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"downlinkAck","vs":"%s"}]`, id)
		if v := r.send(body, testSecret); v.Outcome != Stored || v.Downlink != nil {
			t.Errorf("%v, %+v", v.Outcome, v)
		}
		if n, err := s.Client().XLen(t.Context(), "m2m:{0}:uplinks").Result(); err != nil || n != 2 {
			t.Errorf("%d uplinks, %v", n, err)
		}
	})
}

// Of many uplinks at once each downlink goes to one, and they go in order.
func TestConcurrentUplinksShareNoDownlink(t *testing.T) {
	s := redistest.Start(t)
	r, d := withDownlinks(t, s, Config{Keys: auth.Keyspace{Partitions: 2}, Lanes: 4})
	const n = 50
	for i := range n {
		create(t, d, i)
	}
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				mu.Lock()
				ended := len(order) >= n
				mu.Unlock()
				if ended {
					return
				}
				v := r.Accept(context.Background(), &Message{
					Via: HTTP, PathType: "IMEI", Body: []byte(timeless(testID, 1)), Token: tokenOf(timeless(testID, 1), testSecret), HasToken: true,
				})
				if v.Downlink != nil {
					mu.Lock()
					order = append(order, got(v))
					mu.Unlock()
					v.Downlink.Settle(true, "test")
				}
			}
		})
	}
	wg.Wait()
	for i, got := range order {
		if i != got {
			t.Fatalf("order %v", order)
		}
	}
}

// A device whose answer was lost sends its uplink again: it gets the same, as an attempt that counts, unless that has ended.
func TestRepeatedUplinkTakesTheSameDownlink(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, d := withDownlinks(t, s, Config{})
		id := create(t, d, 1)
		again := func() Verdict { return r.send(packAt(testID, 1_700_000_000, 1), testSecret) }
		first := again()
		second := again() // while nobody knows yet
		first.Downlink.Settle(false, "test")
		if got(second) != 1 {
			t.Fatalf("a repeat took %+v", second.Downlink)
		}
		second.Downlink.Settle(true, "test")
		stands(t, d, id, downlink.Succeeded)

		id = create(t, d, 2)
		again = func() Verdict { return r.send(packAt(testID, 1_700_000_001, 1), testSecret) }
		again().Downlink.Settle(false, "test")
		third := again() // when it is known that it did not arrive
		if got(third) != 2 {
			t.Fatalf("a repeat took %+v", third.Downlink)
		}
		third.Downlink.Settle(false, "test")
		if err := d.Cancel(t.Context(), id, "test"); err != nil {
			t.Fatal(err)
		}
		if v := again(); v.Downlink != nil {
			t.Errorf("a repeat took what was cancelled: %+v", v.Downlink)
		}
	})
}
