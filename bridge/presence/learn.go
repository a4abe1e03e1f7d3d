package presence

import "m2mbridge/bridge/stream"

// tellLost ends the sessions that others have taken over from.
func (p *Presence) tellLost() {
	p.links.mu.Lock()
	lost := p.links.lost
	p.links.lost = nil
	p.links.mu.Unlock()
	for _, l := range lost {
		p.metrics.takenOver.Inc()
		p.takeOver(l.device, l.session)
	}
}

// Events is given what is new in the events streams, of whatever kind: it is
// there that a node learns of newer sessions on others. It does not block.
func (p *Presence) Events(entries []stream.Entry) {
	for i := range entries {
		if e, ok := parseEvent(&entries[i]); ok {
			p.learn(e)
		}
	}
}

func (p *Presence) learn(e event) {
	if e.state == stateOffline {
		p.pulses.forget(e.device)
	}
	ls := p.links
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.of[e.device]
	switch {
	case l == nil || l.ended || e.via != viaMQTT:
	case l.waiting || l.writing: // perhaps it is our own
		l.seen = max(l.seen, e.epoch)
	case e.epoch > l.epoch:
		ls.lose(e.device, l)
	case e.epoch == l.epoch && e.state == stateOffline: // another node took this one for dead
		ls.put(e.device)
	}
}
