package uplink

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/trace"
)

// told is a Tracer that remembers.
type told struct {
	mu  sync.Mutex
	all []trace.Message
}

func (l *told) Message(m *trace.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, *m)
}

// last is the one message told since the call before.
func (l *told) last(t *testing.T) trace.Message {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) != 1 {
		t.Fatalf("told %d times: %+v", len(l.all), l.all)
	}
	m := l.all[0]
	l.all = nil
	return m
}

func TestTracedVerdicts(t *testing.T) {
	t.Parallel()
	l := &told{}
	r := newRig(t, redistest.Start(t), Config{Trace: l})
	r.addDevice(auth.Device{ID: "IMEI:490154203237518", Secret: testSecret, Disabled: true})
	const disabled, unknown = auth.DeviceID("IMEI:490154203237518"), auth.DeviceID("IMEI:999999999999999")
	other := strings.Repeat("x", 32)
	body := packAt(testID, 1700000000, 1)
	heartbeat := `[{"bn":"` + testID.BaseName() + `"}]`
	hostile := `[{"bn":"` + testID.BaseName() + `","n":"t","v":1,"<b>hostile_":2}]`
	login := func(body string) *Message {
		return &Message{Via: MQTT, Remote: "127.0.0.1:5000", Login: testID, Body: []byte(body)}
	}
	for _, c := range []struct {
		name     string
		do       func() Verdict
		standing trace.Standing
		outcome  string
		reason   string
		secret   int
		records  int
	}{
		{"stored", func() Verdict { return r.send(body, testSecret) }, trace.Proven, "stored", "", 1, 1},
		{"repeated", func() Verdict { return r.send(body, testSecret) }, trace.Proven, "repeated", "", 1, 1},
		{"heartbeat", func() Verdict { return r.send(heartbeat, testSecret) }, trace.Proven, "heartbeat", "", 1, 1},
		{"login", func() Verdict { return r.accept(login(timeless(testID, 1))) }, trace.Proven, "stored", "", 0, 1},
		{"wrong token", func() Verdict { return r.send(body, other) }, trace.Known, "forbidden", "token-wrong", 0, 0},
		{"disabled", func() Verdict { return r.send(packAt(disabled, 1700000000, 1), testSecret) }, trace.Known, "forbidden", "device-disabled", 0, 0},
		{"unknown", func() Verdict { return r.send(packAt(unknown, 1700000000, 1), other) }, trace.Claimed, "forbidden", "device-unknown", 0, 0},
		{"not a pack", func() Verdict { return r.send(hostile, other) }, trace.Claimed, "bad-pack", "senml-must-understand", 0, 0},
		{"login, not a pack", func() Verdict { return r.accept(login(hostile)) }, trace.Proven, "bad-pack", "senml-must-understand", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, m := c.do(), l.last(t)
			if m.Standing != c.standing || m.Outcome != c.outcome || m.Reason != c.reason || m.Secret != c.secret || m.Records != c.records || m.ID != v.StreamID {
				t.Errorf("%+v of %+v", m, v)
			}
			if m.Outcome != v.Outcome.String() || m.Reason != v.Reason || m.Bytes == 0 || m.Remote != "127.0.0.1:5000" || m.At.IsZero() {
				t.Errorf("%+v of %+v", m, v)
			}
			if strings.Contains(m.Detail, "hostile") || m.Reason != "" && m.Detail == "" {
				t.Errorf("detail %q", m.Detail)
			}
		})
	}
	if r.send("no pack", testSecret); len(l.all) != 0 {
		t.Errorf("of no device: %+v", l.all)
	}
}

// A subscriber may be given an uplink as soon as OnCommit is told of it: what it
// came to is told before.
func TestTracedBeforeItIsCommitted(t *testing.T) {
	t.Parallel()
	l := &told{}
	var order []int
	r := newRig(t, redistest.Start(t), Config{Trace: l, OnCommit: func(Commit) {
		l.mu.Lock()
		defer l.mu.Unlock()
		order = append(order, len(l.all))
	}})
	for i := range 3 {
		r.send(timeless(testID, i), testSecret)
	}
	if !slices.Equal(order, []int{1, 2, 3}) {
		t.Errorf("got %v", order)
	}
}
