package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	damageTold  = time.Minute // how often a damaged record is logged
	maxRevision = 1 << 52     // of what is believed of a damaged record: the next one is beyond it
	damageKept  = 1000        // records of which it is known when that was
)

// damages remembers which damaged records have been logged.
type damages struct {
	mu   sync.Mutex
	told map[DeviceID]time.Time
}

// fresh reports whether one is to be logged now.
func (d *damages) fresh(id DeviceID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.told[id]; ok && now.Sub(at) < damageTold {
		return false
	}
	if d.told == nil || len(d.told) >= damageKept {
		d.told = map[DeviceID]time.Time{}
	}
	d.told[id] = now
	return true
}

// damaged is the error of a record that cannot be read. It is logged too, since whoever passes over it answers as if all
// were well.
func (r *Registry) damaged(id DeviceID, err error) error {
	if r.damages.fresh(id, r.now()) {
		r.log.Warn("record of a device is damaged: it can be removed or replaced", "device", id, "error", err)
	}
	return fmt.Errorf("read %s: %w: %w", id, ErrDamaged, err)
}

// remains is what is left of a damaged record: that there is one, and the revision by which it can be replaced.
func (h *held) remains(fields map[string]string) {
	h.damaged, h.rec, h.past, h.uses = true, record{exists: true, matched: '0'}, nil, 0
	h.stored = fields[fieldRev]
	if n, err := strconv.ParseInt(h.stored, 10, 64); err == nil && n > 0 && n < maxRevision {
		h.rec.revision = n
	}
	h.device.Labels, h.device.Secrets, h.device.ModifiedAt = nil, 0, time.UnixMilli(h.rec.revision).UTC()
}

// readWhole is readDevice for who replaces all of it: a damaged record is no error.
func (r *Registry) readWhole(ctx context.Context, id DeviceID) (held, error) {
	h, err := r.readDevice(ctx, id)
	if errors.Is(err, ErrDamaged) {
		err = nil
	}
	return h, err
}
