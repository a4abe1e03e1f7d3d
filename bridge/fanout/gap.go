package fanout

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// gapQueue is how many gaps may wait to be written.
const gapQueue = 256

// gapRest is how long gaps of an events stream are not written there after one
// was: a session that is too slow for the stream would be given ever more of them.
const gapRest = time.Minute

// Gap notes in the events stream that a session missed messages. It never blocks.
func (f *Fanout) Gap(m broker.Missed) {
	select {
	case f.gaps <- m:
	default:
		f.gapLost(m, nil)
	}
}

func (f *Fanout) gapLost(m broker.Missed, err error) {
	f.cfg.Log.Warn("gap not written to the events stream", "app", m.Session.App, "stream", f.Name(m.Stream), "count", m.Count, "error", err)
}

func (f *Fanout) writeGaps(ctx context.Context) {
	rests := map[broker.Stream]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-f.gaps:
			if f.logs[m.Stream].kind == stream.Events {
				if time.Now().Before(rests[m.Stream]) {
					continue // the session itself was told
				}
				rests[m.Stream] = time.Now().Add(gapRest)
			}
			if err := f.writeGap(ctx, m); err != nil && ctx.Err() == nil {
				f.gapLost(m, err)
			}
		}
	}
}

// writeGap adds the event to the partition of the stream concerned.
func (f *Fanout) writeGap(ctx context.Context, m broker.Missed) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l := f.logs[m.Stream]
	return f.cfg.Client.XAdd(ctx, &redis.XAddArgs{
		Stream: stream.Key(f.cfg.Keys, stream.Events, l.partition), MaxLen: f.cfg.MaxEvents, Approx: f.cfg.MaxEvents > 0,
		Values: []any{
			"device", "", "app", m.Session.App, "at", time.Now().UnixMilli(), "kind", "gap", "id", m.Session.App + "/" + m.Session.ClientID,
			"state", "missed", "cause", missed(f.Name(m.Stream), l.kind, m.Gap),
		},
	}).Err()
}

// missed tells people of a gap.
func missed(name string, k stream.Kind, g broker.Gap) string {
	count := "an unknown number of"
	if g.Count != broker.Unknown {
		count = fmt.Sprint(g.Count)
	}
	return fmt.Sprintf("%s messages of %s from %s to %s were missed: they were trimmed before they were read, too large for the client, or it takes QoS 0 and was too slow; what is still kept of them is at GET /v1/%s?after=%s",
		count, name, g.From, g.To, k, g.From)
}
