package uplink

import (
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

func TestOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		fixed, loose := packAt(testID, 1_700_000_000, 1), timeless(testID, 1)
		for _, tt := range []struct {
			mode   Once
			body   string
			want   Outcome // of the repeat
			stored int
		}{
			{OnceOff, fixed, Stored, 2},
			{OnceObserve, fixed, Stored, 2},
			{OnceDedupe, fixed, Repeated, 1},
			{OnceEnforce, fixed, Repeated, 1},
			{OnceDedupe, loose, Stored, 2},
			{OnceEnforce, loose, Stored, 2},
		} {
			t.Run(fmt.Sprintf("%s %d", tt.mode, len(tt.body)), func(t *testing.T) {
				flush(t, s)
				r := newRig(t, s, Config{Once: tt.mode})
				if v := r.send(tt.body, testSecret); v.Outcome != Stored {
					t.Fatalf("first: %+v", v)
				}
				if v := r.send(tt.body, testSecret); v.Outcome != tt.want {
					t.Errorf("repeat: %v, want %v", v.Outcome, tt.want)
				}
				if n := len(r.stored(0)); n != tt.stored {
					t.Errorf("stored %d, want %d", n, tt.stored)
				}
			})
		}
	})
}

func flush(t *testing.T, s *redistest.Server) {
	t.Helper()
	if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// The same bytes over both edges are one uplink.
func TestOnceAcrossEdges(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{})
	body := packAt(testID, 1_700_000_000, 1)
	if v := r.send(body, testSecret); v.Outcome != Stored {
		t.Fatalf("HTTP: %+v", v)
	}
	if v := r.accept(&Message{Via: MQTT, Login: testID, Body: []byte(body)}); v.Outcome != Repeated {
		t.Errorf("MQTT: %v", v.Outcome)
	}
}

// Memory per device is bounded: the oldest of more than Window uplinks is forgotten.
func TestOnceWindow(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{Window: 4})
	for i := range 5 {
		r.send(packAt(testID, 1_700_000_000+i, i), testSecret)
	}
	if v := r.send(packAt(testID, 1_700_000_001, 1), testSecret); v.Outcome != Repeated {
		t.Errorf("within the window: %v", v.Outcome)
	}
	if v := r.send(packAt(testID, 1_700_000_000, 0), testSecret); v.Outcome != Stored {
		t.Errorf("beyond the window: %v", v.Outcome)
	}
	n, err := r.client.StrLen(t.Context(), string(appendSeenKey(nil, r.cfg.Keys, 0, testID))).Result()
	if err != nil || n != headSize+4*tagSize {
		t.Errorf("%d bytes kept (%v), want %d", n, err, headSize+4*tagSize)
	}
}

func TestEnforceRefusesOld(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{Once: OnceEnforce, Tolerance: time.Minute, MaxRejects: 10})
		for i, tt := range []struct {
			time    int
			outcome Outcome
		}{
			{1_700_000_000, Stored}, {1_700_000_100, Stored}, {1_700_000_041, Stored}, {1_700_000_039, BadPack},
		} {
			if v := r.send(packAt(testID, tt.time, i), testSecret); v.Outcome != tt.outcome {
				t.Errorf("pack of %d: %v (%s), want %v", tt.time, v.Outcome, v.Reason, tt.outcome)
			}
		}
	})
}

// Partitions: an uplink is in its device's stream and no other.
func TestPartitions(t *testing.T) {
	keys := auth.Keyspace{Partitions: 4}
	r := newRig(t, redistest.Start(t), Config{Keys: keys})
	used := map[int]bool{}
	for i := range 8 {
		id := auth.DeviceID(fmt.Sprintf("IMEI:55555555555550%d", i))
		r.addDevice(auth.Device{ID: id, Secret: testSecret})
		v := r.send(timeless(id, i), testSecret)
		p := keys.Partition(id)
		used[p] = true
		last := r.stored(p)
		if v.Outcome != Stored || len(last) == 0 || last[len(last)-1].Values["device"] != string(id) {
			t.Errorf("%s: %+v", id, v)
		}
	}
	if len(used) < 2 {
		t.Errorf("all devices in one partition: %v", used)
	}
}

// A clock that ran ahead once does not shut the device out.
func TestEnforceFuture(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{Once: OnceEnforce, Tolerance: time.Minute})
	if v := r.send(packAt(testID, 4_000_000_000, 1), testSecret); v.Outcome != Stored {
		t.Fatalf("%+v", v)
	}
	if v := r.send(packAt(testID, int(time.Now().Unix()), 2), testSecret); v.Outcome != Stored {
		t.Errorf("%v %s", v.Outcome, v.Detail)
	}
}

// Redis refuses the entry but takes the tag: the device must not hear that it is stored.
func TestRefusedEntry(t *testing.T) {
	s := redistest.Start(t)
	r := newRig(t, s, Config{})
	acl := func(rule string) {
		t.Helper()
		if err := s.Client().Do(t.Context(), "ACL", "SETUSER", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl("-xadd")
	body := packAt(testID, 1_700_000_000, 1)
	for range 2 {
		if v := r.send(body, testSecret); v.Outcome != Unavailable {
			t.Errorf("acknowledged: %v", v.Outcome)
		}
	}
	acl("+xadd")
	if v := r.send(body, testSecret); v.Outcome != Stored || len(r.stored(0)) != 1 {
		t.Errorf("afterwards: %v, %d stored", v.Outcome, len(r.stored(0)))
	}
}
