package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"m2mbridge/auth"
)

// changes are what the registry told of, waiting for the sessions to be held
// against it again. A goroutine does that as long as there are any.
type changes struct {
	quit chan struct{} // closed when the broker stops

	mu      sync.Mutex
	seen    uint64 // since the start
	waiting []auth.Change
	idle    chan struct{} // closed when the goroutine ends; nil: it does not run
}

const (
	recheckRetry   = 200 * time.Millisecond // while the registry cannot be asked
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

func (c *changes) next() []auth.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.waiting
	c.waiting = nil
	if len(list) == 0 {
		close(c.idle)
		c.idle = nil
	}
	return list
}

// recheckAll holds sessions against the registry until no change waits.
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
	for list := b.changes.next(); len(list) > 0; list = b.changes.next() {
		b.recheckList(ctx, b.concerned(list))
	}
}

// concerned gives the sessions that the changes may concern, each once.
func (b *Broker) concerned(list []auth.Change) map[*session]struct{} {
	found := map[*session]struct{}{}
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

func (b *Broker) recheckList(ctx context.Context, found map[*session]struct{}) {
	queue := make(chan *session)
	var wg sync.WaitGroup
	for range min(recheckWorkers, len(found)) {
		wg.Go(func() {
			for s := range queue {
				s.recheck(ctx)
			}
		})
	}
	for s := range found {
		queue <- s
	}
	close(queue)
	wg.Wait()
}

// recheck ends the session if it could not log in any more. While the registry
// cannot be asked it tries again: nobody's uplink is stored meanwhile.
func (s *session) recheck(ctx context.Context) {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, s.b.cfg.LoginTimeout)
		err := s.recheckOnce(try)
		cancel()
		if err == nil {
			return
		}
		if !unsure(err) {
			s.end(revoked(err))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(recheckRetry):
		}
	}
}

func (s *session) recheckOnce(ctx context.Context) error {
	a := s.access.Load()
	if a == nil {
		return s.b.cfg.Registry.Recheck(ctx, s.who.proof)
	}
	app, err := s.b.cfg.Registry.RecheckApp(ctx, a.app)
	if err != nil {
		return err
	}
	now := &access{app: app, rights: rightsOf(app)}
	s.access.Store(now)
	return s.resubscribe(now)
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
	}
	return ending{code: codeAdministrative, reason: "removed or disabled"}
}
