package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"m2mbridge/auth"
)

// overMQTT logs in, publishes the uplink at QoS 1, and shows the packets.
func (x *exchange) overMQTT(ctx context.Context) error {
	conn, err := dialMQTT(ctx, x.to)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("no bridge answers at %s (--to says where to send): %w", x.to.Host, err)
	}
	defer func() { _ = conn.Close() }()
	gone := make(chan string, 1)
	downlinks := make(chan *paho.Publish, 16)
	client := paho.NewClient(paho.ClientConfig{
		Conn:          conn,
		PacketTimeout: time.Hour, // ctx bounds every step
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			downlinks <- p.Packet
			return true, nil
		}},
		OnClientError:      func(err error) { tell(gone, err.Error()) },
		OnServerDisconnect: func(d *paho.Disconnect) { tell(gone, disconnectText(d)) },
	})
	if err := x.login(ctx, client); err != nil {
		return err
	}
	if err := x.subscribe(ctx, client); err != nil {
		return err
	}
	if err := x.publish(ctx, client, gone); err != nil {
		return err
	}
	x.await(ctx, downlinks, gone)
	x.show('>', "DISCONNECT")
	// The uplink is acknowledged: how the connection ends does not matter.
	_ = client.Disconnect(&paho.Disconnect{})
	return nil
}

func tell(ch chan string, text string) {
	select {
	case ch <- text:
	default:
	}
}

func disconnectText(d *paho.Disconnect) string {
	text := fmt.Sprintf("DISCONNECT 0x%02x", d.ReasonCode)
	if d.Properties != nil && d.Properties.ReasonString != "" {
		text += " " + d.Properties.ReasonString
	}
	return text
}

func dialMQTT(ctx context.Context, to *url.URL) (net.Conn, error) {
	host := to.Host
	if to.Port() == "" {
		host = net.JoinHostPort(to.Hostname(), map[string]string{"mqtt": "1883", "mqtts": "8883"}[to.Scheme])
	}
	if to.Scheme == "mqtts" {
		d := tls.Dialer{Config: &tls.Config{ServerName: to.Hostname()}}
		return d.DialContext(ctx, "tcp", host)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", host)
}

// login gives the token of the user name as password, so that the secret does
// not cross the wire.
func (x *exchange) login(ctx context.Context, client *paho.Client) error {
	user := x.device.BaseName()
	password := auth.Token([]byte(user), x.secret)
	window := uint16(16)
	x.show('>', "CONNECT MQTT 5, user name "+user+", password "+short(password))
	ack, err := client.Connect(ctx, &paho.Connect{
		ClientID: "m2mbridge-send", CleanStart: true, KeepAlive: 30,
		Username: user, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
		Properties: &paho.ConnectProperties{ReceiveMaximum: &window, RequestProblemInfo: true},
	})
	if ack != nil {
		reason := ""
		if ack.Properties != nil {
			reason = ack.Properties.ReasonString
		}
		x.acked("CONNACK", ack.ReasonCode, reason)
		if ack.ReasonCode >= 0x80 {
			return fmt.Errorf("%w: CONNACK 0x%02x", errRefused, ack.ReasonCode)
		}
	}
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

func (x *exchange) acked(packet string, code byte, reason string) {
	x.result.Code, x.result.Reason = fmt.Sprintf("0x%02x", code), reason
	text := fmt.Sprintf("%s 0x%02x", packet, code)
	if reason != "" {
		text += " " + reason
	}
	x.show('<', text)
}

// topic is things/<TYPE>/<value>/<last>.
func (x *exchange) topic(last string) string {
	return "things/" + x.device.Type() + "/" + x.device.Value() + "/" + last
}

// subscribe asks for downlinks, if they are to be waited for.
func (x *exchange) subscribe(ctx context.Context, client *paho.Client) error {
	if x.wait <= 0 {
		return nil
	}
	x.show('>', "SUBSCRIBE "+x.topic("downlink")+" QoS 1")
	ack, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: x.topic("downlink"), QoS: 1}}})
	if ack != nil && len(ack.Reasons) > 0 {
		x.acked("SUBACK", ack.Reasons[0], "")
	}
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

func (x *exchange) publish(ctx context.Context, client *paho.Client, gone <-chan string) error {
	p := &paho.Publish{Topic: x.topic("uplink"), QoS: 1, Payload: x.body}
	x.show('>', fmt.Sprintf("PUBLISH %s QoS 1, %d bytes", p.Topic, len(x.body)))
	if x.hasToken {
		p.Properties = &paho.PublishProperties{User: paho.UserProperties{{Key: tokenHeader, Value: x.token}}}
		x.show('>', tokenHeader+": "+short(x.token))
	}
	x.show('>', string(x.body))
	type answer struct {
		ack *paho.PublishResponse
		err error
	}
	answered := make(chan answer, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ack, err := client.Publish(ctx, p)
		answered <- answer{ack, err}
	}()
	select {
	case a := <-answered:
		return x.published(a.ack, a.err)
	case why := <-gone:
		x.show('<', why)
		x.result.Reason = why
		return fmt.Errorf("%w: the connection was closed without an acknowledgement", errRefused)
	}
}

func (x *exchange) published(ack *paho.PublishResponse, err error) error {
	if ack != nil {
		reason := ""
		if ack.Properties != nil {
			reason = ack.Properties.ReasonString
		}
		x.acked("PUBACK", ack.ReasonCode, reason)
		if ack.ReasonCode >= 0x80 {
			return fmt.Errorf("%w: PUBACK 0x%02x %s", errRefused, ack.ReasonCode, reason)
		}
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// await shows downlinks for as long as was asked for.
func (x *exchange) await(ctx context.Context, downlinks <-chan *paho.Publish, gone <-chan string) {
	if x.wait <= 0 {
		return
	}
	over := time.After(x.wait)
	for {
		select {
		case p := <-downlinks:
			x.show('<', fmt.Sprintf("PUBLISH %s QoS %d, %d bytes", p.Topic, p.QoS, len(p.Payload)))
			x.show('<', string(p.Payload))
			x.result.Downlinks = append(x.result.Downlinks, string(p.Payload))
		case why := <-gone:
			x.show('<', why)
			return
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}
