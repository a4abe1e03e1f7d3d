package sms

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"
)

// loopback shows messages instead of sending them, for development, and makes receipts as it is told.
type loopback struct {
	options Options
	state   ReceiptState // of its receipts; "": there are none
	after   time.Duration
	started time.Time // parts its ids from those of an earlier run

	mu     sync.Mutex
	count  int
	queue  []loopbackReceipt // by when they are due: after is the same for all
	queued chan struct{}     // of room for one: there is more in queue
}

type loopbackReceipt struct {
	due time.Time
	Receipt
}

const (
	maxLoopback   = 10_000 // receipts that wait
	loopbackRetry = time.Second
)

func newLoopback(query string, o Options) (*loopback, error) {
	p, err := readParameters(query)
	if err != nil {
		return nil, err
	}
	g := &loopback{options: o, started: o.Now(), queued: make(chan struct{}, 1)}
	receipt := p.take("receipt", "delivered")
	states := map[string]ReceiptState{"delivered": Delivered, "undelivered": Undelivered, "expired": ExpiredSMS, "rejected": Rejected, "none": ""}
	state, ok := states[receipt]
	if !ok {
		p.fail("receipt", "%.40q is none of delivered, undelivered, expired, rejected, none", receipt)
	}
	g.state, g.after = state, p.duration("after", 100*time.Millisecond, 0, 48*time.Hour)
	return g, p.end()
}

// Name is of [Gateway].
func (g *loopback) Name() string { return "loopback" }

// Limits is of [Limited].
func (g *loopback) Limits() (window int, rate float64) { return 0, 0 }

// Ready is of [Gateway]: it always is.
func (g *loopback) Ready() (bool, <-chan struct{}) { return true, nil }

// Submit is of [Gateway].
func (g *loopback) Submit(_ context.Context, m Message) (Accepted, error) {
	if m.From == "" {
		m.From = g.options.Originator
	}
	now := g.options.Now()
	g.mu.Lock()
	if len(g.queue) >= maxLoopback {
		g.mu.Unlock()
		return Accepted{}, &Refusal{Class: Throttled, Code: "full", Text: "its receipts are not taken"}
	}
	g.count++
	id := "loop-" + strconv.FormatInt(g.started.UnixMilli(), 36) + "-" + strconv.Itoa(g.count)
	g.mu.Unlock()
	// This is what it is for: the text is shown, here alone.
	shown, size := m.Text, len(m.Text)
	if len(m.Data) > 0 {
		shown, size = hex.EncodeToString(m.Data), len(m.Data)
	}
	g.options.Log.Info("sms shown instead of sent", "device", m.Device, "sms", m.ID, "attempt", m.Attempt, "from", m.From, "to", starNumber(m.To), "size", size, "text", shown)
	if g.options.OnSMS != nil {
		g.options.OnSMS(m)
	}
	if g.state != "" {
		g.push(loopbackReceipt{now.Add(g.after), Receipt{ID: id, Forms: Forms(id), To: m.To, State: g.state, Class: g.state.Class(), At: now.Add(g.after)}})
	}
	return Accepted{IDs: []string{id}, Receipts: g.state != "", Note: "it was shown, not sent"}, nil
}

func (g *loopback) push(r loopbackReceipt) {
	g.mu.Lock()
	g.queue = append(g.queue, r)
	g.mu.Unlock()
	select {
	case g.queued <- struct{}{}:
	default:
	}
}

// Run is of [Gateway]: it hands out the receipts when they are due, each again every second until it is taken.
func (g *loopback) Run(ctx context.Context) error {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		next, there := g.first()
		if there {
			wait.Reset(next.due.Sub(g.options.Now()))
			select {
			case <-ctx.Done():
				return nil
			case <-wait.C:
			}
			if err := g.tell(ctx, next.Receipt); err != nil {
				g.again(g.options.Now().Add(loopbackRetry))
				continue
			}
			g.drop()
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.queued:
		}
	}
}

func (g *loopback) tell(ctx context.Context, r Receipt) error {
	if g.options.Receive.Receipt == nil {
		return nil
	}
	return g.options.Receive.Receipt(ctx, g.Name(), r)
}

func (g *loopback) first() (loopbackReceipt, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return loopbackReceipt{}, false
	}
	return g.queue[0], true
}

func (g *loopback) again(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue[0].due = at
}

func (g *loopback) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = g.queue[1:]
}

// starNumber hides a number but for its last two digits.
func starNumber(number string) string {
	if len(number) <= 2 {
		return strings.Repeat("*", len(number))
	}
	return strings.Repeat("*", len(number)-2) + number[len(number)-2:]
}
