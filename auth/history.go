package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// SeesAt is Sees of what happened at an instant, to the millisecond. Of a device that only a label lets the app see it
// sees nothing from before its registration: whoever may give a device that label could else register anew an id that was
// removed, and read what its former owner's was. An id in the filter is the operator's word for all of that id.
func (r *Registry) SeesAt(ctx context.Context, a *App, id DeviceID, at time.Time) (bool, error) {
	if !a.NeedsLabels(id) {
		return a.Sees(id, nil), nil
	}
	sees, revision := false, int64(0)
	err := r.consult(ctx, id, func(rec *record) bool {
		for _, l := range a.filter.labels {
			sees = sees || rec.hasLabel(l.name, l.value)
		}
		revision = rec.revision
		return true
	})
	if err != nil {
		return false, fmt.Errorf("look up labels of %s: %w", id, err)
	}
	if !sees || at.UnixMilli() >= revision { // no device is older than its last change
		return sees, nil
	}
	created, err := r.created(ctx, id, revision)
	if errors.Is(err, ErrUnknown) { // removed meanwhile
		return false, nil
	}
	return err == nil && at.UnixMilli() >= created, err
}

// created is when the device was registered that is of that revision now, in Unix ms.
func (r *Registry) created(ctx context.Context, id DeviceID, revision int64) (int64, error) {
	if created, ok := r.births.get(id, revision); ok {
		return created, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	text, err := r.client.HGet(ctx, r.keys.device(id), fieldCreated).Result()
	if errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("look up when %s was registered: %w", id, ErrUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("look up when %s was registered: %w", id, unavailable(err))
	}
	created, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("look up when %s was registered: %w", id, errRecord)
	}
	r.births.put(id, birth{revision, created})
	return created, nil
}

// births remember when devices were registered. That of another revision is not trusted: it may be of a device that was
// removed, and revisions of an id never come back.
type births struct {
	mu    sync.Mutex
	known map[DeviceID]birth
}

type birth struct{ revision, created int64 }

const maxBirths = 10000 // of about 150 bytes each

func (b *births) get(id DeviceID, revision int64) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.known[id]
	return known.created, ok && known.revision == revision
}

func (b *births) put(id DeviceID, known birth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[DeviceID]birth{}
	}
	if len(b.known) >= maxBirths {
		for other := range b.known { // any
			delete(b.known, other)
			break
		}
	}
	b.known[id] = known
}
