package auth

// ChangeKind says what changed.
type ChangeKind uint8

const (
	ChangeAll    ChangeKind = iota // anything may have: changes could have been missed
	ChangeDevice                   // Device was put or deleted
	ChangeApp                      // App was put or deleted
)

// Change is a change of the registry, made by this process or another.
type Change struct {
	Kind   ChangeKind
	Device DeviceID
	App    string
}

// OnChange has f called for each change, in their order, from Run, after the cache has forgotten what changed; and with
// ChangeAll whenever Run begins to follow the changes, at its start and after a broken link. f must not block: while it
// runs, nothing else is learned.
func (r *Registry) OnChange(f func(Change)) {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.listeners = append(r.listeners, f)
}

func (r *Registry) tell(c Change) {
	r.listening.Lock()
	listeners := r.listeners // only ever appended to
	r.listening.Unlock()
	for _, f := range listeners {
		f(c)
	}
}
