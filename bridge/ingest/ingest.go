// Package ingest is the device-facing HTTP listener: it reads one uplink from a
// request, hands it to bridge/uplink, and spells the verdict as a status. Which
// quirks of devices it takes is listed in the project's notes on the wire.
//
// It knows nothing of packs, tokens or Redis.
package ingest

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/bridge/uplink"
)

// The paths devices post to, as KPN Things has them.
const (
	PathM2M = "/ingestion/m2m/senml/v1" // devices named by IMEI
	PathIP  = "/ingestion/ip/senml/v1"  // devices named by DVNUUID
)

// TokenHeader carries the message token.
const TokenHeader = "Things-Message-Token"

// Uplinks is what the listener hands messages to.
type Uplinks interface {
	Accept(ctx context.Context, m *uplink.Message) uplink.Verdict
	Reject(r uplink.Reject)
}

// Config of the listener. Zero means no limit.
type Config struct {
	Uplinks        Uplinks
	Log            *slog.Logger
	MaxBody        int64         // bytes of a body
	MaxConnections int           // open connections
	HeaderTimeout  time.Duration // for a request's header
	ReadTimeout    time.Duration // for a whole request
	IdleTimeout    time.Duration // between requests of a connection
	Metrics        prometheus.Registerer
}

// Server is the listener.
type Server struct {
	cfg     Config
	http    *http.Server
	conns   *connections
	buffers bufferPool
	zero    []string    // Content-Length of an empty answer, shared by all
	closing atomic.Bool // every answer from now on ends its connection
	answers *prometheus.CounterVec
}

const (
	maxHeader    = 8 << 10          // bytes of a request's header; net/http adds 4 KiB of slack
	writeTimeout = 10 * time.Second // from a request's header to the end of its answer, where no read time-out adds to it
)

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = math.MaxInt32
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, conns: newConnections(cfg.MaxConnections), zero: []string{"0"}}
	s.answers = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_http_refusals_total", Help: "Device requests refused, by status."}, []string{"status"})
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(s.answers, s.conns.open, s.conns.turnedAway)
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	s.http = &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            cfg.HeaderTimeout,
		ReadTimeout:                  cfg.ReadTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		Protocols:                    &http1,
		ConnState:                    s.conns.track,
		ConnContext:                  withConn,
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	if cfg.ReadTimeout > 0 {
		s.http.WriteTimeout += cfg.ReadTimeout
	} else {
		s.http.WriteTimeout = 0
	}
	return s
}

// Serve answers devices on ln until ctx ends; it then stops accepting, finishes
// the requests in flight within grace, and has stopped when it returns.
func (s *Server) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.closing.Store(true)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := s.http.Shutdown(end); err != nil {
			_ = s.http.Close()
		}
	})
	sweeping, done := context.WithCancel(context.WithoutCancel(ctx))
	var sweeper sync.WaitGroup
	sweeper.Go(func() { s.conns.sweep(sweeping) })
	defer sweeper.Wait()
	defer done()
	err := s.http.Serve(s.conns.listen(ln))
	if !stop() {
		<-stopped // Serve returns as soon as Shutdown is called
		return nil
	}
	return err
}

// ServeHTTP answers one request. Paths are compared as they stand: a mux would
// redirect some, and devices follow no redirect.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.closing.Load() {
		w.Header().Set("Connection", "close")
	}
	kind := deviceType(r.URL.Path)
	switch {
	case kind == "":
		s.turnAway(w, r, http.StatusNotFound, "not-found", "no such path: "+uplink.PathHint)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		s.turnAway(w, r, http.StatusMethodNotAllowed, "method", "uplinks are sent with POST")
	default:
		s.take(w, r, kind)
	}
}

// deviceType is the type of device id that belongs on a path, "" for other paths.
func deviceType(path string) string {
	switch path {
	case PathM2M:
		return "IMEI"
	case PathIP:
		return "DVNUUID"
	}
	return ""
}

// take reads one uplink and answers it.
func (s *Server) take(w http.ResponseWriter, r *http.Request, kind string) {
	tokens := r.Header[TokenHeader]
	if len(tokens) > 1 {
		s.turnAway(w, r, http.StatusBadRequest, "two-tokens", "two "+TokenHeader+" headers: send one")
		return
	}
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	body, err := readBody(r, buf, s.cfg.MaxBody)
	if err != nil {
		s.badBody(w, r, err)
		return
	}
	bodyRead(r.Context())
	m := uplink.Message{Via: uplink.HTTP, Remote: r.RemoteAddr, Body: body, PathType: kind}
	if len(tokens) == 1 {
		m.Token, m.HasToken = tokens[0], true
	}
	s.answer(w, r, s.cfg.Uplinks.Accept(context.Background(), &m))
}
