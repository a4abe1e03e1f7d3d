package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	packets311 "github.com/eclipse/paho.mqtt.golang/packets"

	"m2mbridge/bridge/fleet"
)

// queueOver creates a downlink for a channel.
func (s *site) queueOver(n *node, d fleet.Device, channel string, v int) (made downlink) {
	s.Helper()
	status, answer := s.ask(n, http.MethodPost, "/v1/downlinks", map[string]any{
		"device": d.ID, "channel": channel, "pack": []map[string]any{{"n": "n", "v": v}},
	})
	if status != http.StatusCreated || json.Unmarshal(answer, &made) != nil {
		s.Fatalf("create: %d %s", status, answer)
	}
	return made
}

// packOf is what the device gets of one.
func packOf(d fleet.Device, v int) string {
	return fmt.Sprintf(`[{"bn":"%s"},{"n":"n","v":%d}]`, d.BaseName(), v)
}

// TestDownlinksOverMQTT: what is queued for a device comes when it does, in
// order, on whichever node; it goes away in the middle and comes back.
func TestDownlinksOverMQTT(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_sub", "mosquitto_pub", "redis-cli")
	s := newSite(t)
	first, second := s.serve(), s.serve()
	d := s.imei()
	topic := "things/IMEI/" + d.Value() + "/downlink"
	events := s.subscribe(second, v5, s.app("watcher", []string{"downlink.read"}), []string{"events/+/+/downlink"})
	var ids []string
	for v := range 3 {
		ids = append(ids, s.queueOver([]*node{first, second}[v%2], d, []string{"mqtt", "any", "mqtt"}[v], v).ID)
	}
	if got := s.comesTo(first, ids[0], "EXECUTING", ""); !strings.Contains(got.Reason, "MQTT") {
		t.Errorf("reason %q", got.Reason)
	}
	one := s.listen(first, v311, d.BaseName(), d.Secret, []string{topic}, "-C", "1") // leaves after the first
	one.await(packOf(d, 0))
	<-one.exited
	s.comesTo(first, ids[0], "SUCCEEDED", "PUBACK")
	rest := s.listen(second, v5, d.BaseName(), d.Secret, []string{topic})
	for v := 1; v < 3; v++ {
		rest.await(packOf(d, v))
		s.comesTo(second, ids[v], "SUCCEEDED", "PUBACK")
	}
	// While it is connected: from an app's publish, from a stream in Redis, and from the other node.
	writer := s.app("writer", []string{"downlink.write"}, d.ID)
	if code, said := s.publishAs(first, v5, writer.name, writer.key, "downlinks/IMEI/"+d.Value(), `[{"n":"n","v":3}]`, "-q", "1"); code != 0 {
		t.Errorf("publish: %s", said)
	}
	rest.await(packOf(d, 3))
	runFor(t, 5*time.Second, environment(), "", "redis-cli", "-p", portOf(s.redis.Addr), "XADD", "m2m:{0}:commands", "*", "device", d.ID, "channel", "mqtt", "pack", `[{"n":"n","v":4}]`)
	rest.await(packOf(d, 4))
	s.queueOver(first, d, "mqtt", 5)
	rest.await(packOf(d, 5))
	var order []string
	for _, m := range rest.on(topic) {
		if m.qos != "1" || m.retain != "0" {
			t.Errorf("%+v", m)
		}
		order = append(order, m.payload)
	}
	want := []string{packOf(d, 1), packOf(d, 2), packOf(d, 3), packOf(d, 4), packOf(d, 5)}
	if got := slices.Compact(order); !slices.Equal(got, want) { // one may have come twice, its PUBACK being lost
		t.Errorf("the device got %v", order)
	}
	var told []string
	for _, m := range events.messages() {
		var e struct{ Subject, State string }
		if err := json.Unmarshal([]byte(m.payload), &e); err != nil {
			t.Fatal(err)
		}
		if e.Subject == ids[0] {
			told = append(told, e.State)
		}
	}
	if got := strings.Join(slices.Compact(told), " "); got != "QUEUED EXECUTING SUCCEEDED" {
		t.Errorf("events of the first: %s", got)
	}
	// Rights: no other device, no scope, no pack.
	other := s.device(50, nil)
	for name, try := range map[string][3]string{
		"a foreign device": {writer.name, "downlinks/" + other.Type() + "/" + other.Value(), `[{"n":"n","v":9}]`},
		"no pack":          {writer.name, "downlinks/IMEI/" + d.Value(), `[{"n":"n","v":`},
	} {
		_, said := s.publishAs(second, v5, try[0], writer.key, try[1], try[2], "-q", "1")
		if !strings.Contains(said, "Not authorized") && !strings.Contains(said, "Payload format invalid") && !strings.Contains(said, "RC:153") && !strings.Contains(said, "RC:135") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// TestDownlinkOfNodeThatDiedOverMQTT: the node dies after the device got the
// message, before it acknowledged. Nobody knows, so that it comes again.
func TestDownlinkOfNodeThatDiedOverMQTT(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := s.serve("--downlink-lease", "2s"), s.serve("--downlink-lease", "2s")
	d := s.imei()
	w := s.connect(first, v311, d, "x")
	w.subscribeDownlinks(d)
	id := s.queueOver(second, d, "mqtt", 1).ID
	if got := w.hear(5 * time.Second); !strings.Contains(got.packet, "Publish") {
		t.Fatalf("heard %s", got)
	}
	status, answer := s.ask(second, http.MethodDelete, "/v1/downlinks/"+id, nil)
	if status != http.StatusConflict || !strings.Contains(string(answer), "EXECUTING") {
		t.Errorf("cancel what is on its way: %d %s", status, answer)
	}
	first.kill()
	if got := s.downlink(second, id); got.State != "EXECUTING" || got.Attempts != 1 {
		t.Errorf("after the death: %+v", got)
	}
	s.comesTo(second, id, "EXECUTING", "nobody knows")
	again := s.connect(second, v311, d, "x")
	again.subscribeDownlinks(d)
	if got := again.hear(5 * time.Second); !strings.Contains(got.packet, "Publish") {
		t.Fatalf("heard %s", got)
	}
	ack := packets311.NewControlPacket(packets311.Puback).(*packets311.PubackPacket)
	ack.MessageID = again.last
	again.sent(0, ack.Write(again.conn))
	if got := s.comesTo(second, id, "SUCCEEDED", "PUBACK"); got.Attempts != 2 {
		t.Errorf("in the end: %+v", got)
	}
}

// subscribeDownlinks subscribes a 3.1.1 device to its downlinks.
func (w *wire) subscribeDownlinks(d fleet.Device) {
	w.t.Helper()
	p := packets311.NewControlPacket(packets311.Subscribe).(*packets311.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{"things/IMEI/" + d.Value() + "/downlink"}, []byte{1}
	w.sent(0, p.Write(w.conn))
	if got := w.hear(5 * time.Second); !strings.Contains(got.packet, "Suback") {
		w.t.Fatalf("subscribe: %s", got)
	}
}
