package latest

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/uplink"
)

// forgets are devices that were changed, and so may be gone.
type forgets struct {
	client redis.UniversalClient
	keys   auth.Keyspace
	script *redis.Script
	nudge  chan struct{}

	mu  sync.Mutex
	ids map[auth.DeviceID]struct{}
}

func newForgets(c Config) *forgets {
	return &forgets{
		client: c.Client, keys: c.Keys, script: redis.NewScript(forgetSource),
		nudge: make(chan struct{}, 1), ids: map[auth.DeviceID]struct{}{},
	}
}

// OnChange is told of the registry's changes (auth.Registry.OnChange). Of a
// device that is gone, all goes that is kept of it beside its entries in the
// streams. A removal that no node hears of leaves that behind until a device is
// registered under the id again, which ends it too.
func (p *Projector) OnChange(c auth.Change) {
	if c.Kind != auth.ChangeDevice {
		return
	}
	f := p.forgets
	f.mu.Lock()
	f.ids[c.Device] = struct{}{}
	f.mu.Unlock()
	select {
	case f.nudge <- struct{}{}:
	default:
	}
}

// run looks after the devices that were changed. Those that it could not ask
// about it looks at again.
func (f *forgets) run(ctx context.Context) error {
	f.mu.Lock()
	ids := f.ids
	f.ids = map[auth.DeviceID]struct{}{}
	f.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	for _, reply := range runAll(ctx, f.client, f.script, f.calls(ids)) {
		if err := reply.Err(); err != nil {
			f.again(ids)
			return fmt.Errorf("look whether %d devices are gone: %w", len(ids), err)
		}
	}
	return nil
}

func (f *forgets) again(ids map[auth.DeviceID]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range ids {
		f.ids[id] = struct{}{}
	}
}

// calls are the runs of forget.lua, of devices of one partition each.
func (f *forgets) calls(ids map[auth.DeviceID]struct{}) (calls []call) {
	last := map[int]int{} // of each partition
	for id := range ids {
		part := f.keys.Partition(id)
		i, ok := last[part]
		if !ok || len(calls[i].keys) >= 5*forgetDevices {
			i = len(calls)
			last[part], calls = i, append(calls, call{})
		}
		keys := append([]string{deviceKey(f.keys, id), latestKey(f.keys, id)}, uplink.StateKeys(f.keys, id)...)
		calls[i].keys = append(calls[i].keys, keys...)
	}
	return calls
}
