package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

func TestNothingPublishedIsRouted(t *testing.T) {
	e := newEdge(t)
	filters := []string{"#", "+/+/+", "$share/g/#", "uplinks/#", "uplinks/IMEI/356726104408422", "rejects/#", "events/#", "presence/#"}
	var apps []*peer
	for _, version := range []byte{version311, version5} {
		app := e.device(version, login("admin", "the admin's own key"), clientID(string('0'+version)))
		app.subOK(1, filters...)
		apps = append(apps, app)
	}
	other := e.device(version5, login(imei2.BaseName(), secret))
	other.subOK(1, "things/IMEI/356726104408423/downlink")
	retained := func(pk *packets.Packet) { pk.FixedHeader.Retain = true }
	for _, version := range []byte{version311, version5} {
		p := e.device(version)
		for _, topic := range []string{uplinks, "uplinks/IMEI/356726104408422", "things/IMEI/356726104408423/downlink", "rejects/IMEI/356726104408422", "#/"[1:]} {
			for qos := range byte(3) {
				p.send(publish(topic, pack, qos, uint16(qos)+1, retained))
				p.send(publish(topic, pack, qos, uint16(qos)+4))
			}
		}
		await(t, "all are answered", func() bool { s := e.Stats(); return s.Published == int64(version-3)*30 && s.InFlight == 0 })
	}
	for _, p := range append(apps, other) {
		p.alive()
	}
	late := e.device(version5, login("admin", "the admin's own key"), clientID("late"))
	late.subOK(1, filters...)
	late.silent()
}

func TestForeignTopics(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "all", Scopes: []auth.Scope{auth.ScopeAdmin}})
	all := e.device(version5, login("all", key))
	all.subOK(1, "#")
	foreign := []string{
		"things/IMEI/356726104408423/uplink", downlinks, "uplinks/IMEI/356726104408422", "events/IMEI/356726104408422/sms",
		"presence/IMEI/356726104408422", "rejects/IMEI/356726104408422", "downlinks/IMEI/356726104408422", "$SYS/broker/version",
		"things/IMEI/356726104408422", "things/IMEI/356726104408422/uplink/a/b", "Things/IMEI/356726104408422/uplink",
		"things/IMEI/356726104408422/Uplink", "/things/IMEI/356726104408422/uplink", "things//356726104408422/uplink",
		"$share/g/" + uplinks, "a", "/", " ", "things/DVNUUID/356726104408422/uplink", "things/IMEI/356726104408422/uplink\u00a0",
	}
	for _, version := range []byte{version311, version5} {
		p := e.device(version)
		for _, topic := range foreign {
			for qos := range byte(3) {
				p.send(publish(topic, pack, qos, uint16(qos), func(pk *packets.Packet) { pk.FixedHeader.Retain = true }))
				p.completed(qos, uint16(qos), 0x87)
				r := receive(t, e.rejects)
				if r.Device != imei || r.Reason != "topic" || string(r.Body) != pack || r.Remote == "" {
					t.Errorf("%s: reject %+v", topic, r)
				}
			}
		}
	}
	nothing(t, e.uplinks)
	all.alive()
	late := e.device(version5, login("all", key), clientID("late"))
	late.subOK(1, "#")
	late.silent()
}

func TestAppsPublishNothingYet(t *testing.T) {
	e := newEdge(t)
	key := e.app(auth.App{Name: "writer", Scopes: []auth.Scope{auth.ScopeDownlinkWrite}})
	for _, c := range []struct {
		topic string
		code  byte
	}{
		{"downlinks/IMEI/356726104408422", 0x83}, {"downlinks/IMEI/356726104408422/x", 0x87}, {"downlinks/IMEI/1", 0x87},
		{uplinks, 0x87}, {downlinks, 0x87}, {"uplinks/IMEI/356726104408422", 0x87}, {"x", 0x87},
	} {
		p := e.device(version5, login("writer", key))
		p.send(publish(c.topic, pack, 1, 1))
		p.completed(1, 1, c.code)
		p = e.device(version311, login("writer", key))
		p.send(publish(c.topic, pack, 1, 1))
		if c.code == 0x83 { // an acknowledgement would be a promise
			for {
				if _, err := p.read(); err != nil {
					break
				}
				t.Error("a downlink was acknowledged")
			}
			continue
		}
		p.completed(1, 1, c.code)
	}
	nothing(t, e.uplinks)
}

func TestDownlinksOfApps(t *testing.T) {
	got := make(chan Downlink, 10)
	e := newEdge(t, func(c *Config) {
		c.Downlink = func(d Downlink, done func(Outcome)) { got <- d; done(Outcome{Code: 0x99, Reason: "no pack"}) }
	})
	key := e.app(auth.App{Name: "writer", Scopes: []auth.Scope{auth.ScopeDownlinkWrite}, Devices: []string{string(imei)}})
	reader := e.reader(version5)
	reader.send(publish("downlinks/IMEI/356726104408422", pack, 1, 1))
	reader.completed(1, 1, 0x87)
	p := e.device(version5, login("writer", key))
	p.send(publish("downlinks/IMEI/356726104408423", pack, 1, 1))
	p.completed(1, 1, 0x87)
	p.send(publish("downlinks/imei/356726104408422", pack, 1, 1))
	p.completed(1, 1, 0x99)
	if d := receive(t, got); d.Device != imei || d.App.Name != "writer" || string(d.Payload) != pack {
		t.Errorf("downlink %+v", d)
	}
	nothing(t, got)
}
