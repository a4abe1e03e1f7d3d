package uplink

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// A reject tells what a log would have to: whose claim, why, from where, and
// the start of the body.
func TestRejectEntry(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{MaxRejects: 100})
	body := packAt(testID, 1_700_000_000, 1)
	r.send(body, "wrong"+testSecret)
	r.Reject(Reject{Via: MQTT, At: time.Now(), Reason: "login", Remote: "127.0.0.1:9", Body: bytes.Repeat([]byte("x"), 5000)})
	r.rejects.flush()
	entries, err := r.client.XRange(t.Context(), RejectsKey(r.cfg.Keys, 0), "-", "+").Result()
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	e := entries[0].Values
	for k, want := range map[string]string{"device": string(testID), "via": "http", "reason": "token-wrong", "remote": "127.0.0.1:5000", "body": body} {
		if e[k] != want {
			t.Errorf("%s = %q, want %q", k, e[k], want)
		}
	}
	if strings.Contains(e["detail"].(string), testSecret) || e["detail"] == "" {
		t.Errorf("detail %q", e["detail"])
	}
	if n := len(entries[1].Values["body"].(string)); n != rejectBody {
		t.Errorf("body of %d bytes kept, want %d", n, rejectBody)
	}
}

// A pack that cannot be read to its end is still told of its claimant.
func TestRejectClaimant(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{MaxRejects: 100})
	r.send(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":NaN}]`, testSecret)
	r.send(``, testSecret)
	r.accept(&Message{Via: MQTT, Login: testID, Body: []byte("{")})
	r.rejects.flush()
	entries, err := r.client.XRange(t.Context(), RejectsKey(r.cfg.Keys, 0), "-", "+").Result()
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, want := range []string{string(testID), "", string(testID)} {
		if got := entries[i].Values["device"]; got != want {
			t.Errorf("entry %d of %q, want %q", i, got, want)
		}
	}
}

// A flood fills neither Redis nor the queue, and what is not written is told.
func TestRejectFlood(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{MaxRejects: 200, RejectRate: 500})
	for range 20_000 {
		r.Reject(Reject{Via: HTTP, At: time.Now(), Reason: "test"})
	}
	if v := r.send(timeless(testID, 1), testSecret); v.Outcome != Stored {
		t.Errorf("a good uplink in the flood: %+v", v)
	}
	r.rejects.flush()
	entries, err := r.client.XRange(t.Context(), RejectsKey(r.cfg.Keys, 0), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 400 { // about 200: Redis trims whole nodes of the stream
		t.Errorf("%d entries kept of a flood", len(entries))
	}
	last := entries[len(entries)-1].Values
	if last["reason"] != "suppressed" || !strings.Contains(last["detail"].(string), "more rejects") {
		t.Errorf("last entry %v does not tell what was suppressed", last)
	}
}
