package broker

import "slices"

// lane is a session's cursor in one stream. While it is live, the session gets
// what is new from Deliver; else it reads on from where it is, at its own pace,
// until it meets the tail. Guarded by session.mu.
type lane struct {
	stream Stream
	at     Position // what is for the session up to here was handed to its connection
	live   bool
	gap    Gap // missed, and not told yet; none while live
	stride int // how many entries are read for each one that there is room for; 0: 1

	// Of a session that was kept: messages up to sent were sent before. Where
	// flights is not nil, only those in it are to be sent again.
	sent    ID
	flights map[ID]uint16
}

// maxStride bounds how much is read in search of what is for the session.
const maxStride = 512

func (o *outbox) lane(s Stream) *lane {
	for i := range o.lanes {
		if o.lanes[i].stream == s {
			return &o.lanes[i]
		}
	}
	return nil
}

// leave has the lane read m and what follows for itself.
func (l *lane) leave(m *Message) {
	l.live = false
	l.pass(m.before())
}

// pass moves the lane on to p, if that is ahead.
func (l *lane) pass(p Position) {
	if l.at.ID.Less(p.ID) {
		l.at = p
	}
}

// miss notes what the session does not get, and goes on behind it.
func (l *lane) miss(g Gap) {
	switch {
	case l.gap.Count == 0:
		l.gap = g
	case l.gap.Count < 0 || g.Count < 0:
		l.gap.To, l.gap.Count = g.To, Unknown
	default:
		l.gap.To = g.To
		l.gap.Count += g.Count
	}
	p := Position{g.To, Unknown}
	if l.at.N >= 0 && g.Count >= 0 {
		p.N = l.at.N + g.Count
	}
	l.pass(p)
}

// toPresent has a session of QoS 0 miss what it was too slow for.
func (l *lane) toPresent(end Position) int64 {
	count := int64(Unknown)
	if l.at.N >= 0 && end.N >= l.at.N {
		count = end.N - l.at.N
	}
	if count != 0 {
		l.miss(Gap{From: l.at.ID, To: end.ID, Count: count})
	}
	l.at = end
	return max(count, 1)
}

// join puts the lane at the tail.
func (s *session) join(l *lane, end Position) {
	if !end.ID.Less(l.at.ID) {
		l.at = end
	}
	l.live, l.flights, l.sent, l.stride = true, nil, ID{}, 0
	s.outbox.skips = false
	for _, sub := range s.subs {
		for stream, id := range sub.since {
			other := s.outbox.lane(stream)
			s.outbox.skips = s.outbox.skips || other != nil && other.at.ID.Less(id)
		}
	}
}

// repeated tells whether m was sent before, with which packet id (0: any), and
// whether it is to be sent again.
func (l *lane) repeated(m *Message) (packet uint16, before, again bool) {
	if l.sent.Less(m.ID) {
		return 0, false, true
	}
	if l.flights == nil {
		return 0, true, true
	}
	packet, again = l.flights[m.ID]
	return packet, true, again
}

// ensureLanes gives the session a cursor in each stream of a new subscription,
// which is at start, or at the present; and has the subscription skip what lies
// before where it starts. Lanes already there go back where they have to.
// Called with session.mu held.
func (s *session) ensureLanes(sub *subscription, start func(Stream) Position) {
	for _, stream := range s.b.streamsOf(sub.inner) {
		at := s.b.cfg.Source.End(stream)
		if start != nil {
			at = start(stream)
		}
		l := s.outbox.lane(stream)
		if l == nil {
			s.outbox.lanes = append(s.outbox.lanes, lane{stream: stream, at: at})
			continue
		}
		if l.live { // what came up to there was offered
			l.pass(s.b.delivered.get(stream))
		}
		l.live = false // else it would not know what to skip
		if !at.ID.Less(l.at.ID) {
			sub.skip(stream, at.ID)
			continue
		}
		for _, other := range s.subs { // back, for this subscription alone
			if other != sub {
				other.skip(stream, l.at.ID)
			}
		}
		l.at, l.sent, l.flights = at, ID{}, nil
	}
}

// dropLanes takes away the cursors that no subscription needs any more.
// Called with session.mu held.
func (s *session) dropLanes() {
	var needed []Stream
	for _, sub := range s.subs {
		if !sub.shared {
			needed = append(needed, s.b.streamsOf(sub.inner)...)
		}
	}
	s.outbox.lanes = slices.DeleteFunc(s.outbox.lanes, func(l lane) bool { return !slices.Contains(needed, l.stream) })
}

// relies reports whether the session shall miss nothing of a stream: one that
// takes all of it at QoS 0 goes on in the present instead.
func (s *session) relies(stream Stream) bool {
	for _, sub := range s.subs {
		if !sub.shared && sub.qos > 0 && slices.Contains(s.b.streamsOf(sub.inner), stream) {
			return true
		}
	}
	return false
}

// matching is what the session's subscriptions together ask for a message that
// it reads for itself; not ok where none is for it. One that was in flight comes
// again wherever they start.
func (s *session) matching(m *Message, wasInFlight bool) (t target, ok bool) {
	t.s = s
	for _, sub := range s.subs {
		if !sub.shared && (wasInFlight || sub.since[m.Stream].Less(m.ID)) && matches(sub.inner, m.Topic) {
			t.add(sub)
			ok = true
		}
	}
	return t, ok
}

// skip has the subscription not get what is not behind id, when it is read again.
func (sub *subscription) skip(s Stream, id ID) {
	if !sub.since[s].Less(id) {
		return
	}
	if sub.since == nil {
		sub.since = map[Stream]ID{}
	}
	sub.since[s] = id
}
