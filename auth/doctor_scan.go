package auth

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	doctorPage = 200
	// doctorKeys is how the names of devices' and apps' hashes look, and few others.
	doctorKeys = "m2m:{*}:[ad][pe][pv]*"
	scanEffort = 1000 // keys that one SCAN looks at
)

// doctor is one inspection.
type doctor struct {
	r             *Registry
	in            Inspection
	mend          string // "1", or "0"
	script, terms *redis.Script

	mu sync.Mutex // masters of a cluster are scanned side by side
}

func (d *doctor) found(f Fault) {
	f.Name = nameIf(f)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in.Found(f)
}

// nameIf is the name of a fault's subject, unless that may be anything.
func nameIf(f Fault) string {
	if f.Kind == kindDevice {
		return nameOf(f.Name)
	}
	if !isAppName(f.Name) {
		return "(no app's name)"
	}
	return f.Name
}

func (d *doctor) seen(n int) {
	if d.in.Seen == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in.Seen(n)
}

// hashes inspects all there are, be they in an index or not.
func (d *doctor) hashes(ctx context.Context) error {
	if cluster, ok := d.r.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return d.scan(ctx, master) })
	}
	return d.scan(ctx, d.r.client)
}

func (d *doctor) scan(ctx context.Context, node redis.Cmdable) error {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, doctorKeys, scanEffort).Result()
		if err != nil {
			return err
		}
		for page := range slices.Chunk(keys, doctorPage) {
			if err := d.named(ctx, page); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

// named inspects what the keys are of.
func (d *doctor) named(ctx context.Context, keys []string) error {
	var list []subject
	for _, key := range keys {
		tag, rest, _ := strings.Cut(strings.TrimPrefix(key, "m2m:{"), "}:")
		p, err := strconv.Atoi(tag)
		kind, id, ok := strings.Cut(rest, ":")
		switch {
		case err != nil || !ok || kind != kindDevice && kind != kindApp:
		case !d.belongs(p, kind, id):
			d.found(Fault{kind, id, "its key is where nobody looks for it", "remove the key, or restore it under the right name"})
		default:
			list = append(list, d.subject(p, kind, id))
		}
	}
	return d.hold(ctx, list)
}

// belongs reports whether the registry would look for it there.
func (d *doctor) belongs(p int, kind, id string) bool {
	if kind == kindApp {
		return p == 0 && checkAppName(id) == nil
	}
	parsed, err := ParseDeviceID(id)
	return err == nil && string(parsed) == id && d.r.keys.Partition(parsed) == p
}

// indexes inspects members that there is no hash of.
func (d *doctor) indexes(ctx context.Context) error {
	k := d.r.keys
	if err := d.index(ctx, 0, kindApp, k.apps()); err != nil {
		return err
	}
	for p := range k.Count() {
		if err := d.index(ctx, p, kindDevice, k.devices(p), k.created(p), k.modified(p)); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) index(ctx context.Context, p int, kind string, sets ...string) error {
	for i, set := range sets {
		err := d.members(ctx, set, func(ids []string) error { return d.without(ctx, p, kind, ids, sets[:i]) })
		if err != nil {
			return err
		}
	}
	return nil
}

// without inspects those of the members that there is no hash of. Those of an index before have been inspected.
func (d *doctor) without(ctx context.Context, p int, kind string, ids, before []string) error {
	pipe := d.r.client.Pipeline()
	there, other := make([]*redis.IntCmd, len(ids)), make([][]*redis.FloatCmd, len(ids))
	list := make([]subject, len(ids))
	for i, id := range ids {
		list[i] = d.subject(p, kind, id)
		there[i] = pipe.Exists(ctx, list[i].hash)
		for _, set := range before {
			other[i] = append(other[i], pipe.ZScore(ctx, set, id))
		}
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	var gone []subject
	for i := range ids {
		n, err := there[i].Result()
		if err != nil {
			return err
		}
		had := slices.ContainsFunc(other[i], func(c *redis.FloatCmd) bool { return c.Err() == nil })
		if n == 0 && !had {
			gone = append(gone, list[i])
		}
	}
	return d.hold(ctx, gone)
}

// members visits those of a sorted set, some at a time.
func (d *doctor) members(ctx context.Context, key string, visit func([]string) error) error {
	for cursor := uint64(0); ; {
		pairs, next, err := d.r.client.ZScan(ctx, key, cursor, "", doctorPage).Result()
		if err != nil {
			return err
		}
		names := make([]string, 0, len(pairs)/2)
		for i := 0; i < len(pairs); i += 2 {
			names = append(names, pairs[i])
		}
		for page := range slices.Chunk(names, doctorPage) { // a small set comes whole
			if err := visit(page); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}
