package uplink

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// seen is what the Reader tells of one device.
func (r *rig) seen(id auth.DeviceID) Seen {
	r.t.Helper()
	all, err := NewReader(r.client, r.cfg.Keys).Seen(r.t.Context(), []auth.DeviceID{id})
	if err != nil {
		r.t.Fatal(err)
	}
	return all[0]
}

func heartbeat(id auth.DeviceID) string { return fmt.Sprintf(`[{"bn":"%s"}]`, id.BaseName()) }

// Every mode counts: twelve uplinks that fix their time, the last of them three
// times; two that do not; two heartbeats.
func TestSeenCounts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for mode, want := range map[Once]Seen{
			OnceOff:     {Uplinks: 16, Heartbeats: 2},
			OnceObserve: {Uplinks: 16, Repeats: 2, Heartbeats: 2},
			OnceDedupe:  {Uplinks: 14, Repeats: 2, Heartbeats: 2},
			OnceEnforce: {Uplinks: 14, Repeats: 2, Heartbeats: 2},
		} {
			t.Run(string(mode), func(t *testing.T) {
				flush(t, s)
				r := newRig(t, s, Config{Once: mode, Tolerance: time.Minute, Window: 4})
				if got := r.seen(testID); got != (Seen{}) {
					t.Errorf("before: %+v", got)
				}
				begin := time.Now().Truncate(time.Millisecond)
				for i := range 14 {
					r.send(packAt(testID, 1_700_000_000+min(i, 11), 1), testSecret)
				}
				r.send(timeless(testID, 1), testSecret)
				last := r.accept(&Message{Via: MQTT, Login: testID, Body: []byte(timeless(testID, 1))})
				r.send(heartbeat(testID), testSecret)
				r.send(heartbeat(testID), testSecret)
				want.Via, want.StreamID = HTTP, last.StreamID
				got := r.seen(testID)
				if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Seen{}, "At")); d != "" || got.At.Before(begin) || got.At.After(time.Now()) {
					t.Errorf("at %v: %s", got.At, d)
				}
			})
		}
	})
}

// What was refused for its age is no uplink; a repeat or a heartbeat moves the
// last receipt alone.
func TestSeenOfWhatStoresNothing(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{Once: OnceEnforce, Tolerance: time.Minute})
	first := packAt(testID, 1_700_000_000, 1)
	v := r.send(first, testSecret)
	before := r.seen(testID)
	r.send(packAt(testID, 1_600_000_000, 1), testSecret)
	if got := r.seen(testID); got != before {
		t.Errorf("after a pack that is too old: %+v", got)
	}
	r.accept(&Message{Via: MQTT, Login: testID, Body: []byte(first)})
	got := r.seen(testID)
	if got.StreamID != v.StreamID || got.Via != MQTT || got.At.Before(before.At) || got.Repeats != 1 || got.Uplinks != 1 {
		t.Errorf("after a repeat: %+v", got)
	}
}

// A batch sent again counts once.
func TestSeenOfBatchSentTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{})
		l := newLane(&r.cfg, r.Service.stored, "test", 0, 0)
		batch := []entry{r.checked(timeless(testID, 1)), r.checked(packAt(testID, 1_700_000_000, 2)), r.checked(heartbeat(testID))}
		var last string
		for range 2 {
			got, err := l.send(batch, time.Now().Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			last = got.answers[1]
			l.seq-- // the reply was lost
		}
		want := Seen{Uplinks: 2, Heartbeats: 1, Via: HTTP, StreamID: last}
		if d := cmp.Diff(want, r.seen(testID), cmpopts.IgnoreFields(Seen{}, "At")); d != "" {
			t.Error(d)
		}
	})
}

// The clock of a node that was never set has fewer digits.
func TestSeenByUnsetClock(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{})
		l := newLane(&r.cfg, r.Service.stored, "test", 0, 0)
		var batch []entry
		for i, body := range []string{packAt(testID, 1_700_000_000, 2), timeless(testID, 1), heartbeat(testID), packAt(testID, 1_700_000_000, 2)} {
			e := r.checked(body)
			e.u.at = time.UnixMilli(int64(5000 + i))
			batch = append(batch, e)
		}
		got, err := l.send(batch, time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		want := Seen{Uplinks: 2, Heartbeats: 1, Repeats: 1, Via: HTTP, StreamID: got.answers[1], At: time.UnixMilli(5003).UTC()}
		if d := cmp.Diff(want, r.seen(testID)); d != "" {
			t.Error(d)
		}
	})
}

// A page of devices, most of which were never heard of, over several partitions.
func TestSeenOfPage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{Keys: auth.Keyspace{Partitions: 8}})
		var ids []auth.DeviceID
		for i := range 1000 {
			ids = append(ids, auth.DeviceID(fmt.Sprintf("IMEI:%015d", i)))
		}
		r.addDevice(auth.Device{ID: ids[700], Secret: testSecret})
		r.send(timeless(ids[700], 1), testSecret)
		all, err := NewReader(r.client, r.cfg.Keys).Seen(t.Context(), ids)
		if err != nil || len(all) != len(ids) {
			t.Fatalf("%d, %v", len(all), err)
		}
		for i, got := range all {
			if want := int64(0); (got.Uplinks != want) != (i == 700) {
				t.Errorf("%s: %+v", ids[i], got)
			}
		}
	})
}

// Refusals count for devices that there are, whoever sent the messages; ids
// that somebody made up leave nothing behind.
func TestSeenRefused(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{MaxRejects: 100})
		const stranger = auth.DeviceID("IMEI:999999999999999")
		for i := range 9 {
			r.send(packAt(testID, 1_700_000_000+i, 1), "wrong"+testSecret)
			r.send(packAt(stranger, 1_700_000_000+i, 1), testSecret)
			r.Reject(Reject{Device: "}:uplinks", Via: MQTT, At: time.Now(), Reason: "login"})
		}
		r.rejects.flush()
		r.Reject(Reject{Device: string(testID), Via: MQTT, At: time.Now(), Reason: "login"})
		r.rejects.flush()
		got := r.seen(testID)
		if got.Refused != 10 || got.Uplinks != 0 {
			t.Errorf("%+v", got)
		}
		if got := r.seen(stranger); got != (Seen{}) {
			t.Errorf("a stranger: %+v", got)
		}
		if n := r.client.Keys(t.Context(), "*refused*").Val(); len(n) != 1 {
			t.Errorf("keys %v", n)
		}
	})
}
