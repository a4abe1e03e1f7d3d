package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt311 "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	cert, key := certificate(t)
	stranger, _ := certificate(t)
	n := s.serve("--mqtt-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	d := s.device(0, nil)
	l := s.subscribe(n, v5, s.app("dashboard", []string{"uplink.read"}), []string{"uplinks/#"})
	for _, version := range []string{v311, v5} {
		s.mustPublish(n, version, d, pack(d, 0, "sealed"+version, 1), "-p", n.port("mqtt-tls"), "--cafile", cert)
		l.await("sealed" + version)
		if code, said := s.publish(n, version, d, d.Topic(), pack(d, 0, "t", 1), "-p", n.port("mqtt-tls"), "--cafile", stranger); code == 0 {
			t.Errorf("%s took a stranger's certificate: %s", version, said)
		}
		if code, _ := s.publish(n, version, d, d.Topic(), pack(d, 0, "plain", 1), "-p", n.port("mqtt-tls"), "-q", "1"); code == 0 {
			t.Errorf("%s spoke in the clear on the TLS port", version)
		}
	}
	if conn, err := tls.Dial("tcp", n.addr("mqtt-tls"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("it speaks TLS 1.1")
		_ = conn.Close()
	}
	secure := s.subscribe(n, v5, s.app("tlsapp", []string{"uplink.read"}), []string{"uplinks/#"}, "-p", n.port("mqtt-tls"), "--cafile", cert)
	s.mustPublish(n, v311, d, pack(d, 0, "back", 1))
	secure.await("back")
	if got := len(s.stored("uplinks")); got != 3 {
		t.Errorf("stored %d uplinks, want 3", got)
	}
}

// certificate makes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// Mosquitto's clients speak no WebSocket: the app is Paho's 3.1.1 client.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := s.serve("--mqtt-ws", "127.0.0.1:0")
	d := s.device(0, nil)
	a := s.app("dashboard", []string{"uplink.read"})
	url := n.urls["mqtt-ws"].String()
	if !strings.HasPrefix(url, "ws://") || !strings.HasSuffix(url, "/mqtt") {
		t.Fatalf("the banner says %s", url)
	}
	reader := overWebSocket(t, url, "reader", a.name, a.key)
	got := make(chan mqtt311.Message, 10)
	if token := reader.Subscribe("uplinks/#", 1, func(_ mqtt311.Client, m mqtt311.Message) { got <- m }); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	device := overWebSocket(t, url, "device", d.BaseName(), d.Secret)
	body := pack(d, 1700000000, "t", 1)
	if token := device.Publish(d.Topic(), 1, false, body); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("publish: %v", token.Error())
	}
	select {
	case m := <-got:
		if m.Topic() != "uplinks/IMEI/"+d.Value() || string(m.Payload()) != s.packs(d)[0] {
			t.Errorf("the app got %s on %s", m.Payload(), m.Topic())
		}
	case <-time.After(10 * time.Second):
		t.Error("the app got nothing")
	}
	// Without the subprotocol there is no MQTT [MQTT-6.0.0-3].
	if conn, resp, err := websocket.DefaultDialer.Dial(url, nil); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, _, err := conn.ReadMessage(); err == nil {
			t.Errorf("served without the subprotocol: %s", resp.Status)
		}
		_ = conn.Close()
	}
}

func overWebSocket(t *testing.T, url, id, user, password string) mqtt311.Client {
	t.Helper()
	c := mqtt311.NewClient(mqtt311.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername(user).SetPassword(password).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second))
	if token := c.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}
