package broker

import (
	"sync"

	"m2mbridge/auth"
)

// appKey names an app's session: no other app reaches it, whatever client id it gives.
type appKey struct{ app, clientID string }

// sessions are those of this node, one per device and one per app and client id.
type sessions struct {
	mu      sync.RWMutex
	devices map[auth.DeviceID]*session
	apps    map[appKey]*session
	perApp  map[string]int // sessions by the app's name
}

func newSessions() sessions {
	return sessions{devices: map[auth.DeviceID]*session{}, apps: map[appKey]*session{}, perApp: map[string]int{}}
}

// put makes s the session of its client and gives the one that it replaces.
func (r *sessions) put(s *session) (old *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.who.app == nil {
		old = r.devices[s.who.device]
		r.devices[s.who.device] = s
		return old
	}
	k := appKey{s.who.app.Name, s.who.clientID}
	if old = r.apps[k]; old == nil {
		r.perApp[k.app]++
	}
	r.apps[k] = s
	return old
}

// crowded reports whether an app has so many sessions that another client of it may not have one.
func (r *sessions) crowded(k appKey, limit int) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.perApp[k.app] >= limit && r.apps[k] == nil
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
	if k := (appKey{s.who.app.Name, s.who.clientID}); r.apps[k] == s {
		delete(r.apps, k)
		if r.perApp[k.app]--; r.perApp[k.app] == 0 {
			delete(r.perApp, k.app)
		}
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
		if app == "" || k.app == app {
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
