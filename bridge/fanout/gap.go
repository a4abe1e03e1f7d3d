package fanout

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// gapQueue is how many gaps may wait to be written. Each session that cannot
// keep up makes one at a time, and is told of it by the broker in any case.
const gapQueue = 256

// Gap notes in the events stream that a session missed messages. It never blocks.
func (f *Fanout) Gap(g broker.Gap) {
	select {
	case f.gaps <- g:
	default:
		f.cfg.Log.Warn("gap not written to the events stream", "app", g.App, "device", g.Device, "count", g.Count)
	}
}

func (f *Fanout) writeGaps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case g := <-f.gaps:
			if err := f.writeGap(ctx, g); err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn("gap not written to the events stream", "app", g.App, "device", g.Device, "count", g.Count, "error", err)
			}
		}
	}
}

func (f *Fanout) writeGap(ctx context.Context, g broker.Gap) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	session := g.ClientID
	if g.App != "" {
		session = g.App + "/" + g.ClientID
	}
	return f.cfg.Client.XAdd(ctx, &redis.XAddArgs{
		Stream: eventsKey(f.cfg.Keys, f.cfg.Keys.Partition(g.Device)), MaxLen: f.cfg.MaxEvents, Approx: f.cfg.MaxEvents > 0,
		Values: []any{
			"device", string(g.Device), "at", time.Now().UnixMilli(), "kind", "gap", "id", session, "state", "missed",
			"cause", fmt.Sprintf("%d messages from %s to %s: the subscriber was too slow; they are at GET /v1/uplinks?after=", g.Count, g.From, g.To),
		},
	}).Err()
}
