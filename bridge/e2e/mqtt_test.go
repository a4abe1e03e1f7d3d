package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// Every version and QoS of device reaches every version of app, stored once.
func TestMQTTUplinks(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	reader := s.app("dashboard", []string{"uplink.read"})
	apps := map[string]*listener{
		v5:   s.subscribe(n, v5, reader, []string{"uplinks/#"}),
		v311: s.subscribe(n, v311, reader, []string{"uplinks/#"}),
	}
	for _, version := range []string{v311, v5} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s QoS %d", version, qos), func(t *testing.T) {
				name := fmt.Sprintf("%s-%d", version, qos)
				code, said := s.publish(n, version, d, d.Topic(), fmt.Sprintf(`[{"bt":1700000000,"n":"%s","v":1.50}]`, name), "-q", fmt.Sprint(qos))
				if code != 0 {
					t.Fatalf("exit code %d: %s", code, said)
				}
				want := fmt.Sprintf(`[{"bn":"%s","bt":1700000000,"n":"%s","v":1.50}]`, d.BaseName(), name)
				for at, l := range apps {
					m := l.await(name)
					if m.topic != "uplinks/IMEI/"+d.Value() || m.payload != want || m.qos != "1" || m.retain != "0" {
						t.Errorf("the %s app got %+v, want %s", at, m, want)
					}
				}
				if got := holding(s.packs(d), name); len(got) != 1 || got[0] != want {
					t.Errorf("stored %v", got)
				}
			})
		}
	}
	ids := map[string]bool{}
	for _, e := range s.stored("uplinks") {
		ids["id:"+e.ID] = true
	}
	for _, m := range apps[v5].messages() {
		if !ids[m.properties] {
			t.Errorf("user property %q is no stream id", m.properties)
		}
	}
}

// A message token may come as a user property, or as one more topic level.
func TestMQTTTokens(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	strict, easy := s.device(0, map[string]any{"requireToken": true}), s.device(1, nil)
	l := s.subscribe(n, v5, s.app("dashboard", []string{"uplink.read"}), []string{"uplinks/#"})
	body := func(d fleet.Device, name string) string { return pack(d, 0, name, 1) }
	property := func(token string) []string {
		return []string{"-q", "1", "-D", "publish", "user-property", "Things-Message-Token", token}
	}
	for _, c := range []struct {
		name, version string
		d             fleet.Device
		token         func(body string) (topicToken string, more []string)
		ok            bool
	}{
		{"property", v5, strict, func(b string) (string, []string) { return "", property(s.token(strict, b)) }, true},
		{"level", v311, strict, func(b string) (string, []string) { return s.token(strict, b), nil }, true},
		{"level5", v5, strict, func(b string) (string, []string) { return s.token(strict, b), nil }, true},
		{"both", v5, strict, func(b string) (string, []string) { return s.token(strict, b), property(s.token(strict, b)) }, true},
		{"wrongproperty", v5, easy, func(b string) (string, []string) { return "", property(s.token(easy, b+"x")) }, false},
		{"wronglevel", v311, easy, func(b string) (string, []string) { return s.token(easy, b+"y"), nil }, false},
		{"othersecret", v5, strict, func(b string) (string, []string) { return "", property(s.token(easy, b)) }, false},
		{"missing5", v5, strict, func(string) (string, []string) { return "", nil }, false},
		{"missing311", v311, strict, func(string) (string, []string) { return "", nil }, false},
		{"differing", v5, strict, func(b string) (string, []string) { return s.token(easy, b), property(s.token(strict, b)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rejected := len(s.stored("rejects"))
			b := body(c.d, c.name)
			level, more := c.token(b)
			topic := c.d.Topic()
			if level != "" {
				topic += "/" + level
			}
			if more == nil {
				more = []string{"-q", "1"}
			}
			code, said := s.publish(n, c.version, c.d, topic, b, more...)
			if c.ok {
				l.await(c.name)
				return
			}
			// MQTT 5 is told; 3.1.1 is acknowledged, and the message goes to nobody.
			if told := strings.Contains(said, "Not authorized"); code != 0 && c.version == v311 || told != (c.version == v5) {
				t.Errorf("exit code %d: %s", code, said)
			}
			eventually(t, 5*time.Second, "a reject", func() bool { return len(s.stored("rejects")) > rejected })
			if got := holding(s.packs(c.d), c.name); len(got) > 0 {
				t.Errorf("stored %v", got)
			}
		})
	}
	s.mustPublish(n, v5, easy, body(easy, "fence"))
	l.await("fence")
	if got := len(l.messages()); got != 5 {
		t.Errorf("the app got %d messages, want 5: %v", got, l.messages())
	}
}

// What is refused gets its reason code on MQTT 5, and reaches nobody.
func TestMQTTRefusals(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve("--device-rate", "0.01", "--device-burst", "3")
	d, other, victim := s.device(0, nil), s.device(1, nil), s.device(2, nil)
	l := s.subscribe(n, v5, s.app("all", []string{"uplink.read", "downlink.read"}), []string{"#"})
	for _, c := range []struct {
		name, topic, payload, says string
	}{
		{"no pack", d.Topic(), "hello", "Payload format invalid"},
		{"another device's pack", d.Topic(), pack(victim, 0, "stolen", 1), "Payload format invalid"},
		{"another device's topic", victim.Topic(), pack(victim, 0, "stolen", 1), "Not authorized"},
		{"its own downlink topic", "things/IMEI/" + d.Value() + "/downlink", pack(d, 0, "stolen", 1), "Not authorized"},
		{"the apps' topic", "uplinks/IMEI/" + d.Value(), pack(d, 0, "stolen", 1), "Not authorized"},
		{"another's apps' topic", "uplinks/IMEI/" + victim.Value(), pack(victim, 0, "stolen", 1), "Not authorized"},
		{"presence", "presence/IMEI/" + d.Value(), "online", "Not authorized"},
		{"events", "events/IMEI/" + d.Value() + "/sms", "{}", "Not authorized"},
		{"downlinks", "downlinks/IMEI/" + victim.Value(), pack(victim, 0, "stolen", 1), "Not authorized"},
		{"anything", "a/b", "c", "Not authorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rejected := len(s.stored("rejects"))
			for i, version := range []string{v5, v311} {
				for _, qos := range []int{1, 2, 0} {
					code, said := s.publish(n, version, d, c.topic, c.payload, "-q", fmt.Sprint(qos))
					if told := strings.Contains(said, c.says); told != (version == v5 && qos > 0) {
						t.Errorf("%s QoS %d: exit code %d: %s", version, qos, code, said)
					}
				}
				// The next login would take over, perhaps before what came at QoS 0 is read.
				eventually(t, 5*time.Second, "three rejects", func() bool { return len(s.stored("rejects")) == rejected+3*(i+1) })
			}
		})
	}
	t.Run("quota", func(t *testing.T) {
		for i := range 3 {
			s.mustPublish(n, v5, other, pack(other, 0, "quota", i))
		}
		if _, said := s.publish(n, v5, other, other.Topic(), pack(other, 0, "over", 1), "-q", "1"); !strings.Contains(said, "Quota exceeded") {
			t.Errorf("said %s", said)
		}
	})
	s.mustPublish(n, v5, d, pack(d, 0, "fence", 1))
	l.await("fence")
	if got := l.messages(); len(got) != 4 { // three of the quota, and the fence
		t.Errorf("the app got %v", got)
	}
}

// A device's retained publish is an uplink like any other: nothing is kept for
// those who come later.
func TestRetainedPublish(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	reader := s.app("dashboard", []string{"uplink.read"})
	now := s.subscribe(n, v5, reader, []string{"#"})
	for _, version := range []string{v5, v311} {
		s.mustPublish(n, version, d, pack(d, 0, "kept"+version, 1), "-r")
		if m := now.await("kept" + version); m.retain != "0" {
			t.Errorf("delivered with the retain flag: %+v", m)
		}
		s.publish(n, version, d, "uplinks/IMEI/"+d.Value(), pack(d, 0, "forged", 1), "-r", "-q", "1")
	}
	later := s.subscribe(n, v5, reader, []string{"#", "uplinks/#", "uplinks/IMEI/" + d.Value()})
	s.mustPublish(n, v5, d, pack(d, 0, "fence", 1))
	later.await("fence")
	if got := later.holding("kept"); len(got) > 0 || len(later.holding("forged")) > 0 {
		t.Errorf("retained: %v", later.messages())
	}
	if got := holding(s.packs(d), "forged"); len(got) > 0 {
		t.Errorf("stored %v", got)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d, disabled := s.device(0, nil), s.device(1, map[string]any{"disabled": true})
	reader := s.app("dashboard", []string{"uplink.read"})
	stranger := fleet.Devices("stranger", 9, 1)[0]
	as := func(d fleet.Device, password string) fleet.Device {
		d.Secret = s.confide(password, "a password")
		return d
	}
	for _, version := range []string{v311, v5} {
		codes := map[int]bool{}
		for name, who := range map[string]fleet.Device{
			"wrong secret": as(d, d.Secret+"x"), "unknown device": as(stranger, stranger.Secret), "disabled": disabled,
			"another's token": as(d, disabled.Token([]byte(d.BaseName()))),
		} {
			code, said := s.publish(n, version, who, d.Topic(), pack(d, 0, "t", 1), "-q", "1")
			if code == 0 || !strings.Contains(said, "onnection") {
				t.Errorf("%s, %s: exit code %d: %s", version, name, code, said)
			}
			codes[code] = true
		}
		if len(codes) != 1 {
			t.Errorf("%s: exit codes %v tell the cases apart", version, codes)
		}
		l := s.listen(n, version, reader.name, s.confide(reader.key+"x", "a password"), []string{"uplinks/#"})
		if l.granted != "" {
			t.Errorf("%s: an app with a wrong key subscribed: %s", version, l.out)
		}
	}
	// The token of the user name is as good as the secret.
	s.mustPublish(n, v311, as(d, d.Token([]byte(d.BaseName()))), pack(d, 0, "token", 1))
	if got := len(s.stored("uplinks")); got != 1 {
		t.Errorf("stored %d uplinks, want 1", got)
	}
	eventually(t, 5*time.Second, "rejects of the failed logins", func() bool {
		n := 0
		for _, e := range s.stored("rejects") {
			if e.Values["reason"] == "login" {
				n++
			}
		}
		return n == 10
	})
}

// Wildcards and shared subscriptions work on both versions.
func TestFilters(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d, e := s.device(0, nil), s.device(1, nil)
	reader := s.app("dashboard", []string{"uplink.read"})
	one := map[string]*listener{}
	for _, f := range []string{"uplinks/IMEI/" + d.Value(), "uplinks/+/" + d.Value(), "+/IMEI/" + d.Value(), "uplinks/#", "uplinks/IMEI/+", "+/+/+", "#"} {
		one[f] = s.subscribe(n, v5, reader, []string{f})
	}
	var shared []*listener
	for i := range 4 {
		shared = append(shared, s.subscribe(n, []string{v5, v311}[i%2], reader, []string{"$share/workers/uplinks/#"}))
	}
	const each = 20
	for i := range each {
		s.mustPublish(n, v311, d, pack(d, 0, fmt.Sprintf("m%d.", i), i))
		s.mustPublish(n, v5, e, pack(e, 0, fmt.Sprintf("m%d.", i), i))
	}
	for f, l := range one {
		want := 2 * each
		if strings.Contains(f, d.Value()) {
			want = each
		}
		eventually(t, 10*time.Second, "all messages on "+f, func() bool { return len(l.messages()) >= want })
		if got := len(l.messages()); got != want {
			t.Errorf("%s: %d messages, want %d", f, got, want)
		}
		inOrder(t, f, l, d)
	}
	total := func() (n int) {
		for _, l := range shared {
			n += len(l.messages())
		}
		return n
	}
	eventually(t, 10*time.Second, "all messages to the group", func() bool { return total() >= 2*each })
	if total() != 2*each {
		t.Errorf("the group got %d messages, want %d", total(), 2*each)
	}
	for i, l := range shared {
		if len(l.messages()) == 0 {
			t.Errorf("member %d of the group got nothing", i)
		}
	}
}

// inOrder wants a device's messages m0. m1. … in order.
func inOrder(t *testing.T, where string, l *listener, d fleet.Device) {
	t.Helper()
	next := 0
	for _, m := range l.messages() {
		if strings.HasSuffix(m.topic, d.Value()) {
			if !strings.Contains(m.payload, fmt.Sprintf(`"m%d."`, next)) {
				t.Errorf("%s: message %d is %s", where, next, m.payload)
			}
			next++
		}
	}
}
