package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

const demoAppName = "demo-app"

// demoApp is an app as anybody would write it: an MQTT 5 client that subscribes.
type demoApp struct {
	key      string
	client   *paho.Client
	received atomic.Uint64
}

// connect logs in with the app's name and key, and subscribes to all uplinks.
func (a *demoApp) connect(ctx context.Context, addr string, say *narrator) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect app: %w", err)
	}
	a.client = paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			a.received.Add(1)
			say.uplink(p.Packet.Topic, p.Packet.Payload)
			return true, nil
		}},
	})
	window := uint16(64) // without one paho takes half a megabyte
	_, err = a.client.Connect(ctx, &paho.Connect{
		ClientID: demoAppName, CleanStart: true, KeepAlive: 30,
		Username: demoAppName, UsernameFlag: true, Password: []byte(a.key), PasswordFlag: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &window},
	})
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("connect app: %w", err)
	}
	_, err = a.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "uplinks/#", QoS: 1}}})
	if err != nil {
		return fmt.Errorf("subscribe app: %w", err)
	}
	return nil
}

func (a *demoApp) leave() { _ = a.client.Disconnect(&paho.Disconnect{}) }

// packSummary is a pack in a few words: its first measurements, and when they were.
func packSummary(pack []byte) string {
	var records []struct {
		BaseTime json.Number `json:"bt"`
		Name     string      `json:"n"`
		Unit     string      `json:"u"`
		Value    json.Number `json:"v"`
		Sum      json.Number `json:"s"`
		Bool     *bool       `json:"vb"`
		Text     *string     `json:"vs"`
		Bytes    *string     `json:"vd"`
	}
	if json.Unmarshal(pack, &records) != nil || len(records) == 0 {
		return fmt.Sprintf("%d bytes", len(pack))
	}
	var words []string
	for _, r := range records {
		switch {
		case r.Bool != nil:
			words = append(words, fmt.Sprintf("%s %v", r.Name, *r.Bool))
		case r.Text != nil:
			words = append(words, fmt.Sprintf("%s %q", r.Name, *r.Text))
		case r.Bytes != nil:
			words = append(words, r.Name+" bytes "+*r.Bytes)
		case r.Sum != "" && r.Value == "":
			words = append(words, fmt.Sprintf("%s sum %s%s", r.Name, r.Sum, r.Unit))
		default:
			words = append(words, strings.TrimSpace(r.Name+" "+r.Value.String()+" "+strings.TrimPrefix(r.Unit, r.Name)))
		}
	}
	const most = 3
	text := strings.Join(words[:min(len(words), most)], ", ")
	if more := len(words) - most; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	if seconds, err := records[0].BaseTime.Float64(); err == nil {
		text += " at " + time.UnixMilli(int64(seconds*1000)).Format("15:04:05")
	}
	return text
}
