package due

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// mailbox has the nudges that the worker has not seen, the earliest of each
// partition. What comes while a claim is under way is seen after it: the claim
// may have been answered before the entry was there.
type mailbox struct {
	mu   sync.Mutex
	at   map[int]time.Time
	came chan struct{}
}

func newMailbox() mailbox {
	return mailbox{at: make(map[int]time.Time), came: make(chan struct{}, 1)}
}

func (m *mailbox) put(p int, at time.Time) {
	m.mu.Lock()
	if old, ok := m.at[p]; !ok || at.Before(old) {
		m.at[p] = at
	}
	m.mu.Unlock()
	select {
	case m.came <- struct{}{}:
	default:
	}
}

// take empties it.
func (m *mailbox) take() map[int]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.at) == 0 {
		return nil
	}
	all := m.at
	m.at = make(map[int]time.Time)
	return all
}

func (w *Worker) takeMail() {
	for p, at := range w.mail.take() {
		w.agenda.advance(p, at)
	}
}

// listen hears of entries that have become the first of their partition. At
// every new subscription something may have been missed: then all partitions
// are looked at.
func (w *Worker) listen(ctx context.Context) {
	if w.cfg.Blocking == nil {
		return
	}
	subscription := w.cfg.Blocking.Subscribe(ctx, w.set.keys.channel())
	defer func() { _ = subscription.Close() }()
	messages := subscription.ChannelWithSubscriptions()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			w.hear(m)
		}
	}
}

func (w *Worker) hear(m any) {
	switch m := m.(type) {
	case *redis.Subscription:
		for p := range w.set.Partitions() {
			w.Nudge(p, 0)
		}
	case *redis.Message:
		if p, in, ok := w.set.keys.parseNudge(m.Payload); ok {
			w.Nudge(p, in)
		}
	}
}
