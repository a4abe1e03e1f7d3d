package broker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// saver saves sessions now and then, and those that ended as soon as it can.
type saver struct {
	nudge chan struct{} // of one: some ended

	mu   sync.Mutex
	gone map[*session]*goneSession
}

type goneSession struct {
	saved Saved
	done  chan struct{}
}

func newSaver() saver {
	return saver{nudge: make(chan struct{}, 1), gone: map[*session]*goneSession{}}
}

// add has the last state of a session saved that ended.
func (v *saver) add(s *session, last Saved) {
	v.mu.Lock()
	v.gone[s] = &goneSession{saved: last, done: make(chan struct{})}
	v.mu.Unlock()
	select {
	case v.nudge <- struct{}{}:
	default:
	}
}

// await waits until the last states of a client's sessions are saved.
func (v *saver) await(ctx context.Context, k SessionKey) {
	for _, g := range v.ended() {
		if g.saved.Key != k {
			continue
		}
		select {
		case <-g.done:
		case <-ctx.Done():
		}
	}
}

func (v *saver) ended() map[*session]*goneSession {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.gone)
}

func (v *saver) settled(s *session, g *goneSession) {
	v.mu.Lock()
	delete(v.gone, s)
	v.mu.Unlock()
	close(g.done)
}

// Run keeps sessions and shared subscriptions until ctx ends, and then what is
// left to be kept of those that ended. It is to end after every Serve.
func (b *Broker) Run(ctx context.Context) error {
	ticker := time.NewTicker(b.cfg.SaveEvery)
	defer ticker.Stop()
	for beaten := time.Now(); ; {
		select {
		case <-ctx.Done():
			b.finish()
			return nil
		case <-b.saver.nudge:
			b.save(nil)
		case <-ticker.C:
			b.save(b.sessions.of(""))
			if time.Since(beaten) >= b.cfg.ShareBeat {
				beaten = time.Now()
				b.beat()
			}
		}
	}
}

// finishWithin bounds each of what is done for sessions when all have ended.
const finishWithin = 2 * time.Second

func (b *Broker) finish() {
	b.finished.Store(true)
	idle := make(chan struct{})
	go func() { b.background.Wait(); b.catchUp.done.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(finishWithin):
	}
	for deadline := time.Now().Add(finishWithin); len(b.saver.ended()) > 0 && time.Now().Before(deadline); {
		if !b.save(nil) {
			time.Sleep(50 * time.Millisecond) // the store is away; it may come back
		}
	}
}

// save saves the sessions that changed, and those that ended. It is false if
// the store could not say of some.
func (b *Broker) save(open []*session) (all bool) {
	if b.cfg.Keeper == nil {
		return true
	}
	var list []Saved
	var which []*session
	gone := b.saver.ended()
	for s, g := range gone {
		list, which = append(list, g.saved), append(which, s)
	}
	for _, s := range open {
		if saved, due := s.due(); due {
			list, which = append(list, saved), append(which, s)
		}
	}
	if len(list) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	all = true
	for i, err := range b.cfg.Keeper.Save(ctx, list) {
		s := which[i]
		known := err == nil || errors.Is(err, ErrTaken) || errors.Is(err, ErrRemoved)
		all = all && known
		if g := gone[s]; g != nil {
			if known {
				b.saver.settled(s, g)
			}
			continue
		}
		if err == nil {
			s.confirm(&list[i])
		}
		s.wasKept(err)
	}
	return all
}

// due gives the session if it is time to save it.
func (s *session) due() (Saved, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.kept.acked { // nothing was on its way for a while
		s.outbox.window.shrink()
	}
	now := time.Now()
	changed := s.kept.acked && s.kept.expiry > 0 // else nobody goes on from its cursors
	if s.ended || s.kept.owner == "" || !changed && now.Sub(s.kept.saved) < keepIdle {
		return Saved{}, false
	}
	s.kept.acked, s.kept.saved = false, now
	return s.snapshotLocked(false), true
}

// wasKept takes the result of having been saved.
func (s *session) wasKept(err error) {
	switch {
	case errors.Is(err, ErrTaken):
		s.b.count.takenOver.Add(1)
		s.end(endTakenOver)
	case errors.Is(err, ErrRemoved):
		s.end(endRemoved)
	case err != nil:
		s.mu.Lock()
		s.kept.acked = true // try again
		s.mu.Unlock()
	}
}

// beat renews the shared subscriptions of this node.
func (b *Broker) beat() {
	for _, g := range b.index.allGroups() {
		b.background.Go(func() {
			if g.beat() == nil {
				g.poke()
			}
		})
	}
}
