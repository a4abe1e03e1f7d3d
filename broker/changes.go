package broker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"m2mbridge/auth"
)

// changes are what the registry told of, waiting for the sessions to be held
// against it again. A goroutine does that as long as there are any.
type changes struct {
	quit chan struct{} // closed when the broker stops
	more chan struct{} // of one: changes came

	mu      sync.Mutex
	seen    uint64 // since the start
	waiting []auth.Change
	idle    chan struct{} // closed when the goroutine ends; nil: it does not run
}

func newChanges() changes {
	return changes{quit: make(chan struct{}), more: make(chan struct{}, 1)}
}

const (
	recheckRetry   = 200 * time.Millisecond // between two tries of those of whom the registry cannot say
	recheckWorkers = 8                      // when everything may have changed
)

func (c *changes) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// changed is told of a change of the registry; it does not block.
func (b *Broker) changed(ch auth.Change) {
	c := &b.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen++
	select {
	case <-c.quit:
		return
	default:
	}
	c.waiting = append(c.waiting, ch)
	select {
	case c.more <- struct{}{}:
	default:
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
		go b.recheckAll()
	}
}

// change is what concerns this session alone.
func (s *session) change() auth.Change {
	if s.who.app != nil {
		return auth.Change{Kind: auth.ChangeApp, App: s.who.app.Name}
	}
	return auth.Change{Kind: auth.ChangeDevice, Device: s.who.device}
}

// wait is for the goroutine to end, after quit is closed.
func (c *changes) wait() {
	c.mu.Lock()
	idle := c.idle
	c.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

// await waits for changes, or until those of whom the registry could not say
// are to be tried again.
func (c *changes) await(again time.Time) {
	timer := time.NewTimer(time.Until(again))
	defer timer.Stop()
	select {
	case <-c.more:
	case <-timer.C:
	case <-c.quit:
	}
}

// next gives the changes that wait; it is false, and the goroutine ends, when
// there are none and none is left to be tried again.
func (c *changes) next(left bool) ([]auth.Change, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.quit:
		left = false
	default:
	}
	list := c.waiting
	c.waiting = nil
	if len(list) > 0 || left {
		return list, true
	}
	close(c.idle)
	c.idle = nil
	return nil, false
}

// sessionSet is sessions to hold against the registry.
type sessionSet map[*session]struct{}

// recheckAll holds sessions against the registry until no change waits. Those
// of whom it cannot say, since it is away or their record is damaged, are tried
// again between the changes: they hold up nobody else's.
func (b *Broker) recheckAll() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-b.changes.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	unsaid := sessionSet{}
	var again time.Time
	for {
		list, ok := b.changes.next(len(unsaid) > 0)
		if !ok {
			return
		}
		found := b.concerned(list)
		begun := time.Now()
		if begun.After(again) {
			maps.Copy(found, unsaid)
		}
		for s, settled := range b.recheckList(ctx, found) {
			if delete(unsaid, s); !settled {
				unsaid[s] = struct{}{}
			}
		}
		if begun.After(again) { // at most half the time goes into those
			again = time.Now().Add(max(recheckRetry, time.Since(begun)))
		}
		if len(unsaid) > 0 {
			b.changes.await(again)
		}
	}
}

// concerned gives the sessions that the changes may concern, each once.
func (b *Broker) concerned(list []auth.Change) sessionSet {
	found := sessionSet{}
	add := func(sessions ...*session) {
		for _, s := range sessions {
			found[s] = struct{}{}
		}
	}
	for _, ch := range list {
		switch ch.Kind {
		case auth.ChangeDevice:
			if s := b.sessions.device(ch.Device); s != nil {
				add(s)
			}
		case auth.ChangeApp:
			add(b.sessions.of(ch.App)...)
		default:
			add(b.sessions.of("")...)
			add(b.sessions.allDevices()...)
		}
	}
	return found
}

// recheckList tries each session once, and gives which of them are settled.
func (b *Broker) recheckList(ctx context.Context, found sessionSet) map[*session]bool {
	var mu sync.Mutex
	settled := make(map[*session]bool, len(found))
	queue := make(chan *session)
	var wg sync.WaitGroup
	for range min(recheckWorkers, len(found)) {
		wg.Go(func() {
			for s := range queue {
				ok := s.recheck(ctx)
				mu.Lock()
				settled[s] = ok
				mu.Unlock()
			}
		})
	}
	for s := range found {
		queue <- s
	}
	close(queue)
	wg.Wait()
	return settled
}

// recheck ends the session if it could not log in any more. It is false while
// the registry cannot say: nobody is cut on suspicion.
func (s *session) recheck(ctx context.Context) (settled bool) {
	if s.hasEnded() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, s.b.cfg.LoginTimeout)
	defer cancel()
	err := s.recheckOnce(ctx)
	switch {
	case err == nil:
		return true
	case unsure(err) && !errors.Is(err, auth.ErrSecretKey): // that one lasts, and no uplink of it can be checked
		return false
	}
	s.end(revoked(err))
	return true
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *session) recheckOnce(ctx context.Context) error {
	a := s.access.Load()
	if a == nil {
		proof, err := s.b.cfg.Registry.Recheck(ctx, s.who.proof)
		if err == nil {
			s.recheckAt(proof.Until())
		}
		return err
	}
	app, err := s.b.cfg.Registry.RecheckApp(ctx, a.app)
	if err != nil {
		return err
	}
	s.recheckAt(app.Until())
	now := &access{app: app, rights: rightsOf(app)}
	s.access.Store(now)
	return s.resubscribe(now)
}

// recheckAt has the session held against the registry when the secret or key ends that it logged in by; zero: it has no
// end.
func (s *session) recheckAt(end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyEnd != nil {
		s.keyEnd.Stop()
		s.keyEnd = nil
	}
	if !end.IsZero() && !s.ended {
		s.keyEnd = time.AfterFunc(time.Until(end), func() { s.b.changed(s.change()) })
	}
}

// errScope: an app lost the right to something that it is subscribed to.
var errScope = errors.New("subscription not allowed any more")

// resubscribe holds the subscriptions against what the app may now.
func (s *session) resubscribe(a *access) error {
	s.mu.Lock()
	subs := append([]*subscription(nil), s.subs...)
	s.mu.Unlock()
	for _, sub := range subs {
		switch s.b.maySubscribe(a, sub.inner) {
		case codeSuccess:
		case codeNotAuthorized:
			return errScope
		default:
			return auth.ErrUnavailable
		}
	}
	return nil
}

// revoked is how a session ends that the registry no longer lets be. Its will
// is not published: it would be refused.
func revoked(err error) ending {
	switch {
	case errors.Is(err, errScope), errors.Is(err, auth.ErrWrongToken):
		return ending{code: codeNotAuthorized, reason: "login or subscription not valid any more"}
	case errors.Is(err, auth.ErrSecretKey), errors.Is(err, auth.ErrDamaged):
		return ending{code: codeAdministrative, reason: "login cannot be checked any more"}
	}
	return ending{code: codeAdministrative, reason: "removed or disabled"}
}
