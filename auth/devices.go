package auth

import (
	"context"
	"errors"
	"fmt"
)

// PutDevice writes a device and gives it back as it is stored. A Secret given becomes its only one; see Rotate.
func (r *Registry) PutDevice(ctx context.Context, d Device, mode PutMode) (Device, error) {
	if err := d.check(); err != nil {
		return Device{}, fmt.Errorf("put device: %w", err)
	}
	stored, err := r.changeRead(ctx, r.readWhole, d.ID, AnyRevision, func(old *held, revision int64) (held, error) {
		switch {
		case old.rec.exists && mode == Create:
			return held{}, ErrExists
		case !old.rec.exists && mode == Replace:
			return held{}, ErrUnknown
		}
		return r.described(d, old, revision)
	})
	if err != nil {
		return Device{}, fmt.Errorf("put device %s: %w", d.ID, err)
	}
	return stored, nil
}

// UpdateDevice changes a device in place: change gets it as it is stored and makes it what it is to be. It may be called
// several times. A Secret that it sets becomes the only one. ErrUnknown, ErrRevision if the device is not of the revision
// given, ErrConflict; an error of change ends it.
func (r *Registry) UpdateDevice(ctx context.Context, id DeviceID, revision int64, change func(*Device) error) (Device, error) {
	stored, err := r.changeDevice(ctx, id, revision, func(old *held, next int64) (held, error) {
		if !old.rec.exists {
			return held{}, ErrUnknown
		}
		d := old.device.clone()
		if err := change(&d); err != nil {
			return held{}, err
		}
		d.ID = id
		if err := d.check(); err != nil {
			return held{}, err
		}
		return r.described(d, old, next)
	})
	if err != nil {
		return Device{}, fmt.Errorf("update device %s: %w", id, err)
	}
	return stored, nil
}

// GetDevice reads one device from Redis; ErrUnknown if there is none. With ErrDamaged, only its id and revision are good.
func (r *Registry) GetDevice(ctx context.Context, id DeviceID) (Device, error) {
	fields, err := r.readHash(ctx, r.keys.device(id))
	if err != nil {
		return Device{}, fmt.Errorf("get device %s: %w", id, err)
	}
	h, err := r.heldOf(id, fields)
	return h.device, err
}

// GetDevices reads several devices in one round trip; nil for those there are none of, or that are damaged.
func (r *Registry) GetDevices(ctx context.Context, ids []DeviceID) ([]*Device, error) {
	all, err := r.readDevices(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("get devices: %w", err)
	}
	devices := make([]*Device, len(ids))
	for i := range all {
		if all[i].rec.exists && !all[i].damaged {
			devices[i] = &all[i].device
		}
	}
	return devices, nil
}

// DeleteDevice forgets a device of that revision, and all that is kept of it but its messages in the streams. ErrUnknown
// if there is none, ErrRevision if it is of another.
func (r *Registry) DeleteDevice(ctx context.Context, id DeviceID, revision int64) error {
	defer r.cache.invalidate(id)
	for range tries(ctx) {
		old, err := r.readDevice(ctx, id)
		switch {
		case errors.Is(err, ErrDamaged) && (revision == AnyRevision || revision == old.rec.revision): // what cannot be read can be removed
			err = r.erase(ctx, r.keys.deviceThing(id, r.attached(id)...), old.rec.revision, old.device.terms()...)
		case errors.Is(err, ErrDamaged):
			err = ErrRevision
		case err != nil:
		case !old.rec.exists:
			err = ErrUnknown
		case revision != AnyRevision && old.rec.revision != revision:
			err = ErrRevision
		default:
			err = r.erase(ctx, r.keys.deviceThing(id, r.attached(id)...), old.rec.revision, old.device.terms()...)
		}
		if !errors.Is(err, errOtherRevision) {
			if err != nil {
				return fmt.Errorf("delete device %s: %w", id, err)
			}
			return nil
		}
	}
	return fmt.Errorf("delete device %s: %w", id, ErrConflict)
}
