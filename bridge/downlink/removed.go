package downlink

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// removals are devices that have changed, and may be gone.
type removals struct {
	mu      sync.Mutex
	changed map[auth.DeviceID]struct{}
}

// removalsKept bounds them: of the others the downlinks end when they are looked at next.
const removalsKept = 100_000

// OnChange is told of the registry's changes: the downlinks of a device that was removed end. It does not block.
func (s *Service) OnChange(c auth.Change) {
	if c.Kind != auth.ChangeDevice {
		return
	}
	r := &s.removals
	r.mu.Lock()
	if r.changed == nil {
		r.changed = map[auth.DeviceID]struct{}{}
	}
	if len(r.changed) < removalsKept {
		r.changed[c.Device] = struct{}{}
	}
	r.mu.Unlock()
	s.nudge()
}

// again has them taken once more.
func (r *removals) again(ids []auth.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.changed[id] = struct{}{}
	}
}

// take gives up to so many.
func (r *removals) take(most int) (ids []auth.DeviceID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.changed {
		if len(ids) == most {
			break
		}
		ids = append(ids, id)
		delete(r.changed, id)
	}
	return ids
}

// dropRemoved ends the downlinks of devices that are gone.
func (s *Service) dropRemoved(ctx context.Context) error {
	for {
		ids := s.removals.take(1000)
		if len(ids) == 0 {
			return nil
		}
		gone, err := s.gone(ctx, ids)
		if err != nil {
			s.removals.again(ids)
			return err
		}
		for i, id := range gone {
			if _, err := s.Drop(ctx, id); err != nil {
				s.removals.again(gone[i:])
				return err
			}
		}
	}
}

// gone are those of the devices that are not there any more, but have downlinks.
func (s *Service) gone(ctx context.Context, ids []auth.DeviceID) (gone []auth.DeviceID, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	pipe := s.cfg.Client.Pipeline()
	open, there := make([]*redis.IntCmd, len(ids)), make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		p := s.cfg.Keys.Partition(id)
		open[i], there[i] = pipe.Exists(ctx, openKey(s.cfg.Keys, p, id)), pipe.Exists(ctx, s.cfg.Keys.Key(p, "device:"+string(id)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("%w: look for removed devices: %w", ErrUnavailable, err)
	}
	for i, id := range ids {
		if open[i].Val() == 1 && there[i].Val() == 0 {
			gone = append(gone, id)
		}
	}
	return gone, nil
}
