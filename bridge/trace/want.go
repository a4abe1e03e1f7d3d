package trace

import (
	"context"
	"time"

	"m2mbridge/auth"
)

// want is a device that somebody follows, here or at another node: its steps go
// to its stream.
type want struct {
	until   time.Time
	sent    uint64 // number of the last step that was written
	renewed bool   // it was asked for since the last pass
}

const (
	wantFor   = time.Minute           // after the last announcement
	maxWanted = 4096                  // devices, of all nodes
	beat      = 5 * time.Second       // between looks at what has run out
	restAfter = 20 * time.Millisecond // between passes: what is busy is written in batches
	passLimit = 2 * time.Second
)

// want is told that somebody follows a device; it does not block.
func (t *Trace) want(id auth.DeviceID) {
	if len(id) > maxID {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.wanted[id]
	if w == nil {
		if len(t.wanted) >= maxWanted {
			return
		}
		w = &want{}
		t.wanted[id] = w
		sh, hash := t.shard(id)
		sh.follow(hash, true)
	}
	w.until, w.renewed = time.Now().Add(wantFor), true
	t.nudge()
}

// changed comes to terms with announcements that were missed, and steps that
// Redis may have lost: what is followed here is announced again, and all is
// written again; readers know the numbers.
func (t *Trace) changed(c auth.Change) {
	if c.Kind != auth.ChangeAll {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.wanted {
		w.sent, w.renewed = 0, true
	}
	for _, a := range t.asked {
		a.announced = time.Time{}
	}
	t.missed = true
	t.nudge()
}

func (t *Trace) nudge() {
	select {
	case t.work <- struct{}{}:
	default:
	}
}

// Run writes the steps of devices that are followed until ctx ends.
func (t *Trace) Run(ctx context.Context) error {
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-beats.C:
			t.lapse()
			t.renew(ctx)
		case <-t.work:
			if t.hasMissed() {
				t.renew(ctx)
			}
			t.tell(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(restAfter):
			}
		}
	}
	return nil
}

func (t *Trace) hasMissed() (missed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	missed, t.missed = t.missed, false
	return missed
}

// lapse forgets what nobody follows any more.
func (t *Trace) lapse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, w := range t.wanted {
		if time.Now().After(w.until) {
			delete(t.wanted, id)
			sh, hash := t.shard(id)
			sh.follow(hash, false)
		}
	}
	if t.broken {
		t.nudge()
	}
}

// news are steps of a device to be written.
type news struct {
	id    auth.DeviceID
	steps []Step
}

// tell writes what is new to the streams of the devices that are followed.
func (t *Trace) tell(ctx context.Context) {
	all := t.gather()
	if len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, passLimit)
	defer cancel()
	err := t.write(ctx, all)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range all {
		w := t.wanted[n.id]
		switch {
		case w == nil: // nobody, meanwhile
		case err != nil:
			w.renewed = true
		case len(n.steps) > 0:
			w.sent = n.steps[len(n.steps)-1].N
		}
	}
	if err != nil && !t.broken && ctx.Err() != context.Canceled {
		t.cfg.Log.Warn("steps of followed devices are not written", "error", err)
	}
	t.broken = err != nil
}

// gather finds what is new since the last pass. Without steps a device is
// among it when its stream shall live on.
func (t *Trace) gather() (all []news) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, w := range t.wanted {
		sh, hash := t.shard(id)
		if !sh.grown(hash) && !w.renewed {
			continue
		}
		w.renewed = false
		steps := t.kept(id)
		if len(steps) == 0 {
			continue
		}
		for len(steps) > 0 && steps[0].N <= w.sent {
			steps = steps[1:]
		}
		all = append(all, news{id, steps})
	}
	return all
}

// follow says whether a device's steps are to be told.
func (sh *shard) follow(hash uint64, on bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.followed == nil {
		sh.followed = map[uint64]bool{}
	}
	if !on {
		delete(sh.followed, hash)
		return
	}
	sh.followed[hash] = true
}

// grown reports whether a followed device has steps since it was asked last.
func (sh *shard) grown(hash uint64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	grown, followed := sh.followed[hash]
	if followed {
		sh.followed[hash] = false
	}
	return grown
}
