package broker

// snapshot is the session as it is to be kept, whole.
func (s *session) snapshot() Saved {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.subs = s.kept.seq + 1
	return s.snapshotLocked(false)
}

// confirm notes that a snapshot is kept, or was overtaken by a later one: that
// one then had the subscriptions too.
func (s *session) confirm(saved *Saved) {
	if saved.Subscriptions == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.known = max(s.kept.known, saved.Seq)
}

func (s *session) snapshotLocked(detached bool) Saved {
	a := s.access.Load()
	s.kept.seq++
	out := Saved{
		Key: s.key(), AppCreated: a.app.CreatedAt, Owner: s.kept.owner, Version: s.version, Remote: s.cl.Net.Remote,
		Expiry: s.kept.expiry, Detached: detached, Seq: s.kept.seq,
	}
	if s.kept.known < s.kept.subs || detached {
		out.Subscriptions = s.savedSubs(detached)
	}
	for i := range s.outbox.lanes {
		out.Cursors = append(out.Cursors, s.cursor(&s.outbox.lanes[i]))
	}
	if detached {
		out.InFlight = s.inFlight()
	}
	return out
}

// savedSubs are the subscriptions as they are kept.
func (s *session) savedSubs(detached bool) []SavedSubscription {
	list := make([]SavedSubscription, 0, len(s.subs))
	for _, sub := range s.subs {
		list = append(list, SavedSubscription{
			Filter: sub.filter, QoS: sub.qos, ID: sub.id, RetainAsPublished: sub.asPub, Since: s.since(sub, detached),
		})
	}
	return list
}

// since is where a subscription starts in streams whose cursor is not there
// yet; unless what is in flight is kept too, no later than that, which is to come again.
func (s *session) since(sub *subscription, detached bool) map[Stream]ID {
	var out map[Stream]ID
	for stream, id := range sub.since {
		if first, ok := s.outbox.window.oldest(stream); ok && !detached && first.ID.Prev().Less(id) {
			id = first.ID.Prev()
		}
		if l := s.outbox.lane(stream); l == nil || !s.cursor(l).At.ID.Less(id) {
			continue
		}
		if out == nil {
			out = map[Stream]ID{}
		}
		out[stream] = id
	}
	return out
}

// cursor is how far the session has acknowledged a stream. A live one stands
// where Deliver last ended: what is under way may not have been offered yet.
func (s *session) cursor(l *lane) Cursor {
	at := l.at
	if l.live {
		if end := s.b.delivered.get(l.stream); at.ID.Less(end.ID) {
			at = end
		}
	}
	c := Cursor{Stream: l.stream, At: at, Sent: at.ID}
	if l.gap.Count != 0 { // not told yet
		c.At, c.Sent = Position{l.gap.From, Unknown}, l.gap.From
	}
	if first, ok := s.outbox.window.oldest(l.stream); ok {
		before := Position{first.ID.Prev(), Unknown}
		if first.N > 0 {
			before.N = first.N - 1
		}
		if before.ID.Less(c.At.ID) {
			c.At = before
		}
	}
	if l.flights != nil && c.Sent.Less(l.sent) { // it had not come that far yet
		c.Sent = l.sent
	}
	return c
}

// inFlight is what was sent and not acknowledged, but for what goes to another
// member of a shared subscription; and what was in flight before and was not
// sent again yet.
func (s *session) inFlight() (list []InFlight) {
	for _, f := range s.outbox.window.all() {
		switch {
		case f.stream == noStream || f.claim != nil:
		case f.gap != (ID{}):
			list = append(list, InFlight{f.packet, Stream(f.stream), f.gap})
		default:
			list = append(list, InFlight{f.packet, Stream(f.stream), f.id})
		}
	}
	for i := range s.outbox.lanes {
		l := &s.outbox.lanes[i]
		for id, packet := range l.flights {
			if l.at.ID.Less(id) {
				list = append(list, InFlight{packet, l.stream, id})
			}
		}
	}
	return list
}
