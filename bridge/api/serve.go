package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the listener. A live stream lifts the two on whole requests for
// itself.
const (
	headerLimit = 5 * time.Second
	readLimit   = 30 * time.Second
	writeLimit  = 30 * time.Second
	idleLimit   = 2 * time.Minute
	maxHeader   = 256 << 10       // a cursor for 4096 partitions must fit
	stopLimit   = 5 * time.Second // for requests in flight, at the stop

	maxConnections = 1024 // open at once: nobody needs a key to connect, and devices need descriptors too
)

type stoppingKey struct{}

// stopping ends when the server is to stop: live streams then end at once,
// which no request in flight does.
func stopping(ctx context.Context) <-chan struct{} {
	stop, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return stop
}

// Serve answers requests on ln until ctx ends, and returns when those in
// flight are answered, or after five seconds cut off.
func (a *API) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: headerLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done())
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(&bounded{Listener: ln, places: make(chan struct{}, maxConnections)}) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve api: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := server.Shutdown(late)
	if err != nil {
		err = server.Close()
	}
	if serr := <-failed; !errors.Is(serr, http.ErrServerClosed) {
		return fmt.Errorf("serve api: %w", serr)
	}
	if err != nil {
		return fmt.Errorf("stop api: %w", err)
	}
	return nil
}

// bounded closes the connections beyond its places as they come.
type bounded struct {
	net.Listener
	places chan struct{}
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
		default:
			_ = c.Close() // it was never ours
		}
	}
}

// placed is a connection with a place, which its end frees.
type placed struct {
	net.Conn
	leave func()
}

func (p *placed) Close() error {
	p.leave()
	return p.Conn.Close()
}
