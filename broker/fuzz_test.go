package broker

import (
	"encoding/hex"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// FuzzGuard writes arbitrary bytes to connections before a login, behind a
// device's and behind an app's. Whatever they are, the process goes on, others
// are served, and nothing is submitted but for the device that logged in.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"8206000100000161", "c000", "e000", "30040001617f", "3202" + "0000", "100d00044d5154540502003c00000000",
		"820e" + "0001" + "00" + "0008" + "75706c696e6b732f23"[:16] + "01", "a206000100000161", "40020001", "5002000a", "62020001", "f000",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, version := range []byte{version311, version5} {
		for qos := range byte(3) {
			f.Add(encode(f, version, publish(uplinks, pack, qos, 1, tokenProp("a"))))
			f.Add(encode(f, version, publish("things/IMEI/356726104408423/uplink", pack, qos, 1)))
		}
		f.Add(encode(f, version, subscribe(1, packets.Subscription{Filter: "$share/g/uplinks/#", Qos: 1}, packets.Subscription{Filter: downlinks})))
		f.Add(encode(f, version, connect(version)))
	}
	foreign := make(chan auth.DeviceID, 1)
	e := newEdge(f, func(c *Config) {
		c.WriteTimeout = time.Second
		c.Reject, c.OnGap = nil, nil
		c.Submit = func(u Uplink, done func(Outcome)) {
			if u.Device != imei {
				select {
				case foreign <- u.Device:
				default:
				}
			}
			done(Outcome{})
		}
	})
	socket := e.serveOn("unix", filepath.Join(f.TempDir(), "mqtt"), KindTCP) // no ports to run out of
	watcher := e.device(version5, login(imei2.BaseName(), secret))
	f.Fuzz(func(t *testing.T, b []byte) {
		if looksLikeLogin(b) {
			t.Skip() // imei2 may log in
		}
		for _, version := range []byte{version311, version5} {
			e.offer(t, socket, nil, b)
			e.offer(t, socket, encode(t, version, connect(version)), b)
			e.offer(t, socket, encode(t, version, connect(version, login("admin", "the admin's own key"))), b)
		}
		watcher.t = t
		watcher.alive()
		select {
		case id := <-foreign:
			t.Fatalf("an uplink of %s was submitted", id)
		default:
		}
	})
}

func looksLikeLogin(b []byte) bool { return len(b) > 0 && b[0]>>4 == packets.Connect && len(b) > 100 }

// offer writes a login and the bytes, delivers something, and reads until the broker has nothing more to say.
func (e *edge) offer(t *testing.T, socket string, login, b []byte) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if len(login) > 0 {
		_, _ = nc.Write(login)
		head := make([]byte, 4)
		if _, err := nc.Read(head); err != nil || head[0]>>4 != packets.Connack {
			t.Fatalf("no CONNACK: %x %v", head, err)
		}
	}
	_, _ = nc.Write(b)
	e.Deliver(numbered(0, 3))
	_ = nc.(*net.UnixConn).CloseWrite()
	buf := make([]byte, 4096)
	for {
		if _, err := nc.Read(buf); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("the connection stays open after the end of its input")
			}
			return
		}
	}
}
