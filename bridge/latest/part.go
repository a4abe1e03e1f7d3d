package latest

import (
	"math"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
)

// part is one partition as this node projects it.
type part struct {
	partition int
	held      bool            // this node has the lease, as far as it knows
	pos       stream.Position // all up to here is merged into pending
	written   stream.ID       // all up to here is in Redis, and the cursor says so
	pending   pending
	bytes     int    // of pending, about
	first     uint64 // the oldest uplink in pending, Unix ms
	packs     packs
}

// restart goes on from the cursor in Redis.
func (t *part) restart(cursor stream.ID) {
	t.held, t.pos, t.written = true, stream.At(cursor), cursor
	t.empty()
}

// lose leaves the partition to the node that has it. What was not written is
// behind the cursor, from which that one goes on.
func (t *part) lose() {
	t.held = false
	t.empty()
}

func (t *part) empty() { t.pending, t.bytes, t.first = pending{}, 0, 0 }

// take merges an uplink.
func (t *part) take(e *stream.Entry) {
	t.pos = stream.Position{ID: e.ID, N: e.N}
	id, err := auth.ParseDeviceID(e.Fields.Text("device"))
	if err != nil {
		return
	}
	if t.first == 0 {
		t.first = e.ID.MS
	}
	d, grown := t.pending.device(id, e)
	t.bytes += grown + t.packs.take(d, e)
}

// lag is how long the oldest uplink that is not written has waited.
func (t *part) lag(now time.Time) time.Duration {
	if t.first == 0 {
		return 0
	}
	return max(now.Sub(time.UnixMilli(int64(t.first))), 0)
}

// merges are the runs of merge.lua that write what is pending.
func (t *part) merges(keys auth.Keyspace, node string) (calls []call) {
	var c call
	devices, values := 0, 0
	for id, d := range t.pending {
		if len(d.values) == 0 {
			continue
		}
		if c.keys == nil || devices == mergeDevices || values >= mergeValues {
			calls = append(calls, call{keys: []string{leaseKey(keys, t.partition)}, args: []any{node, MaxNames}})
			devices, values = 0, 0
		}
		c = calls[len(calls)-1]
		c.keys = append(c.keys, deviceKey(keys, id), latestKey(keys, id))
		c.args = d.appendArgs(c.args)
		calls[len(calls)-1] = c
		devices, values = devices+1, values+len(d.values)
	}
	return calls
}

// appendArgs are a device's arguments of merge.lua.
func (d *device) appendArgs(args []any) []any {
	names := d.newest()
	names = names[:min(MaxNames, len(names))]
	first := len(args)
	args = append(args, len(names), d.oldest, nil, nil)
	oldest, newest := int64(math.MaxInt64), int64(0)
	for _, name := range names {
		v := d.values[name]
		args = append(args, name, v.append(make([]byte, 0, textSize+v.size())))
		oldest, newest = min(oldest, v.us), max(newest, v.us)
	}
	args[first+2], args[first+3] = appendTime(nil, oldest), appendTime(nil, newest)
	return args
}
