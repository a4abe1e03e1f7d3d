package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// flaky is a listener that has no file descriptors for its first accepts.
type flaky struct {
	net.Listener
	fails atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsPass(t *testing.T) {
	e := newEdge(t)
	for _, kind := range []Kind{KindTCP, KindWS} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := &flaky{Listener: ln}
		f.fails.Store(4)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- e.Serve(ctx, f, kind) }()
		e.addr = ln.Addr().String()
		p := e.dial(version5)
		if kind == KindWS {
			p = newPeer(t, dialWebSocket(t, "ws://"+e.addr+"/mqtt", nil), version5)
		}
		p.send(connect(version5))
		p.next(packets.Connack)
		cancel() // a cancelled context ends this listener and its connections
		p.closed(0x8b)
		if err := receive(t, ended); err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := net.Dial("tcp", e.addr); err == nil {
			t.Error("the listener is open")
		}
	}
}

func TestListenerThatBreaks(t *testing.T) {
	e := newEdge(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(context.Background(), ln, KindTCP) }()
	e.addr = ln.Addr().String()
	p := e.device(version5)
	_ = ln.Close()
	nothing(t, ended) // its connections go on
	p.alive()
	_ = p.conn.Close()
	if err := receive(t, ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v", err)
	}
}

func TestServeAfterShutdown(t *testing.T) {
	e := newEdge(t)
	if err := e.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(context.Background(), ln, KindTCP); err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

func TestConnectionLimits(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.MaxConnections = 2 })
		p := e.device(version5)
		q := e.device(version5, login(imei2.BaseName(), secret))
		e.dial(version5).closed(0)
		p.alive()
		_ = q.conn.Close()
		await(t, "there is room", func() bool { return e.Stats().Connections == 1 })
		e.device(version5, login(imei2.BaseName(), secret)).alive()
		if s := e.Stats(); s.Turned != 1 || s.Accepted != 4 {
			t.Errorf("stats %+v", s)
		}
	})
	t.Run("one address", func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.MaxPerAddress = 1 })
		p := e.device(version5)
		e.dial(version5).closed(0)
		other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		q := newPeer(t, other, version5)
		q.send(connect(version5, login(imei2.BaseName(), secret)))
		q.next(packets.Connack)
		p.alive()
		_ = p.conn.Close()
		await(t, "there is room", func() bool { return e.Stats().Connections == 1 })
		e.device(version5).alive()
	})
	t.Run("before login", func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.MaxUnauthorised = 2 })
		logged := e.device(version5)
		first, second := e.dial(version5), e.dial(version5)
		await(t, "both wait", func() bool { return e.Stats().Unauthorised == 2 })
		q := e.device(version5, login(imei2.BaseName(), secret)) // whoever waits longest makes room
		first.closed(0)
		q.alive()
		logged.alive()
		second.send(connect(version5))
		second.next(packets.Connack)
	})
}

func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

func dialWebSocket(t *testing.T, url string, config *tls.Config) net.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: config, HandshakeTimeout: patience}
	ws, resp, err := d.Dial(url, http.Header{"Origin": {"https://elsewhere.example"}})
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	_ = resp.Body.Close()
	return &webSocket{Conn: ws.NetConn(), ws: ws}
}

func TestEveryKindOfListener(t *testing.T) {
	server, client := certificate(t)
	for _, kind := range []Kind{KindTCP, KindTLS, KindWS, KindWSS} {
		t.Run(string(kind), func(t *testing.T) {
			e := newEdge(t, func(c *Config) { c.TLS = server })
			addr := e.serve(kind)
			dial := func() net.Conn {
				switch kind {
				case KindTLS:
					nc, err := tls.Dial("tcp", addr, client)
					if err != nil {
						t.Fatal(err)
					}
					return nc
				case KindWS:
					return dialWebSocket(t, "ws://"+addr+"/mqtt", nil)
				case KindWSS:
					return dialWebSocket(t, "wss://"+addr+"/mqtt", client)
				}
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				return nc
			}
			p := newPeer(t, dial(), version5)
			p.send(connect(version5))
			p.next(packets.Connack)
			p.send(publish(uplinks, pack, 2, 1))
			p.completed(2, 1, 0)
			u := receive(t, e.uplinks)
			equal(t, "remote", u.Remote, p.conn.LocalAddr().String())

			app := newPeer(t, dial(), version5)
			app.send(connect(version5, login("admin", "the admin's own key")))
			app.next(packets.Connack)
			app.subOK(1, "uplinks/#")
			for i := 0; i < 3000; i += 100 {
				e.Deliver(numbered(i, i+100))
			}
			inOrder(t, app.collect(3000, 64))
			q := newPeer(t, dial(), version5)
			q.send(connect(version5))
			q.next(packets.Connack)
			p.closed(0x8e)
			app.hex("c00100")
			app.closed(0x82)
			await(t, "one is left", func() bool { return e.Stats().Connections == 1 })
		})
	}
}

func TestSlowSubscriberOverTLSAndWebSocket(t *testing.T) {
	server, client := certificate(t)
	e := newEdge(t, func(c *Config) { c.TLS, c.WriteTimeout = server, 2*time.Second })
	for i, kind := range []Kind{KindTLS, KindWS} {
		addr := e.serve(kind)
		var nc net.Conn
		if kind == KindTLS {
			var err error
			if nc, err = tls.Dial("tcp", addr, client); err != nil {
				t.Fatal(err)
			}
		} else {
			nc = dialWebSocket(t, "ws://"+addr+"/mqtt", nil)
		}
		p := newPeer(t, nc, version5)
		p.send(connect(version5, login("admin", "the admin's own key")))
		p.next(packets.Connack)
		p.subOK(0, "uplinks/#")
		e.fill(e.sessions.of("admin")[0], uplinksOf(imei))
		e.device(version5).alive()
		e.cut(int64(i + 1))
		await(t, "all is closed", func() bool { return e.Stats().Apps == 0 })
	}
}

func TestWebSocketHandshake(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
	addr := e.serve(KindWS)
	for path, want := range map[string]int{"/": http.StatusNotFound, "/mqtt": http.StatusBadRequest} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		equal(t, path, resp.StatusCode, want)
	}
	http.DefaultClient.CloseIdleConnections()
	_, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/mqtt", nil) // without the subprotocol
	if err == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("upgraded: %v", err)
	}
	ws := dialWebSocket(t, "ws://"+addr+"/mqtt", nil).(*webSocket)
	if err := ws.ws.WriteMessage(websocket.TextMessage, []byte{packets.Pingreq << 4, 0}); err != nil { // [MQTT-6.0.0-1]
		t.Fatal(err)
	}
	newPeer(t, ws, version5).closed(0)
	silent := newPeer(t, dialWebSocket(t, "ws://"+addr+"/mqtt", nil), version5)
	silent.closed(0)
	nc, err := net.Dial("tcp", addr) // never speaks HTTP
	if err != nil {
		t.Fatal(err)
	}
	newPeer(t, nc, version5).closed(0)
	await(t, "all are closed", func() bool { s := e.Stats(); return s.Connections == 0 && s.Unauthorised == 0 })
}

func TestSilenceInsteadOfTLS(t *testing.T) {
	server, _ := certificate(t)
	e := newEdge(t, func(c *Config) { c.TLS, c.ConnectTimeout = server, 200*time.Millisecond })
	e.addr = e.serve(KindTLS)
	e.dial(version5).closed(0)
	p := e.dial(version5)
	p.send(connect(version5)) // MQTT where TLS is due
	if _, err := p.r.ReadByte(); err == nil {
		_, _ = p.r.Discard(1 << 10) // TLS's alert
	}
	await(t, "all are closed", func() bool { return e.Stats().Connections == 0 })
}

func TestTLSNeedsItsConfiguration(t *testing.T) {
	e := newEdge(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := e.Serve(context.Background(), ln, KindTLS); err == nil {
		t.Error("TLS is served without a certificate")
	}
}
