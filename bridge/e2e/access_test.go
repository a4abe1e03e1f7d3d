package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// everyFilter is what one may try to read another device's messages with.
func everyFilter(victim fleet.Device) []string {
	v := "IMEI/" + victim.Value()
	return []string{
		"#", "+", "+/#", "/#", "+/+/+", "+/+/+/+", "+/+/+/#", "+/" + v, "+/+/" + victim.Value(),
		"uplinks/#", "uplinks/+/+", "uplinks/IMEI/+", "uplinks/IMEI/#", "uplinks/" + v, "uplinks/" + v + "/#", "uplinks/imei/" + victim.Value(), "uplinks//" + v,
		"$share/g/#", "$share/g/+/+/+", "$share/g/uplinks/#", "$share/g/uplinks/" + v, "$share/g/rejects/#", "$share/g/$SYS/#", "$share/g/$share/g/#", "$queue/#",
		"$SYS/#", "$SYS/+", "$SYS/broker/messages/#",
		"rejects/#", "rejects/+/+", "rejects/" + v, "rejects/UNKNOWN/-", "things/#", "things/+/+/+", "things/" + v + "/uplink", "things/" + v + "/uplink/#", "things/" + v + "/downlink",
		"events/#", "events/" + v + "/#", "presence/#", "presence/" + v, "downlinks/#", "downlinks/" + v,
	}
}

// TestLimitedApp: an app limited to one device tries to read another's, by
// every filter, on both versions. A spy without limits sees that all of it was
// there to be read.
func TestLimitedApp(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub", "curl")
	s := newSite(t)
	n := s.serve()
	own, victim := s.device(0, map[string]any{"labels": map[string]string{"site": "depot"}}), s.device(1, map[string]any{"labels": map[string]string{"site": "pier"}})
	before := pack(victim, 0, "before", 1)
	s.mustPublish(n, v5, victim, before, "-r") // retained, before anyone is there
	all := []string{"uplink.read", "downlink.read", "reject.read"}
	spy := s.subscribe(n, v5, s.app("spy", all), []string{"#"})
	apps := map[string]app{
		"byid":    s.app("byid", []string{"uplink.read"}, own.ID),
		"bylabel": s.app("bylabel", []string{"uplink.read"}, "site=depot"),
		"rejects": s.app("rejects", all, own.ID),
	}
	var listeners []*listener
	for name, a := range apps {
		for i, filter := range everyFilter(victim) {
			version := []string{v5, v311}[(i+len(name))%2]
			listeners = append(listeners, s.subscribe(n, version, a, []string{filter}))
		}
	}
	s.mustPublish(n, v5, victim, pack(victim, 0, "secret1", 1), "-r")
	s.mustPublish(n, v311, victim, pack(victim, 0, "secret2", 1))
	s.post(n, victim, pack(victim, 0, "secret3", 1)).accepted(t)
	s.postWith(n, victim.Path(), s.token(victim, "wrong"), pack(victim, 0, "secret4", 1)) // a reject of the victim
	s.postWith(n, victim.Path(), "", "secret5")                                           // a reject of nobody's
	s.publish(n, v5, victim, victim.Topic(), pack(victim, 0, "secret6", 1)[1:], "-q", "1")
	s.publish(n, v5, victim, "uplinks/IMEI/"+own.Value(), pack(victim, 0, "secret7", 1), "-q", "1") // disguised as the own one's
	s.postWith(n, victim.Path(), s.token(own, "wrong"), pack(own, 0, "ownreject", 1))
	for topic, want := range map[string]int{
		"uplinks/IMEI/" + victim.Value(): 3, "rejects/IMEI/" + victim.Value(): 3, "rejects/UNKNOWN/-": 1, "rejects/IMEI/" + own.Value(): 1,
	} {
		eventually(t, 10*time.Second, fmt.Sprintf("the spy has %d of %s", want, topic), func() bool { return len(spy.on(topic)) == want })
	}
	s.mustPublish(n, v5, own, pack(own, 0, "fence", 1))
	spy.await("fence")
	granted, fenced := 0, 0
	for _, l := range listeners {
		if l.granted == "0" || l.granted == "1" {
			granted++
		}
		// Whoever may see the own device's uplinks has what was before them.
		for _, filter := range []string{"#", "+/+/+", "uplinks/#", "uplinks/+/+"} {
			if strings.HasSuffix(l.name, " on "+filter) {
				l.await("fence")
				fenced++
			}
		}
	}
	if granted < 20 || fenced != 4*len(apps) {
		t.Errorf("%d subscriptions were granted, %d of them saw the own device's: the test tries nothing", granted, fenced)
	}
	for _, l := range listeners {
		for _, m := range l.messages() {
			allowed := m.topic == "uplinks/IMEI/"+own.Value() || strings.HasPrefix(l.name, "rejects ") && m.topic == "rejects/IMEI/"+own.Value()
			if !allowed || strings.Contains(m.payload, "secret") || strings.Contains(m.payload, victim.Value()) || m.retain != "0" {
				t.Errorf("%s got %+v", l.name, m)
			}
		}
	}
	s.mayNotAsk(t, n, apps["byid"], victim)
}

// mayNotAsk tries the same on the API.
func (s *site) mayNotAsk(t *testing.T, n *node, a app, victim fleet.Device) {
	t.Helper()
	for path, want := range map[string]int{
		"/v1/uplinks?after=0&device=" + victim.ID: 403,
		"/v1/live?device=" + victim.ID:            403,
		"/v1/rejects":                             403,
		"/v1/apps":                                403,
		"/v1/devices":                             403,
		"/v1/devices/" + victim.ID:                403,
		"/v1/uplinks?after=0":                     200,
	} {
		r := curl(t, "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+path)
		if r.status != want || strings.Contains(r.body, "secret") || want == 200 && strings.Contains(r.body, victim.Value()) {
			t.Errorf("%s: status %d, want %d: %s", path, r.status, want, r.body)
		}
		if strings.Contains(path, "uplinks?after=0&") {
			continue
		}
		if r := curl(t, "http://"+n.addr("api")+path); r.status != 401 {
			t.Errorf("%s without a key: status %d", path, r.status)
		}
	}
}

// A device subscribes to nothing but its own downlinks.
func TestDeviceMayNotSubscribe(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d, victim := s.device(0, nil), s.device(1, nil)
	refused := map[string]string{v5: "135", v311: "128"}
	for _, version := range []string{v5, v311} {
		// One session: a further login of the device would take it over.
		filters := slices.DeleteFunc(append(everyFilter(victim), everyFilter(d)...), func(f string) bool {
			return f == "things/IMEI/"+d.Value()+"/downlink"
		})
		l := s.listen(n, version, d.BaseName(), d.Secret, filters)
		codes := strings.Split(l.granted, ", ")
		if len(codes) != len(filters) {
			t.Fatalf("%d answers for %d filters: %s", len(codes), len(filters), l.granted)
		}
		for i, code := range codes {
			if code != refused[version] && !(version == v5 && code == "143") { // 0x8F: not a filter
				t.Errorf("%s: %s is answered %s", version, filters[i], code)
			}
		}
		own := s.listen(n, version, d.BaseName(), d.Secret, []string{"things/IMEI/" + d.Value() + "/downlink"})
		if own.granted != "1" {
			t.Errorf("%s: its own downlinks are answered %s", version, own.granted)
		}
	}
}

// An app publishes nothing that reaches anybody, whatever its scopes.
func TestAppMayNotPublish(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	forger := s.app("forger", []string{"admin"})
	l := s.subscribe(n, v5, s.app("dashboard", []string{"uplink.read"}), []string{"#"})
	for _, topic := range []string{d.Topic(), "uplinks/IMEI/" + d.Value(), "presence/IMEI/" + d.Value(), "rejects/IMEI/" + d.Value(), "$SYS/x", "a"} {
		for qos := range 3 {
			_, said := s.publishAs(n, v5, forger.name, forger.key, topic, pack(d, 0, "forged", 1), "-r", "-q", fmt.Sprint(qos))
			if qos > 0 && !strings.Contains(said, "Not authorized") {
				t.Errorf("%s QoS %d: %s", topic, qos, said)
			}
		}
	}
	s.mustPublish(n, v5, d, pack(d, 0, "fence", 1))
	l.await("fence")
	if got := l.messages(); len(got) != 1 {
		t.Errorf("the app got %v", got)
	}
	if got := len(s.stored("uplinks")); got != 1 {
		t.Errorf("stored %d", got)
	}
}

// A device's will is delivered as an uplink if it is one, and only when the
// device went without a good-bye.
func TestWills(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve()
	l := s.subscribe(n, v5, s.app("dashboard", []string{"uplink.read"}), []string{"#"})
	for i, version := range []string{v311, v5} {
		d, victim, strict := s.device(10*i, nil), s.device(10*i+1, nil), s.device(10*i+2, map[string]any{"requireToken": true})
		name := func(what string) string { return what + version }
		for _, c := range []struct {
			d              fleet.Device
			topic, payload string
			taken          bool // the login, with this will
		}{
			{d, d.Topic(), pack(d, 0, name("good"), 1), true},
			{d, d.Topic(), "stolen", true}, // judged when it is due
			{d, d.Topic(), pack(victim, 0, name("stolen"), 1), true},
			{strict, strict.Topic(), pack(strict, 0, name("stolen"), 1), true},
			{d, victim.Topic(), pack(victim, 0, name("stolen"), 1), false},
			{d, "uplinks/IMEI/" + d.Value(), pack(d, 0, name("stolen"), 1), false},
			{d, "a", "stolen", false},
		} {
			rejected := len(s.stored("rejects"))
			w := s.listen(n, version, c.d.BaseName(), c.d.Secret, []string{"things/IMEI/" + c.d.Value() + "/downlink"},
				"--will-topic", c.topic, "--will-payload", c.payload, "--will-qos", "1", "--will-retain", "-i", "with-will")
			if took := w.granted != ""; took != c.taken {
				t.Errorf("%s: will on %s: login taken: %v\n%s", version, c.topic, took, w.out)
				continue
			}
			w.kill()
			if strings.Contains(c.payload, "good") {
				if m := l.await(name("good")); m.retain != "0" {
					t.Errorf("retained: %+v", m)
				}
				continue
			}
			eventually(t, 5*time.Second, "a reject of the will on "+c.topic, func() bool { return len(s.stored("rejects")) > rejected })
		}
		s.mustPublish(n, version, d, pack(d, 0, name("fence"), 1), "--will-topic", d.Topic(), "--will-payload", pack(d, 0, name("stolen"), 2))
		l.await(name("fence"))
	}
	if got := l.messages(); len(got) != 4 { // two good wills, two fences
		t.Errorf("the app got %v", got)
	}
}

// A device has one session: a new login, with any client id, ends the old one.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	for _, version := range []string{v311, v5} {
		old := s.connect(n, version, d, "first")
		fresh := s.connect(n, version, d, "second")
		said, took := old.end(time.Second)
		want := 0
		if version == v5 {
			want = 1
		}
		if len(said) != want || want == 1 && said[0] != (heard{"DISCONNECT", 0, 0x8e}) {
			t.Errorf("%s: the old session heard %v after %s", version, said, took)
		}
		fresh.publish(7, d.Topic(), pack(d, 0, "t", 1))
		if got := fresh.hear(2 * time.Second); got != (heard{"PUBACK", 7, 0}) {
			t.Errorf("%s: the new session heard %s", version, got)
		}
	}
}
