package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"m2mbridge/broker"
)

// Names of the listeners, as addresses are told by.
const (
	nameHTTP  = "http"
	nameAPI   = "api"
	nameMQTT  = "mqtt"
	nameTLS   = "mqtt-tls"
	nameWS    = "mqtt-ws"
	namePprof = "pprof"
)

type listener struct {
	net.Listener
	name   string
	scheme string
	kind   broker.Kind
}

// listen opens every listener that the configuration wants.
func listen(c Config) ([]listener, error) {
	var all []listener
	for _, want := range []struct {
		listener
		address string
	}{
		{listener{name: nameHTTP, scheme: "http"}, c.HTTP},
		{listener{name: nameAPI, scheme: "http"}, c.API},
		{listener{name: nameMQTT, scheme: "mqtt", kind: broker.KindTCP}, c.MQTT},
		{listener{name: nameTLS, scheme: "mqtts", kind: broker.KindTLS}, c.MQTTTLS},
		{listener{name: nameWS, scheme: "ws", kind: broker.KindWS}, c.MQTTWS},
		{listener{name: namePprof, scheme: "http"}, c.Pprof},
	} {
		if Off(want.address) {
			continue
		}
		ln, err := net.Listen("tcp", want.address)
		if err != nil {
			for _, l := range all {
				_ = l.Close()
			}
			return nil, fmt.Errorf("listen for --%s: %w", want.name, err)
		}
		l := want.listener
		l.Listener = ln
		all = append(all, l)
	}
	return all, nil
}

// Address is where a listener can be reached.
type Address struct{ Name, URL string }

// Addresses lists the listeners, with the ports that were really taken.
func (b *Bridge) Addresses() []Address {
	var all []Address
	for _, l := range b.listeners {
		url := l.scheme + "://" + l.Addr().String()
		if l.kind == broker.KindWS {
			url += "/mqtt"
		}
		all = append(all, Address{Name: l.name, URL: url})
	}
	return all
}

// Addr is host:port of the listener of that name (a flag's name, such as
// "http"), or "" if there is none.
func (b *Bridge) Addr(name string) string {
	for _, l := range b.listeners {
		if l.name == name {
			return l.Addr().String()
		}
	}
	return ""
}

type tlsConfig = tls.Config

// loadTLS is the TLS configuration for devices and apps, nil without a certificate.
func loadTLS(c Config) (*tlsConfig, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load --tls-cert and --tls-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

// servePprof serves Go's profiler until ctx ends.
func servePprof(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
