package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// answerLimit is how long a device may wait for its answer, whatever ails Redis.
const answerLimit = time.Second

// prober is one device that sends message after message, whatever becomes of
// each, and holds every answer to the promise: 200 or 503 over HTTP, an
// acknowledgement or a closed connection over MQTT, within a second.
type prober struct {
	t       testing.TB
	site    *site
	node    *node
	d       fleet.Device
	version string // of MQTT; "": HTTP
	bodies  func(number int) string

	mu      sync.Mutex
	acked   map[int]bool // numbers of the messages acknowledged
	refused int          // 503, or closed unacknowledged
	slowest time.Duration
}

// probe starts four probers: HTTP with a connection kept and one for each
// message, MQTT 3.1.1 and 5. They end when stop is called, or with the test.
func (s *site) probe(n *node) (probers []*prober, stop func()) {
	s.Helper()
	list := s.devices(100, 4, nil)
	quit := make(chan struct{})
	var running sync.WaitGroup
	for i, d := range list {
		p := &prober{t: s.T, site: s, node: n, d: d, acked: map[int]bool{}}
		// It fixes its time, so it is stored once however often it is sent.
		p.bodies = func(number int) string { return pack(d, 1700000000+int64(number), "probe", number) }
		probers = append(probers, p)
		send := p.overHTTP(i == 0)
		if i >= 2 {
			p.version = []string{v311, v5}[i-2]
			send = p.overMQTT()
		}
		running.Go(func() {
			for number := 0; ; number++ {
				select {
				case <-quit:
					return
				default:
					send(number)
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { close(quit); running.Wait() })
	s.Cleanup(stop)
	return probers, stop
}

// overHTTP gives a function that sends one message.
func (p *prober) overHTTP(keep bool) func(number int) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}, Timeout: 5 * time.Second}
	return func(number int) {
		body := p.bodies(number)
		req, err := http.NewRequest(http.MethodPost, "http://"+p.node.addr("http")+p.d.Path(), strings.NewReader(body))
		if err != nil {
			p.t.Error(err)
			return
		}
		req.Header.Set("Things-Message-Token", p.site.token(p.d, body))
		start := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			p.t.Errorf("%s: no answer after %s: %v", p.d.ID, time.Since(start), err)
			return
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		took := time.Since(start)
		switch {
		case resp.StatusCode == http.StatusOK:
			p.note(number, true, took)
		case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
			p.note(number, false, took)
		default:
			p.t.Errorf("%s: status %d, Retry-After %q: %s", p.d.ID, resp.StatusCode, resp.Header.Get("Retry-After"), text)
		}
	}
}

// overMQTT gives a function that sends one message, after a login where the
// connection is gone.
func (p *prober) overMQTT() func(number int) {
	var w *wire
	return func(number int) {
		if w == nil {
			if w = p.login(); w == nil {
				return
			}
		}
		id := uint16(number%65535 + 1)
		start := time.Now()
		w.publish(id, p.d.Topic(), p.bodies(number))
		for {
			h := w.hear(answerLimit + time.Second)
			took := time.Since(start)
			switch {
			case h == heard{"PUBACK", id, 0}:
				p.note(number, true, took)
				return
			case h.packet == "CLOSED":
				p.note(number, false, took)
				_ = w.conn.Close()
				w = nil
				return
			case h.packet != "DISCONNECT":
				p.t.Errorf("%s heard %s after %s", p.d.ID, h, took)
				_ = w.conn.Close()
				w = nil
				return
			}
		}
	}
}

// login is tried once; while Redis is away it is refused.
func (p *prober) login() *wire {
	w := p.site.dial(p.node, p.version)
	start := time.Now()
	w.login(p.d, "probe")
	h := w.hear(5 * time.Second)
	unavailable := map[string]byte{v311: 0x03, v5: 0x88}[p.version]
	took := time.Since(start)
	switch {
	case h == heard{"CONNACK", 0, 0}:
		return w
	case h != heard{"CONNACK", 0, unavailable} && h.packet != "CLOSED" || took > answerLimit+answerLimit/2:
		p.t.Errorf("%s: a login heard %s after %s", p.d.ID, h, took)
	}
	_ = w.conn.Close()
	return nil
}

func (p *prober) note(number int, acked bool, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowest = max(p.slowest, took)
	if took > answerLimit {
		p.t.Errorf("%s%s: message %d was answered after %s", p.d.ID, p.version, number, took)
	}
	if acked {
		p.acked[number] = true
	} else {
		p.refused++
	}
}

func (p *prober) count() (acked, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked), p.refused
}

// all waits until every prober has seen so many more of what of counts.
func all(t testing.TB, probers []*prober, what string, more int, of func(*prober) int) {
	t.Helper()
	start := make([]int, len(probers))
	for i, p := range probers {
		start[i] = of(p)
	}
	eventually(t, 15*time.Second, fmt.Sprintf("every device sees %d more of its messages %s", more, what), func() bool {
		for i, p := range probers {
			if of(p) < start[i]+more {
				return false
			}
		}
		return true
	})
}

func acked(p *prober) int   { n, _ := p.count(); return n }
func refused(p *prober) int { _, n := p.count(); return n }

// settle holds what was acknowledged against what is stored.
func (s *site) settle(probers []*prober) {
	s.Helper()
	stored := map[string]map[string]int{}
	for _, e := range s.stored("uplinks") {
		id, text := e.Values["device"].(string), e.Values["pack"].(string)
		if stored[id] == nil {
			stored[id] = map[string]int{}
		}
		stored[id][text]++
	}
	for _, p := range probers {
		packs := stored[p.d.ID]
		for number := range p.acked {
			if packs[p.bodies(number)] == 0 {
				s.Errorf("%s: message %d was acknowledged and is not stored", p.d.ID, number)
			}
		}
		for text, n := range packs {
			if n > 1 {
				s.Errorf("%s: stored %d times: %s", p.d.ID, n, text)
			}
		}
		s.Logf("%s %s: %d acknowledged, %d refused, %d stored, slowest answer %s", p.d.ID, p.version, len(p.acked), p.refused, len(packs), p.slowest.Round(time.Millisecond))
	}
}
