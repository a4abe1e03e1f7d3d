package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Protocol is what a listener speaks.
type Protocol string

// The protocols of listeners.
const (
	DeviceHTTP Protocol = "http"
	API        Protocol = "api"
	MQTT       Protocol = "mqtt"
	MQTTTLS    Protocol = "mqtt-tls"
	MQTTWS     Protocol = "mqtt-ws"
)

// Listener is one of a running bridge's.
type Listener struct {
	Protocol Protocol // the name of its flag
	Addr     string   // host:port
}

// listener asks one whether it is there. Nothing that is asked leaves a trace in
// the streams.
func (d *doctor) listener(ctx context.Context, l Listener) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ask := map[Protocol]func(context.Context, string) (string, error){
		DeviceHTTP: askHTTP, API: askAPI, MQTT: askMQTT, MQTTTLS: d.askTLS, MQTTWS: askWebSocket,
	}[l.Protocol]
	said, err := ask(ctx, l.Addr)
	var risk *riskError
	switch {
	case errors.As(err, &risk):
		d.must(Warn, string(l.Protocol), risk.must, "%s: %s", l.Addr, risk.text)
	case err != nil:
		d.must(Fault, string(l.Protocol), fmt.Sprintf("see that m2mbridge serve runs, and that --%s is its address (off: it has none)", l.Protocol), "%s: %v", l.Addr, err)
	default:
		d.tell(OK, string(l.Protocol), "%s %s", l.Addr, said)
	}
}

// riskError is something that works, for now.
type riskError struct{ text, must string }

func (e *riskError) Error() string { return e.text }

const answerLimit = 4 << 10 // bytes of an answer that are read

// get asks over HTTP, following nothing.
func get(ctx context.Context, addr, path string) (status int, body []byte, err error) {
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	return resp.StatusCode, body, err
}

// askHTTP asks for what a device only sends to: only its method is refused.
func askHTTP(ctx context.Context, addr string) (string, error) {
	status, _, err := get(ctx, addr, "/ingestion/m2m/senml/v1")
	if err == nil && status != http.StatusMethodNotAllowed {
		err = fmt.Errorf("something else is there: it answers %d", status)
	}
	return "takes uplinks", err
}

func askAPI(ctx context.Context, addr string) (string, error) {
	status, _, err := get(ctx, addr, "/livez")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("something else is there: /livez is %d", status)
	}
	if err != nil {
		return "", err
	}
	status, body, err := get(ctx, addr, "/readyz")
	if err == nil && status != http.StatusOK {
		var health struct{ Reason string }
		_ = json.Unmarshal(body, &health) // else there is no reason to tell
		err = fmt.Errorf("it is not ready (%d): %.200s", status, health.Reason)
	}
	return "lives and is ready", err
}

// connectRefused is a CONNECT that no server may take: a session to keep, and no
// client identifier [MQTT-3.1.3-8]. It names nobody, so that no reject is written.
const connectRefused = "\x10\x0c\x00\x04MQTT\x04\x00\x00\x0a\x00\x00"

func askMQTT(ctx context.Context, addr string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	return connectTo(ctx, conn)
}

// connectTo wants the CONNECT to be refused in MQTT's own words.
func connectTo(ctx context.Context, conn net.Conn) (string, error) {
	defer func() { _ = conn.Close() }()
	limit, _ := ctx.Deadline()
	_ = conn.SetDeadline(limit)
	if _, err := io.WriteString(conn, connectRefused); err != nil {
		return "", err
	}
	var answer [4]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return "", fmt.Errorf("it accepts, but does not answer: %w", err)
	}
	if answer[0] != 0x20 || answer[3] == 0 { // a CONNACK that refuses
		return "", errors.New("something else is there: it does not speak MQTT")
	}
	return "speaks MQTT", nil
}

const certificateSoon = 14 * 24 * time.Hour

// askTLS also looks at the certificate. Whom it is of is for those to judge who
// connect by a name.
func (d *doctor) askTLS(ctx context.Context, addr string) (string, error) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	until := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
	said, err := connectTo(ctx, conn)
	if err != nil {
		return "", err
	}
	switch left := until.Sub(d.now()); {
	case left <= 0:
		return "", fmt.Errorf("its certificate ended %s", until.UTC().Format(time.DateTime))
	case left < certificateSoon:
		return "", &riskError{"its certificate ends " + until.UTC().Format(time.DateTime), "renew it, and start serve again"}
	}
	return said + ", its certificate ends " + until.UTC().Format(time.DateOnly), nil
}

// askWebSocket asks for the path without the upgrade, which is refused.
func askWebSocket(ctx context.Context, addr string) (string, error) {
	status, _, err := get(ctx, addr, "/mqtt")
	if err == nil && (status < 400 || status == http.StatusNotFound || status >= 500) {
		err = fmt.Errorf("something else is there: /mqtt is %d", status)
	}
	return "takes WebSockets", err
}
