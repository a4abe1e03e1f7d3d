package auth

import (
	"context"
	"fmt"
)

// Labels gives a device's labels, from the cache where it may; ErrUnknown if there is no such device.
func (r *Registry) Labels(ctx context.Context, id DeviceID) (map[string]string, error) {
	var labels map[string]string
	err := r.consult(ctx, id, func(rec *record) bool {
		labels = rec.labelMap()
		return rec.exists
	})
	if err != nil {
		return nil, fmt.Errorf("look up labels of %s: %w", id, err)
	}
	return labels, nil
}

// Sees is App.Sees with the labels looked up where the filter needs them; an unknown device has none.
func (r *Registry) Sees(ctx context.Context, a *App, id DeviceID) (bool, error) {
	if !a.NeedsLabels(id) {
		return a.Sees(id, nil), nil
	}
	sees := false
	err := r.consult(ctx, id, func(rec *record) bool {
		for _, l := range a.filter.labels {
			sees = sees || rec.hasLabel(l.name, l.value)
		}
		return true
	})
	if err != nil {
		return false, fmt.Errorf("look up labels of %s: %w", id, err)
	}
	return sees, nil
}

// consult shows a device's record to read, the cached one if it may be trusted. Where read returns false of an unknown
// device, the answer is ErrUnknown.
func (r *Registry) consult(ctx context.Context, id DeviceID, read func(*record) bool) error {
	a := r.attempt(kindRecheck) // for its memory only
	defer r.release(a)
	if rec, cached := r.recall(id, a); cached {
		read(&rec)
		return nil
	}
	generation := r.cache.generation(id)
	rec, err := r.loadSealed(ctx, r.fresh, id, a)
	if err != nil {
		return err
	}
	if !read(&rec) {
		return ErrUnknown
	}
	if !rec.exists {
		return nil
	}
	if _, err := r.opened(rec, id, a); err == nil { // labels are known whether or not the secrets are
		r.remember(id, a.text, generation)
	}
	return nil
}
