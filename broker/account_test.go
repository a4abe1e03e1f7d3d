package broker

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// ledger is which messages a subscriber, or a group of them, got or was told that it missed.
type ledger struct {
	mu    sync.Mutex
	seen  []bool
	count int
	whole chan struct{}
}

func newLedger(n int) *ledger { return &ledger{seen: make([]bool, n), whole: make(chan struct{})} }

func (l *ledger) add(t *testing.T, from, to int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := from; i <= to; i++ {
		if l.seen[i] {
			t.Errorf("message %d came twice", i)
			return
		}
		l.seen[i] = true
		if l.count++; l.count == len(l.seen) {
			close(l.whole)
		}
	}
}

// await waits for the whole as long as something comes, and gives how much came.
func (l *ledger) await() int {
	for before := -1; ; {
		select {
		case <-l.whole:
			return len(l.seen)
		case <-time.After(patience):
		}
		l.mu.Lock()
		count := l.count
		l.mu.Unlock()
		if count == before {
			return count
		}
		before = count
	}
}

// reading takes what comes, at a changing pace, until the connection ends.
func (p *peer) reading(t *testing.T, r *rand.Rand, l *ledger, ordered bool) {
	last := -1
	for {
		m, err := p.read()
		if err != nil {
			return
		}
		if m.FixedHeader.Type != packets.Publish {
			continue
		}
		from, to := number(m.TopicName, string(m.Payload))
		if ordered && from != last+1 {
			t.Errorf("%d to %d came after %d", from, to, last)
		}
		last = to
		l.add(t, from, to)
		if m.FixedHeader.Qos > 0 {
			_ = p.conn.SetWriteDeadline(time.Now().Add(patience)) // that of the SUBSCRIBE may be over
			_, _ = p.conn.Write(encode(t, p.version, ack(packets.Puback, m.PacketID)))
		}
		if r.IntN(100) == 0 {
			<-time.After(time.Duration(r.IntN(3000)) * time.Microsecond)
		}
	}
}

// number is the number of a message, or the first and last of a gap.
func number(topic, payload string) (from, to int) {
	if topic == "events/gap" {
		var g gapEvent
		if json.Unmarshal([]byte(payload), &g) == nil {
			_, _ = fmt.Sscanf(g.From+" "+g.To, "%d-0 %d-0", &from, &to)
			to-- // ids are one ahead of numbers, and From is the last before the gap
		}
		return from, to
	}
	_, _ = fmt.Sscanf(payload, "%d", &from)
	return from, from
}

// Whatever the pace of its reader, a session gets each message in order or is
// told that it missed it; a group gets each once, or is told.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	const n = 6000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	e := newEdge(t, func(c *Config) { c.Window = 10 })
	e.tape.ring = 20
	var ledgers []*ledger
	start := func(l *ledger, qos byte, filter, id string, ordered bool) {
		p := e.device(version311+byte(r.IntN(2)), login("admin", "the admin's own key"), clientID(id))
		p.subOK(qos, filter)
		go p.reading(t, rand.New(rand.NewPCG(seed, uint64(len(id)))), l, ordered)
	}
	for i := range 6 {
		l := newLedger(n)
		ledgers = append(ledgers, l)
		start(l, byte(i%2), "uplinks/#", fmt.Sprint("s", i), true)
	}
	for g := range 2 {
		l := newLedger(n)
		ledgers = append(ledgers, l)
		for i := range 3 {
			start(l, byte(g), fmt.Sprintf("$share/%d/uplinks/#", g), fmt.Sprint("g", g, i), false)
		}
	}
	for i := 0; i < n; {
		var batch []*Message
		for range min(1+r.IntN(30), n-i) {
			padding := strings.Repeat(" ", r.IntN(2000))
			batch = append(batch, message(uplinksOf(imei), fmt.Sprint(i)+padding))
			i++
		}
		e.Deliver(batch)
		if r.IntN(10) == 0 {
			<-time.After(time.Duration(r.IntN(2000)) * time.Microsecond)
		}
	}
	for i, l := range ledgers {
		if count := l.await(); count < n {
			t.Errorf("subscriber %d: %d of %d messages are accounted for", i, count, n)
		}
	}
	s := e.Stats()
	t.Logf("delivered %d, missed %d in %d gaps", s.Delivered, s.Missed, s.Gaps)
}
