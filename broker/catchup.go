package broker

import (
	"context"
	"sync"
	"time"
)

// catchUp reads pages for the sessions whose cursors are further back than what
// is in memory. Few are read at once, in turn, and none waits with a page in
// hand: so many sessions may be behind, and cost no memory.
type catchUp struct {
	b       *Broker
	reads   chan struct{} // a place for each page being read
	mu      sync.Mutex
	queue   []*session
	workers int
	done    sync.WaitGroup
}

const (
	pagesAtOnce = 4
	pageLimit   = 512             // entries of a page
	pageTimeout = 2 * time.Second // for reading one
)

// add has a page read for a session. Called with its mu held.
func (c *catchUp) add(s *session) {
	if s.outbox.reading || s.outbox.asking {
		return
	}
	s.outbox.reading = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, s)
	if c.workers < pagesAtOnce {
		c.workers++
		c.done.Go(c.work)
	}
}

// page reads one page, when it is its turn.
func (c *catchUp) page(ctx context.Context, s Stream, at Position, limit int) (Page, error) {
	select {
	case c.reads <- struct{}{}:
	case <-ctx.Done():
		return Page{Next: at}, ctx.Err()
	}
	defer func() { <-c.reads }()
	c.b.count.pages.Add(1)
	return c.b.cfg.Source.Page(ctx, s, at, limit)
}

func (c *catchUp) work() {
	for s := c.next(); s != nil; s = c.next() {
		s.readOn()
	}
}

func (c *catchUp) next() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil
		c.workers--
		return nil
	}
	s := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return s
}

// pageDelay is how long more acknowledgements are waited for before a page is
// read for a few messages.
const pageDelay = 2 * time.Millisecond

// readSoon has a page read for the session: at once when half its window is
// free, else in a moment, so that pages are not read for a message each.
func (s *session) readSoon() {
	w := &s.outbox.window
	switch {
	case w.full():
	case w.open == 0 || 2*w.free() >= w.limit:
		s.b.catchUp.add(s)
	case !s.outbox.soon:
		s.outbox.soon = true
		time.AfterFunc(pageDelay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.outbox.soon = false; !s.ended {
				s.b.catchUp.add(s)
			}
		})
	}
}

// wantsPage chooses the cursor that is furthest back in time.
func (s *session) wantsPage() (l *lane) {
	for i := range s.outbox.lanes {
		if c := &s.outbox.lanes[i]; !c.live && !s.isHeldBack(c) && (l == nil || c.at.ID.Less(l.at.ID)) {
			if _, _, ok := s.b.cfg.Source.Recent(c.stream, c.at.ID, nil); !ok {
				l = c
			}
		}
	}
	return l
}

// readOn reads a page for the session and hands it what of it there is room for.
func (s *session) readOn() {
	if s.readReplay() {
		return
	}
	s.mu.Lock()
	l := s.wantsPage()
	if s.ended || l == nil || s.outbox.window.full() || !s.conn.hasRoom() {
		s.outbox.reading = false
		s.mu.Unlock()
		return
	}
	stream, at := l.stream, l.at
	limit := min(max(s.outbox.window.free(), 1)*max(l.stride, 1), pageLimit)
	s.mu.Unlock()

	end := s.b.cfg.Source.End(stream) // what is up to here is in the page, or on the next
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	page, err := s.b.catchUp.page(ctx, stream, at, limit)
	cancel()

	s.mu.Lock()
	s.outbox.reading = false
	switch l := s.outbox.lane(stream); {
	case s.ended:
	case err != nil:
		s.askAgain()
	case l != nil && l.at == at: // else it was moved meanwhile
		s.takePage(l, &page, end)
	}
	s.pump()
	s.mu.Unlock()
	s.b.flusher.one(s.conn)
}

// takePage takes the cursor over a page, as far as there is room.
func (s *session) takePage(l *lane, page *Page, end Position) {
	if page.Gap != nil {
		l.miss(*page.Gap)
		s.b.count.missed.Add(max(page.Gap.Count, 1))
		if !s.tell(l) {
			return
		}
	}
	handed := 0
	for _, m := range page.Messages {
		done, did := s.take(l, m)
		if !done {
			return
		}
		if did {
			handed++
		}
	}
	l.pass(page.Next)
	if !page.Full { // nothing between there and the end as it was
		l.pass(end)
	}
	if l.stride = max(l.stride, 1); 4*handed >= len(page.Messages) {
		l.stride = 1
	} else {
		l.stride = min(2*l.stride, maxStride)
	}
}
