package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bulk says how PutDevices goes about it.
type Bulk struct {
	Dry    bool          // nothing is written
	Window time.Duration // how long the secret that a device has stays valid beside a new one
}

// DeviceChange is what PutDevices did with one device.
type DeviceChange struct {
	Before    *Device // as it was; nil: there was none
	After     Device  // as it is, or would be
	Changed   bool    // false: it already was so
	NewSecret bool    // it has a secret that it had not
	Err       error   // why it was not done; what it wraps says whether it may be tried again
}

// PutDevices changes many devices, each for itself, with few round trips: change gets the i-th of ids as it is stored
// (nil: there is none) and gives what it is to be; it may be called several times. Ids must differ. A new secret of a
// device that has one begins a rotation; one that it had before is refused, since whoever sends an old list again hardly
// means to undo what has happened since. The error says that none of them was done.
func (r *Registry) PutDevices(ctx context.Context, ids []DeviceID, how Bulk, change func(i int, old *Device) (Device, error)) ([]DeviceChange, error) {
	olds, err := r.readDevices(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("put devices: %w", err)
	}
	changes := make([]DeviceChange, len(ids))
	var plans []plan
	for i := range olds {
		p := plan{i: i, old: &olds[i]}
		changes[i], p.next = r.plan(p.old, how, func(old *Device) (Device, error) { return change(i, old) })
		if c := &changes[i]; c.Err == nil && c.Changed && !how.Dry {
			plans = append(plans, p)
		}
	}
	r.carryOut(ctx, plans, changes)
	for _, p := range plans {
		if c := &changes[p.i]; errors.Is(c.Err, ErrConflict) {
			*c = r.putAgain(ctx, ids[p.i], how, func(old *Device) (Device, error) { return change(p.i, old) })
		}
	}
	return changes, nil
}

// plan is the change of one device of many.
type plan struct {
	i    int
	old  *held
	next held
}

// plan makes the next state of a device, and says what changes.
func (r *Registry) plan(old *held, how Bulk, change func(old *Device) (Device, error)) (c DeviceChange, next held) {
	if old.rec.exists {
		before := old.device.clone()
		c.Before = &before
	}
	next, c.Err = r.prepare(old, func(old *held, revision int64) (held, error) {
		var given *Device
		if c.Before != nil {
			d := c.Before.clone()
			given = &d
		}
		d, err := change(given)
		if err != nil {
			return held{}, err
		}
		d.ID = old.device.ID
		if err := d.check(); err != nil {
			return held{}, err
		}
		return r.listed(d, old, how, revision)
	})
	if c.Err == nil {
		c.After, c.Changed = next.device, !next.same(old)
		c.NewSecret = len(next.rec.secrets[0].form) > 0 && next.rec.secrets[0].since != old.rec.secrets[0].since
	}
	return c, next
}

// listed is described, with a new secret beside the one that the device has.
func (r *Registry) listed(d Device, old *held, how Bulk, revision int64) (held, error) {
	now := r.now().UnixMilli()
	if d.Secret == "" || d.Unsigned || old.rec.active(now) == 0 || r.isSecret(d.ID, old.rec.secrets[0], d.Secret) {
		return r.described(d, old, revision)
	}
	if r.hadSecret(old, d.Secret) {
		return held{}, fmt.Errorf("%w secret: it is one that the device had before; rotate it to have it back", ErrInvalid)
	}
	secret := d.Secret
	d.Secret = ""
	next, err := r.described(d, old, revision)
	if err == nil {
		r.rotate(&next, Rotation{Secret: secret, Window: how.Window}, revision)
	}
	return next, err
}

func (r *Registry) hadSecret(h *held, secret string) bool {
	forms := h.past
	if older := h.rec.secrets[1].form; len(older) > 0 {
		forms = append([]string{string(older)}, forms...)
	}
	for _, form := range forms {
		if had, err := r.vault.open(h.device.ID, form); err == nil && had == secret {
			return true
		}
	}
	return false
}

// same reports whether nothing differs but the time.
func (h *held) same(as *held) bool {
	if !as.rec.exists || h.rec.flags != as.rec.flags || !bytes.Equal(h.rec.labels, as.rec.labels) {
		return false
	}
	for i, s := range h.rec.secrets {
		if is := as.rec.secrets[i]; s.since != is.since || s.until != is.until || s.after != is.after || (len(s.form) > 0) != (len(is.form) > 0) {
			return false
		}
	}
	a, b := &h.device, &as.device
	return a.Name == b.Name && a.ICCID == b.ICCID && a.MSISDN == b.MSISDN && a.RatePlan == b.RatePlan && a.CanSMS() == b.CanSMS()
}

// putBatchSize is how many devices one script writes: few enough that Redis keeps nobody waiting for long.
const putBatchSize = 64

// putBatch is plans that one script carries out.
type putBatch struct {
	plans  []*plan
	writes []write
	keys   []string
	args   []any
	sent   *redis.Cmd
}

// carryOut writes in one pipeline. What was not answered in it is sent once more by itself.
func (r *Registry) carryOut(ctx context.Context, plans []plan, changes []DeviceChange) {
	batches := r.putBatches(plans, changes)
	pipe := r.client.Pipeline()
	for _, b := range batches {
		b.keys, b.args = r.keys.putCall(b.writes)
		b.sent = r.scripts.put.EvalSha(ctx, pipe, b.keys, b.args...)
	}
	limited, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	_, _ = pipe.Exec(limited) // each reply has its own error
	for _, b := range batches {
		results, err := r.settled(ctx, b)
		for i, p := range b.plans {
			if changes[p.i].Err = err; err == nil && results[i] == 0 {
				changes[p.i].Err = ErrConflict
			}
			r.cache.invalidate(p.old.device.ID)
		}
	}
}

// putBatches parts plans by partition, in their order.
func (r *Registry) putBatches(plans []plan, changes []DeviceChange) (all []*putBatch) {
	open := map[int]*putBatch{}
	for i := range plans {
		p := &plans[i]
		w, err := r.writeOf(p.old, &p.next)
		if err != nil {
			changes[p.i].Err = err
			continue
		}
		b := open[w.partition]
		if b == nil || len(b.plans) == putBatchSize {
			b = &putBatch{}
			open[w.partition], all = b, append(all, b)
		}
		b.plans, b.writes = append(b.plans, p), append(b.writes, w)
	}
	return all
}

// settled is what became of each plan of a batch: 1 done, 0 it was not as expected.
func (r *Registry) settled(ctx context.Context, b *putBatch) ([]int64, error) {
	reply := b.sent
	if reply.Err() != nil {
		var err error
		if reply, _, err = r.run(ctx, r.scripts.put, b.keys, b.args...); err != nil {
			return nil, err
		}
	}
	return reply.Int64Slice()
}

// putAgain is for the one that somebody else changed meanwhile.
func (r *Registry) putAgain(ctx context.Context, id DeviceID, how Bulk, change func(old *Device) (Device, error)) (c DeviceChange) {
	for range putTries {
		old, err := r.readDevice(ctx, id)
		if err != nil {
			return DeviceChange{Err: err}
		}
		p := []plan{{old: &old}}
		c, p[0].next = r.plan(&old, how, change)
		if c.Err != nil || !c.Changed {
			return c
		}
		changes := []DeviceChange{c}
		r.carryOut(ctx, p, changes)
		if c = changes[0]; !errors.Is(c.Err, ErrConflict) {
			return c
		}
	}
	return c
}
