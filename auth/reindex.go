package auth

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Devices written before there were indexes by time and term are in neither. Where the count of devices and that of the
// index by creation differ, the indexes are made whole, at the start; until then a search may miss devices.

const (
	reindexPage  = 500
	reindexPause = time.Second // after a failure
)

// reindex makes the indexes of all partitions whole.
func (r *Registry) reindex(ctx context.Context) {
	for p := range r.keys.Count() {
		for ctx.Err() == nil {
			err := r.reindexPartition(ctx, p)
			if err == nil {
				break
			}
			r.log.Debug("devices not indexed", "partition", p, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(reindexPause):
			}
		}
	}
}

func (r *Registry) reindexPartition(ctx context.Context, p int) error {
	pipe := r.client.Pipeline()
	devices, created := pipe.ZCard(ctx, r.keys.devices(p)), pipe.ZCard(ctx, r.keys.created(p))
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	if devices.Val() == created.Val() {
		return nil
	}
	r.log.Info("devices are being indexed", "partition", p, "devices", devices.Val())
	for after := "-"; ; {
		ids, err := r.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: r.keys.devices(p), ByLex: true, Start: after, Stop: "+", Count: reindexPage}).Result()
		if err != nil {
			return unavailable(err)
		}
		if len(ids) == 0 {
			return nil
		}
		if err := r.reindexDevices(ctx, p, ids); err != nil {
			return err
		}
		after = "(" + ids[len(ids)-1]
	}
}

// reindexDevices adds some to the indexes. A term that a device loses meanwhile may stay: no search believes it.
func (r *Registry) reindexDevices(ctx context.Context, p int, ids []string) error {
	devices := make([]DeviceID, len(ids))
	for i, id := range ids {
		devices[i] = DeviceID(id)
	}
	all, err := r.readDevices(ctx, devices)
	if err != nil {
		return err
	}
	pipe := r.client.Pipeline()
	for i := range all {
		d := &all[i].device
		if !all[i].rec.exists || all[i].damaged {
			continue
		}
		pipe.ZAdd(ctx, r.keys.created(p), redis.Z{Score: float64(d.CreatedAt.UnixMilli()), Member: string(d.ID)})
		pipe.ZAddNX(ctx, r.keys.modified(p), redis.Z{Score: float64(d.Revision()), Member: string(d.ID)})
		for _, term := range d.terms() {
			pipe.ZAdd(ctx, r.keys.terms(p), redis.Z{Member: term})
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}
