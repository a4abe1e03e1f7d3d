package broker

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// gate counts the open connections of all listeners against the limits.
type gate struct {
	cfg *Config

	mu      sync.Mutex
	open    int
	perAddr map[string]int
	waiting list.List // *link before login, the oldest in front

	accepted, turned atomic.Int64
}

// link is an admitted connection: closing it gives its place back.
type link struct {
	net.Conn
	g        *gate
	addr     string        // the peer's, without port
	deadline time.Time     // for the CONNECT
	place    *list.Element // in waiting; nil after login
	once     sync.Once
}

// admit gives nc a place, or closes it and gives nil. When too many wait
// before login, the one that has waited longest goes: a flood of silent
// connections cannot keep others out.
func (g *gate) admit(nc net.Conn) *link {
	g.accepted.Add(1)
	prepare(nc)
	l := &link{Conn: nc, g: g, addr: host(nc.RemoteAddr()), deadline: time.Now().Add(g.cfg.ConnectTimeout)}
	g.mu.Lock()
	if g.full(l.addr) {
		g.mu.Unlock()
		g.turned.Add(1)
		_ = nc.Close()
		return nil
	}
	var oldest *link
	if g.waiting.Len() >= g.cfg.MaxUnauthorised {
		oldest = g.waiting.Front().Value.(*link)
	}
	g.open++
	if g.cfg.MaxPerAddress > 0 {
		g.perAddr[l.addr]++
	}
	l.place = g.waiting.PushBack(l)
	g.mu.Unlock()
	if oldest != nil {
		g.turned.Add(1)
		_ = oldest.Close()
	}
	_ = nc.SetReadDeadline(l.deadline)
	return l
}

func (g *gate) full(addr string) bool {
	return g.cfg.MaxConnections > 0 && g.open >= g.cfg.MaxConnections ||
		g.cfg.MaxPerAddress > 0 && g.perAddr[addr] >= g.cfg.MaxPerAddress
}

// authorised takes the connection from among those that wait for a login.
func (l *link) authorised() {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	l.leave()
}

func (l *link) leave() {
	if l.place != nil {
		l.g.waiting.Remove(l.place)
		l.place = nil
	}
}

// Close closes the connection and gives its place back.
func (l *link) Close() error {
	l.once.Do(func() {
		g := l.g
		g.mu.Lock()
		defer g.mu.Unlock()
		l.leave()
		g.open--
		if g.cfg.MaxPerAddress > 0 {
			if g.perAddr[l.addr]--; g.perAddr[l.addr] == 0 {
				delete(g.perAddr, l.addr)
			}
		}
	})
	return l.Conn.Close()
}

// CloseWrite ends our direction only, so that the peer reads all we wrote.
func (l *link) CloseWrite() error {
	if c, ok := l.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// counts gives the connections open, and those of them before login.
func (g *gate) counts() (open, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.waiting.Len()
}

func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}
