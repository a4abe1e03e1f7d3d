package trace

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// key is the stream of a device's steps, there while somebody looks at it, and
// streamFor longer. Its entries have one field, a step in JSON.
func key(ks auth.Keyspace, id auth.DeviceID) string {
	return ks.Key(ks.Partition(id), "trace:"+string(id))
}

const (
	fieldStep  = "step"
	streamMax  = 1000             // entries, about: the steps that several nodes kept, and some more
	streamFor  = 90 * time.Second // longer than wantFor: what is followed does not run out
	pageEnough = 4 * streamMax
)

// write appends steps to the streams of their devices, and has the streams live
// on. What fails half way is written again: readers know the numbers.
func (t *Trace) write(ctx context.Context, all []news) error {
	_, err := t.cfg.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range all {
			stream := key(t.cfg.Keys, all[i].id)
			for j := range all[i].steps {
				text, err := json.Marshal(&all[i].steps[j])
				if err != nil {
					return fmt.Errorf("write a step of %s: %w", all[i].id, err)
				}
				p.XAdd(ctx, &redis.XAddArgs{Stream: stream, MaxLen: streamMax, Approx: true, Values: []any{fieldStep, text}})
			}
			p.Expire(ctx, stream, streamFor)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("append steps: %w", err)
	}
	return nil
}

// read gives the steps behind an entry, "" for all there are, and the id of the
// last entry.
func (t *Trace) read(ctx context.Context, id auth.DeviceID, after string) (steps []Step, last string, err error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	entries, err := t.cfg.Client.XRangeN(ctx, key(t.cfg.Keys, id), from, "+", pageEnough).Result()
	if err != nil {
		return nil, after, fmt.Errorf("%w: read the steps of %s: %w", ErrUnavailable, id, err)
	}
	last = after
	for _, e := range entries {
		last = e.ID
		var s Step
		text, _ := e.Values[fieldStep].(string)
		if json.Unmarshal([]byte(text), &s) == nil { // else it is not the bridge's
			steps = append(steps, s)
		}
	}
	return steps, last, nil
}
