package uplink

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

func TestVerdicts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{TrailingNUL: true, MaxRejects: 1000, MaxBody: 4096})
		disabled := auth.DeviceID("IMEI:111111111111111")
		r.addDevice(auth.Device{ID: disabled, Secret: testSecret, Disabled: true})
		good := timeless(testID, 1)
		post := func(body, token string) Message {
			return Message{Via: HTTP, PathType: "IMEI", Body: []byte(body), Token: token, HasToken: token != "none"} // else the token is not read
		}
		tests := []struct {
			name    string
			msg     Message
			outcome Outcome
			reason  string
			detail  string // part of it
		}{
			{"OK", post(good, tokenOf(good, testSecret)), Stored, "", ""},
			{"upper-case token", post(good, strings.ToUpper(tokenOf(good, testSecret))), Stored, "", ""},
			{"heartbeat", post(`[{"bn":"urn:dev:IMEI:356726104408422:"}]`, tokenOf(`[{"bn":"urn:dev:IMEI:356726104408422:"}]`, testSecret)), Heartbeat, "", ""},
			{"trailing NUL signed without", post(good+"\x00", tokenOf(good, testSecret)), Stored, "", ""},
			{"trailing NUL signed with", post(good+"\x00", tokenOf(good+"\x00", testSecret)), Stored, "", ""},
			{"MQTT too large", Message{Via: MQTT, Login: testID, Body: []byte(`[{"n":"a","vs":"` + strings.Repeat("x", 4096) + `"}]`)}, BadPack, "too-large", "4096 bytes"},
			{"empty", post("", tokenOf("", testSecret)), BadPack, "empty", "empty"},
			{"not JSON", post("hello", tokenOf("hello", testSecret)), BadPack, "senml-not-json", ""},
			{"no base name", post(`[{"n":"a","v":1}]`, "none"), BadPack, "base-name", `record 1: field "bn"`},
			{"foreign second record", post(`[{"bn":"urn:dev:IMEI:356726104408422:","n":"a","v":1},{"bn":"urn:dev:IMEI:111111111111111:","n":"a","v":1}]`, "none"), BadPack, "base-name", `record 2: field "bn"`},
			{"colon missing, name goes on with a digit", post(`[{"bn":"urn:dev:IMEI:356726104408422","n":"1:a","v":2}]`, "none"), BadPack, "base-name", `record 1: field "n"`},
			{"a gateway's child", post(`[{"bn":"urn:dev:IMEI:356726104408422:child","n":"1:a","v":2}]`, tokenOf(`[{"bn":"urn:dev:IMEI:356726104408422:child","n":"1:a","v":2}]`, testSecret)), Stored, "", ""},
			{"wrong path", post(`[{"bn":"urn:dev:DVNUUID:5f4dcc3b-5aa7-4d5e-8f63-0123456789ab:","n":"a","v":1}]`, "none"), BadPack, "wrong-path", "/ingestion/ip/senml/v1"},
			{"token missing", post(good, "none"), TokenMissing, "token-missing", "Things-Message-Token"},
			{"token wrong", post(good, tokenOf(good, "x"+testSecret)), Forbidden, "token-wrong", sameRefusal},
			{"token malformed", post(good, "zz"), Forbidden, "token-malformed", "64 hex digits"},
			{"device unknown", post(timeless("IMEI:222222222222222", 1), tokenOf(timeless("IMEI:222222222222222", 1), testSecret)), Forbidden, "device-unknown", sameRefusal},
			{"device disabled", post(timeless(disabled, 1), tokenOf(timeless(disabled, 1), testSecret)), Forbidden, "device-disabled", sameRefusal},
			{"MQTT without base name", Message{Via: MQTT, Login: testID, Body: []byte(`[{"n":"a","v":1}]`)}, Stored, "", ""},
			{"MQTT of another device", Message{Via: MQTT, Login: testID, Body: []byte(timeless(disabled, 1))}, BadPack, "foreign-device", "logged in"},
			{"MQTT wrong token", Message{Via: MQTT, Login: testID, Body: []byte(good), Token: tokenOf(good, "nope"), HasToken: true}, Forbidden, "token-wrong", ""},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				before := len(r.stored(0))
				v := r.accept(&tt.msg)
				if v.Outcome != tt.outcome || v.Reason != tt.reason || !strings.Contains(v.Detail, tt.detail) {
					t.Errorf("verdict %v %q %q, want %v %q …%q…", v.Outcome, v.Reason, v.Detail, tt.outcome, tt.reason, tt.detail)
				}
				want := 0
				if tt.outcome == Stored {
					want = 1
				}
				if n := len(r.stored(0)) - before; n != want {
					t.Errorf("stored %d entries, want %d", n, want)
				}
			})
		}
	})
}

// What is stored is the contract of DESIGN §6.
func TestStoredEntry(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r := newRig(t, s, Config{KeepRaw: true})
		body := `[{"bn":"urn:dev:imei:356726104408422","bt":1700000000},{"n": "temperature","u":"Cel","v":21.50}]`
		before := time.Now().UnixMilli()
		v := r.send(body, testSecret)
		entries := r.stored(0)
		if v.Outcome != Stored || len(entries) != 1 || entries[0].ID != v.StreamID {
			t.Fatalf("verdict %+v, entries %v", v, entries)
		}
		e := entries[0].Values
		want := map[string]string{
			"device": string(testID), "via": "http", "token": tokenOf(body, testSecret), "raw": body,
			"pack": `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1700000000,"n":"temperature","u":"Cel","v":21.50}]`,
		}
		for k, w := range want {
			if e[k] != w {
				t.Errorf("%s = %q, want %q", k, e[k], w)
			}
		}
		if at, err := strconv.ParseInt(e["at"].(string), 10, 64); err != nil || at < before || at > time.Now().UnixMilli() {
			t.Errorf("at = %v (%v), want Unix ms of the receipt", at, err)
		}
		if len(e) != len(want)+1 {
			t.Errorf("fields %v", e)
		}
	})
}

func TestUnsigned(t *testing.T) {
	s := redistest.Start(t)
	r := newRig(t, s, Config{UnsignedFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	const id = auth.DeviceID("IMEI:333333333333333")
	r.addDevice(auth.Device{ID: id, Unsigned: true})
	body := []byte(timeless(id, 1))
	for _, tt := range []struct {
		name    string
		msg     Message
		outcome Outcome
	}{
		{"OK", Message{Via: HTTP, PathType: "IMEI", Remote: "10.1.2.3:999"}, Stored},
		{"a token is ignored", Message{Via: HTTP, PathType: "IMEI", Remote: "10.1.2.3:999", Token: "abc", HasToken: true}, Stored},
		{"mapped address", Message{Via: HTTP, PathType: "IMEI", Remote: "[::ffff:10.1.2.3]:999"}, Stored},
		{"other network, as any device without token", Message{Via: HTTP, PathType: "IMEI", Remote: "192.0.2.1:999"}, TokenMissing},
		{"other network, as any wrong token", Message{Via: HTTP, PathType: "IMEI", Remote: "192.0.2.1:999", Token: tokenOf("", "x"), HasToken: true}, Forbidden},
		{"a signed device there", Message{Via: HTTP, PathType: "IMEI", Remote: "10.1.2.3:999", Body: []byte(timeless(testID, 1))}, TokenMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.msg.Body == nil {
				tt.msg.Body = body
			}
			if v := r.accept(&tt.msg); v.Outcome != tt.outcome {
				t.Errorf("outcome %v (%s), want %v", v.Outcome, v.Detail, tt.outcome)
			}
		})
	}
	for _, e := range r.stored(0) {
		if e.Values["unsigned"] != "1" {
			t.Errorf("stored without its mark: %v", e.Values)
		}
	}
}

func TestRequireToken(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{})
	const id = auth.DeviceID("IMEI:444444444444444")
	r.addDevice(auth.Device{ID: id, Secret: testSecret, RequireToken: true})
	body := timeless(id, 1)
	m := Message{Via: MQTT, Login: id, Body: []byte(body)}
	if v := r.accept(&m); v.Outcome != TokenMissing {
		t.Errorf("without token: %v", v.Outcome)
	}
	m.Token, m.HasToken = tokenOf(body, testSecret), true
	if v := r.accept(&m); v.Outcome != Stored {
		t.Errorf("with token: %v %s", v.Outcome, v.Detail)
	}
}

func TestRevealUnknown(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{RevealUnknown: true})
	if v := r.send(timeless("IMEI:222222222222222", 1), testSecret); v.Outcome != Unknown {
		t.Errorf("outcome %v, want unknown", v.Outcome)
	}
}

func TestDeviceRate(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{DeviceRate: 0.01, DeviceBurst: 2})
	var got []Outcome
	for range 3 {
		got = append(got, r.send(timeless(testID, 1), testSecret).Outcome)
	}
	if got[0] != Stored || got[1] != Stored || got[2] != RateLimited {
		t.Errorf("outcomes %v", got)
	}
	if v := r.send(timeless(testID, 1), testSecret); v.RetryAfter < 10*time.Second || v.RetryAfter > 100*time.Second {
		t.Errorf("retry after %v", v.RetryAfter)
	}
	if v := r.send(timeless(testID, 1), "wrong"+testSecret); v.Outcome != Forbidden {
		t.Errorf("a stranger used the device's budget: %v", v.Outcome)
	}
}

// A repeat is answered as the first was, whatever the rate.
func TestRepeatCostsNothing(t *testing.T) {
	r := newRig(t, redistest.Start(t), Config{DeviceRate: 0.01, DeviceBurst: 2})
	body := packAt(testID, 1_700_000_000, 1)
	for i, want := range []Outcome{Stored, Repeated, Repeated, Repeated} {
		if v := r.send(body, testSecret); v.Outcome != want {
			t.Errorf("%d: %v, want %v", i, v.Outcome, want)
		}
	}
}
