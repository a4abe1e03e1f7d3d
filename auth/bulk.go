package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Bulk says how PutDevices goes about it.
type Bulk struct {
	Dry    bool          // nothing is written
	Whole  bool          // what a damaged device is to be is all of it: change gets its id and revision; else it is refused
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
	if err := checkWindow(how.Window); err != nil {
		return nil, fmt.Errorf("put devices: %w", err)
	}
	olds, err := r.readDevices(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("put devices: %w", err)
	}
	changes := make([]DeviceChange, len(ids))
	plans := make([]plan, len(ids))
	put := r.newPutter(changes)
	for i := range plans {
		p := &plans[i]
		p.i, p.old = i, &olds[i]
		changes[i], p.next = r.plan(p.old, how, func(old *Device) (Device, error) { return change(i, old) })
		if c := &changes[i]; c.Err == nil && c.Changed && !how.Dry {
			put.add(ctx, p)
		}
	}
	put.wait(ctx)
	for i := range changes {
		if c := &changes[i]; errors.Is(c.Err, ErrConflict) {
			*c = r.putAgain(ctx, ids[i], how, func(old *Device) (Device, error) { return change(i, old) })
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
	if old.damaged && !how.Whole {
		c.Err = ErrDamaged
		return c, next
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
		c.After, c.Changed = next.device, !r.unchanged(old, &next)
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
		err = r.rotate(&next, Rotation{Secret: secret, Window: how.Window}, revision)
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

// putAgain is for the one that somebody else changed meanwhile.
func (r *Registry) putAgain(ctx context.Context, id DeviceID, how Bulk, change func(old *Device) (Device, error)) (c DeviceChange) {
	for range tries(ctx) {
		old, err := r.readWhole(ctx, id)
		if err != nil {
			return DeviceChange{Err: err}
		}
		p := plan{old: &old}
		c, p.next = r.plan(&old, how, change)
		if c.Err != nil || !c.Changed {
			return c
		}
		changes := []DeviceChange{c}
		put := r.newPutter(changes)
		put.add(ctx, &p)
		put.wait(ctx)
		if c = changes[0]; !errors.Is(c.Err, ErrConflict) {
			return c
		}
	}
	return c
}
