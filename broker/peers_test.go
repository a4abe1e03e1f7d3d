package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho311 "github.com/eclipse/paho.mqtt.golang"

	"m2mbridge/auth"
)

// The tests of this file use clients that others wrote.

func pahoClient(t *testing.T, addr, name, password, id string, got chan *paho.Publish) *paho.Client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
	}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	max := uint16(20)
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: id, KeepAlive: 30, CleanStart: true, Username: name, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &max, RequestProblemInfo: true},
	})
	if err != nil || ack.ReasonCode != 0 {
		t.Fatalf("connect: %v %+v", err, ack)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

func TestPaho5(t *testing.T) {
	refused := "record 1: field \"v\" is no number"
	e := newEdge(t, func(c *Config) {
		submit := c.Submit
		c.Submit = func(u Uplink, done func(Outcome)) {
			if string(u.Payload) == "bad" {
				done(Outcome{Code: 0x99, Reason: refused})
				return
			}
			submit(u, done)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := make(chan *paho.Publish, 2000)
	app := pahoClient(t, e.addr, "admin", "the admin's own key", "app", got)
	ack, err := app.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "uplinks/#", QoS: 2}, {Topic: "$share/g/uplinks/#", QoS: 1}}})
	if err != nil || ack.Reasons[0] != 1 || ack.Reasons[1] != 1 {
		t.Fatalf("subscribe: %v %+v", err, ack)
	}
	dev := pahoClient(t, e.addr, imei.BaseName(), secret, "", nil)
	for qos := range byte(3) {
		resp, err := dev.Publish(ctx, &paho.Publish{Topic: uplinks, QoS: qos, Payload: []byte(pack),
			Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "Things-Message-Token", Value: auth.Token([]byte(pack), secret)}}}})
		if err != nil || qos > 0 && resp.ReasonCode != 0 {
			t.Fatalf("publish: %v %+v", err, resp)
		}
		if u := receive(t, e.uplinks); !u.HasToken || u.Device != imei {
			t.Errorf("uplink %+v", u)
		}
	}
	for qos := byte(1); qos < 3; qos++ {
		resp, _ := dev.Publish(ctx, &paho.Publish{Topic: uplinks, QoS: qos, Payload: []byte("bad")})
		if resp == nil || resp.ReasonCode != 0x99 || resp.Properties.ReasonString != refused {
			t.Errorf("publish: %+v %+v", resp, resp.Properties)
		}
	}
	e.Deliver(numbered(0, 500))
	for range 1000 {
		receive(t, got)
	}
}

func TestPaho311(t *testing.T) {
	e := newEdge(t)
	got := make(chan paho311.Message, 100)
	o := paho311.NewClientOptions().AddBroker("tcp://" + e.addr).SetClientID("x").SetProtocolVersion(4).SetAutoReconnect(false).
		SetUsername(imei.BaseName()).SetPassword(secret).SetOrderMatters(true)
	c := paho311.NewClient(o)
	done := func(what string, token paho311.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%s: %v", what, token.Error())
		}
	}
	done("connect", c.Connect())
	defer c.Disconnect(100)
	done("subscribe", c.Subscribe(downlinks, 1, func(_ paho311.Client, m paho311.Message) { got <- m }))
	for qos := range byte(3) {
		for range 30 {
			done("publish", c.Publish(uplinks, qos, true, pack))
			receive(t, e.uplinks)
		}
	}
	for i := range 50 { // each when the device has acknowledged the one before
		outcome := e.takes(fmt.Sprint(i))
		if m := receive(t, got); string(m.Payload()) != fmt.Sprint(i) || m.Qos() != 1 {
			t.Fatalf("message %d is %s", i, m.Payload())
		}
		e.becomes(outcome, true, "PUBACK")
	}
}

// tool finds a program of Debian's mosquitto-clients.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s, which CI must have", name)
		}
		t.Skipf("no %s: %v", name, err)
	}
	return path
}

// Stock mosquitto_sub announces a Receive Maximum of 20; with Mochi's delivery it got 115 of 3000.
func TestMosquittoSubGetsAll(t *testing.T) {
	const n = 3000
	path := tool(t, "mosquitto_sub")
	for _, version := range []string{"5", "mqttv311"} {
		for _, filter := range []string{"uplinks/#", "$share/g/uplinks/#"} {
			e := newEdge(t)
			host, port, _ := strings.Cut(e.addr, ":")
			ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, "-h", host, "-p", port, "-V", version, "-q", "1", "-u", "admin", "-P", "the admin's own key",
				"-t", filter, "-C", fmt.Sprint(n), "-F", "%p")
			ended := make(chan struct{})
			var out []byte
			var err error
			go func() { defer close(ended); out, err = cmd.Output() }()
			await(t, "it is subscribed", func() bool { return e.Stats().Subscriptions == 1 })
			for i := range n {
				e.Deliver(numbered(i, i+1))
			}
			<-ended
			if err != nil {
				t.Fatalf("mosquitto_sub -V %s: %v", version, err)
			}
			inOrder(t, strings.Fields(string(out)))
		}
	}
}

func TestMosquittoPub(t *testing.T) {
	path := tool(t, "mosquitto_pub")
	e := newEdge(t)
	host, port, _ := strings.Cut(e.addr, ":")
	for _, version := range []string{"5", "mqttv311"} {
		for _, qos := range []string{"0", "1", "2"} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			args := []string{"-h", host, "-p", port, "-V", version, "-q", qos, "-r", "-u", imei.BaseName(), "-P", secret, "-t", uplinks, "-m", pack}
			if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_pub: %v %s", err, out)
			}
			equal(t, "payload", string(receive(t, e.uplinks).Payload), pack)
			args[len(args)-3] = "things/IMEI/356726104408423/uplink"
			out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
			if version == "5" && qos != "0" && !strings.Contains(string(out), "Not authorized") {
				t.Errorf("mosquitto_pub to a foreign topic: %v %s", err, out)
			}
			receive(t, e.rejects)
			args[len(args)-5] = "wrong"
			if _, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err == nil {
				t.Error("mosquitto_pub got in with a wrong secret")
			}
			receive(t, e.rejects)
		}
	}
	nothing(t, e.uplinks)
}
