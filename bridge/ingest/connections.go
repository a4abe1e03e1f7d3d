package ingest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connections bounds how many are open. At the bound a new one takes the place
// of one that is idle; where none is idle it is told to try again, so that neither sleepers nor a flood keep working devices out.
type connections struct {
	max        int
	mu         sync.Mutex
	all        map[*conn]struct{}
	open       prometheus.GaugeFunc
	turnedAway prometheus.Counter
}

func newConnections(limit int) *connections {
	c := &connections{max: limit, all: make(map[*conn]struct{})}
	c.open = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "m2mbridge_http_connections", Help: "Open device connections."},
		func() float64 { c.mu.Lock(); defer c.mu.Unlock(); return float64(len(c.all)) })
	c.turnedAway = prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_http_connections_refused_total", Help: "Device connections refused at the limit of open ones."})
	return c
}

// track is the server's ConnState. A connection that has sent nothing yet
// counts as idle: a device connects when it has something to send. One whose
// request does not come to its end counts as idle after a while: else slow
// senders could keep all others out.
func (cs *connections) track(c net.Conn, state http.ConnState) {
	own, ok := c.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateNew, http.StateIdle:
		own.answering.Store(false)
		own.idle.Store(time.Now().UnixNano())
	case http.StateActive:
		own.idle.Store(time.Now().Add(slowGrace - idleGrace).UnixNano())
	}
}

// sweep expires deadlines until ctx ends.
func (cs *connections) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			cs.mu.Lock()
			for c := range cs.all {
				c.sweep(now)
			}
			cs.mu.Unlock()
		}
	}
}

// listen bounds the connections that ln accepts.
func (cs *connections) listen(ln net.Listener) net.Listener { return &listener{ln, cs} }

type listener struct {
	net.Listener
	conns *connections
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if own := l.conns.enter(c); own != nil {
			return own, nil
		}
		go full(c)
	}
}

// enter gives c a place, or nil when there is none.
func (cs *connections) enter(c net.Conn) *conn {
	own := &conn{Conn: c}
	own.leave = sync.OnceFunc(func() {
		cs.mu.Lock()
		delete(cs.all, own)
		cs.mu.Unlock()
	})
	cs.mu.Lock()
	var oldest *conn
	if cs.max > 0 && len(cs.all) >= cs.max {
		if oldest = cs.longestIdle(time.Now()); oldest == nil {
			cs.mu.Unlock()
			cs.turnedAway.Inc()
			return nil
		}
	}
	cs.all[own] = struct{}{}
	cs.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return own
}

const (
	idleGrace  = time.Second     // how long a connection may be idle before it can lose its place
	slowGrace  = 5 * time.Second // how long a request may take to arrive before its connection can
	idleSample = 64              // connections looked at, at random, for the one that must go
)

// longestIdle is the longest idle of a random few: at the bound every accept
// comes here, and looking at all of them would be the attacker's lever.
func (cs *connections) longestIdle(now time.Time) (oldest *conn) {
	since := now.Add(-idleGrace).UnixNano()
	looked := 0
	for c := range cs.all {
		if t := c.idle.Load(); t != 0 && t < since {
			oldest, since = c, t
		}
		if looked++; looked == idleSample {
			break
		}
	}
	return oldest
}

// full answers a connection there is no place for.
func full(c net.Conn) {
	const answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(answer))
	_ = c.Close()
}
