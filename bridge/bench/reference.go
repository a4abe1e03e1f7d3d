//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// reference is how this program is told, by its first argument, to be a reference server.
const reference = "reference-"

// gcPercent is what the bridge sets for itself; the references get the same.
const gcPercent = "300"

// startReference runs this program again as a bare server, and returns where it listens.
func startReference(ctx context.Context, name string) (c *child, addr string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find the own binary: %w", err)
	}
	if c, err = start("bare "+name, []string{"GOGC=" + gcPercent}, self, reference+name); err != nil {
		return nil, "", err
	}
	err = c.await(ctx, func() bool {
		line, _, whole := strings.Cut(c.out.String(), "\n")
		addr = line
		return whole
	})
	if err != nil {
		c.stop()
		return nil, "", err
	}
	return c, addr, nil
}

// serveReference is the child's side: it prints its address, and serves until it is told to end.
func serveReference(ctx context.Context, name string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Println(ln.Addr())
	switch name {
	case "http":
		return bareHTTP(ctx, ln)
	case "mqtt":
		return bareMQTT(ctx, ln)
	}
	return fmt.Errorf("there is no reference %q", name)
}

// bareHTTP reads the body and answers 200 with nothing: the least that a device's uplink costs with net/http.
func bareHTTP(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// allowHook lets everybody in, as Mochi's own AllowHook does, whose package needs a module more.
type allowHook struct{ mqtt.HookBase }

func (*allowHook) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (*allowHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

func (*allowHook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// bareMQTT is Mochi as it comes, open to all, with its own acknowledgements and its own delivery. Its queue for each client is
// shortened from 8192 to 128 places, without which a connection costs 68 KB more; no job lets a queue grow that long.
func bareMQTT(ctx context.Context, ln net.Listener) error {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumClientWritesPending = 128
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler), Capabilities: capabilities})
	if err := server.AddHook(new(allowHook), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewNet("reference", ln)); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return server.Close()
}
