package auth

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// kindTrace is an entry of a change stream that is no change: somebody follows
// the device's steps. All nodes read the stream anyway.
const kindTrace = "trace"

//go:embed lua/announce.lua
var announceSource string

// AnnounceTrace tells all nodes that somebody follows a device's steps.
func (r *Registry) AnnounceTrace(ctx context.Context, id DeviceID) error {
	p := r.keys.Partition(id)
	_, _, err := r.run(ctx, redis.NewScript(announceSource), []string{r.keys.changes(p), r.keys.changeCount(p)}, kindTrace, string(id), changesKept)
	return err
}

// OnTrace has f called for each announcement, by this node or another, from Run. f must not block. It is apart from
// OnChange since nothing has changed: whoever listens there need not look at any device again.
func (r *Registry) OnTrace(f func(DeviceID)) {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.traces = append(r.traces, f)
}

func (r *Registry) tellTrace(id DeviceID) {
	r.listening.Lock()
	listeners := r.traces // only ever appended to
	r.listening.Unlock()
	for _, f := range listeners {
		f(id)
	}
}
