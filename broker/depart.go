package broker

import "context"

// depart settles what a session that ended leaves: the shared subscriptions
// that it was a member of, and its last state. A session that was removed, or
// that ends with its connection, is a member no more.
func (s *session) depart(subs []*subscription, claims []*claim, last Saved, removed bool) {
	held := map[*group][]*claim{} // of groups that it has left before, too
	for _, c := range claims {
		held[c.group] = append(held[c.group], c)
	}
	for _, sub := range subs {
		s.indexed(sub, nil)
		if g := sub.group.Load(); g != nil && held[g] == nil {
			held[g] = []*claim{}
		}
	}
	for g, list := range held {
		g.giveBack(list)
		s.leaveGroup(g, removed || s.kept.member != s.key())
	}
	if s.kept.opened { // else what is kept is not this connection's to change
		s.b.saver.add(s, last)
	}
}

// leaveGroup has the other members go on, on this node or, if there is none, on others.
func (s *session) leaveGroup(g *group, forGood bool) {
	s.b.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
		defer cancel()
		if g.empty() {
			g.end(ctx)
		} else {
			g.poke()
		}
		if forGood {
			g.leave(ctx, s.kept.member)
		}
	})
}

func (g *group) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members) == 0
}

// claims are those that the session has not acknowledged. Called with session.mu held.
func (s *session) claims() (list []*claim) {
	for _, f := range s.outbox.window.all() {
		if f.claim != nil {
			list = append(list, f.claim)
		}
	}
	return list
}
