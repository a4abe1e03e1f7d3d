package broker

import "m2mbridge/auth"

// Presence is told of the sessions of devices, in their order for each device.
// No call may block, nor call the broker.
type Presence interface {
	// Online: the device has a session here, instead of any of a lower number.
	Online(d auth.DeviceID, session uint64)
	// Offline: that session has ended; cause is for people.
	Offline(d auth.DeviceID, session uint64, cause string)
}

// TakeOver ends a device's session, if it is still the one of that number: a
// newer one is on another node.
func (b *Broker) TakeOver(d auth.DeviceID, session uint64) {
	s := b.sessions.device(d)
	if s == nil || s.number.Load() != session {
		return
	}
	b.count.takenOver.Add(1)
	s.end(endTakenOver)
}

// numbered gives a device's session its number, and tells of it before anybody
// can end it. Called with mu held.
func (r *sessions) numbered(s *session) {
	r.last++
	s.number.Store(r.last)
	if r.presence != nil {
		r.presence.Online(s.who.device, r.last)
	}
}

// tellOffline tells that the session has ended, unless nobody was told that
// there is one.
func (s *session) tellOffline(e ending) {
	number := s.number.Load()
	if p := s.b.cfg.Presence; p != nil && number != 0 {
		p.Offline(s.who.device, number, e.cause())
	}
}

// cause is why a session ended, for those who watch the device.
func (e *ending) cause() string {
	switch e.code {
	case codeTakenOver:
		return "taken over"
	case codeShuttingDown:
		return "shutdown"
	case codeKeepAlive:
		return "keep-alive timeout"
	case codeAdministrative, codeNotAuthorized:
		return "revoked"
	case 0:
		if e.will {
			return "connection lost"
		}
		return "disconnected by client"
	}
	return e.reason
}
