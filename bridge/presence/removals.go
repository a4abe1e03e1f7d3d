package presence

import (
	"sync"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// removals are devices that the registry has changed, perhaps removed. All nodes
// look: it is done once. What a node should miss of it nobody is shown, as
// states are read of registered devices only, and all scripts forget a device
// that is not one.
type removals struct {
	signal chan struct{}

	mu   sync.Mutex
	list map[auth.DeviceID]struct{}
}

func newRemovals() *removals {
	return &removals{signal: make(chan struct{}, 1), list: map[auth.DeviceID]struct{}{}}
}

func (r *removals) more() <-chan struct{} { return r.signal }

// changed is told of changes of the registry; it does not block.
func (p *Presence) changed(c auth.Change) {
	if c.Kind != auth.ChangeDevice {
		return
	}
	p.pulses.forget(c.Device)
	r := p.removed
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list[c.Device] = struct{}{}
	wake(r.signal)
}

// take implements queue.
func (r *removals) take(p *Presence) ([]call, func([]*redis.Cmd) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch []auth.DeviceID
	var calls []call
	for d := range r.list {
		if len(batch) == batchSize {
			break
		}
		delete(r.list, d)
		batch = append(batch, d)
		calls = append(calls, call{p.scripts.forget, p.keys.of(d), []any{string(d), p.cfg.MaxEvents, p.now()}})
	}
	return calls, func(replies []*redis.Cmd) error { return r.settle(p, batch, replies) }
}

func (r *removals) settle(p *Presence, batch []auth.DeviceID, replies []*redis.Cmd) (failed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, d := range batch {
		if err := replies[i].Err(); err != nil && !p.isDamaged(d, err) {
			failed = err
			r.list[d] = struct{}{}
		}
	}
	if failed != nil {
		wake(r.signal)
	}
	return failed
}
