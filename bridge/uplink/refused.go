package uplink

import (
	"context"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// refusals is what a batch of rejects adds to the count of one device.
type refusals struct {
	count int
	last  *Reject
}

// countRefused counts the rejects of a batch by device, a script for each
// device however many they are.
func (w *rejecter) countRefused(ctx context.Context, p redis.Pipeliner, batch []Reject) {
	by := map[auth.DeviceID]refusals{}
	for i := range batch {
		if id, err := auth.ParseDeviceID(batch[i].Device); err == nil {
			by[id] = refusals{by[id].count + 1, &batch[i]}
		}
	}
	for id, r := range by {
		part := w.cfg.Keys.Partition(id)
		keys := []string{deviceKey(w.cfg.Keys, part, id), refusedKey(w.cfg.Keys, part, id)}
		// By its text, as a pipeline cannot be answered that the script is not known.
		p.Eval(ctx, refusedSource, keys, r.count, r.last.At.UnixMilli())
	}
}
