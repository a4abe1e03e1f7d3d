package broker

import (
	"hash/maphash"
	"sync"

	"m2mbridge/auth"
)

// logins has the logins of one client come one after the other, so that the
// last to open a session is the one that has it. Few of others share its turn.
type logins struct {
	seed  maphash.Seed
	turns [256]sync.Mutex
}

// one waits for the turn of a client, and gives what ends it.
func (l *logins) one(k SessionKey) (done func()) {
	turn := &l.turns[maphash.Comparable(l.seed, k)%uint64(len(l.turns))]
	turn.Lock()
	return turn.Unlock
}

// sessions are those of this node, one per device and one per app and client id.
type sessions struct {
	mu      sync.RWMutex
	devices map[auth.DeviceID]*session
	apps    map[SessionKey]*session

	last     uint64 // number of a device's session
	presence Presence
}

func newSessions() sessions {
	return sessions{devices: map[auth.DeviceID]*session{}, apps: map[SessionKey]*session{}}
}

// put makes s the session of its client and gives the one that it replaces.
func (r *sessions) put(s *session) (old *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.who.app == nil {
		old = r.devices[s.who.device]
		r.devices[s.who.device] = s
		r.numbered(s)
		return old
	}
	k := s.key()
	old = r.apps[k]
	r.apps[k] = s
	return old
}

// app is the session of an app's client; nil if it has none here.
func (r *sessions) app(k SessionKey) *session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.apps[k]
}

// remove forgets s, unless another took over.
func (r *sessions) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.who.app == nil {
		if r.devices[s.who.device] == s {
			delete(r.devices, s.who.device)
		}
		return
	}
	if k := s.key(); r.apps[k] == s {
		delete(r.apps, k)
	}
}

func (r *sessions) device(id auth.DeviceID) *session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.devices[id]
}

// of gives the sessions of an app; "" of every app.
func (r *sessions) of(app string) (list []*session) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for k, s := range r.apps {
		if app == "" || k.App == app {
			list = append(list, s)
		}
	}
	return list
}

func (r *sessions) allDevices() []*session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]*session, 0, len(r.devices))
	for _, s := range r.devices {
		list = append(list, s)
	}
	return list
}

func (r *sessions) counts() (devices, apps int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.devices), len(r.apps)
}
