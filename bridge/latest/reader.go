package latest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
)

// Reader tells the latest values of devices.
type Reader struct {
	client  redis.UniversalClient
	keys    auth.Keyspace
	seen    *uplink.Reader
	streams *stream.Reader
}

// NewReader makes a Reader.
func NewReader(client redis.UniversalClient, keys auth.Keyspace) *Reader {
	return &Reader{client: client, keys: keys, seen: uplink.NewReader(client, keys), streams: stream.NewReader(client, keys)}
}

// Get gives a device's latest values, by name. Those of its last acknowledged
// uplink are among them, though the Projector has not come to it yet; uplinks
// before that one show within a second or two.
func (r *Reader) Get(ctx context.Context, id auth.DeviceID) ([]Value, error) {
	texts, err := r.client.HGetAll(ctx, latestKey(r.keys, id)).Result()
	if err != nil {
		return nil, fmt.Errorf("read latest values of %s: %w", id, err)
	}
	last, err := r.last(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the last uplink of %s: %w", id, err)
	}
	for name, v := range last {
		if was, ok := texts[name]; !ok || !v.before(was) {
			texts[name] = string(v.append(nil))
		}
	}
	return values(texts), nil
}

// last is what the device's last uplink says; nothing when it was trimmed.
func (r *Reader) last(ctx context.Context, id auth.DeviceID) (map[string]*value, error) {
	seen, err := r.seen.Seen(ctx, []auth.DeviceID{id})
	if err != nil || seen[0].StreamID == "" {
		return nil, err
	}
	at, err := stream.ParseID(seen[0].StreamID)
	if err != nil {
		return nil, err
	}
	entries, err := r.streams.Get(ctx, stream.Uplinks, r.keys.Partition(id), []stream.ID{at})
	if err != nil || len(entries) == 0 || entries[0].Fields.Text("device") != string(id) {
		return nil, err
	}
	var k packs
	d, _ := pending{}.device(id, &entries[0])
	k.take(d, &entries[0])
	return d.values, nil
}

// before tells whether v is older than a stored value.
func (v *value) before(text string) bool {
	was, ok := parse("", text)
	if !ok {
		return false
	}
	id, _ := stream.ParseID(was.ID)
	return !(&value{us: was.Time.UnixMicro(), id: id}).gives(v.us, v.id)
}

// values reads a device's hash. What is no value of ours is passed over.
func values(texts map[string]string) []Value {
	list := make([]Value, 0, len(texts))
	for name, text := range texts {
		if v, ok := parse(name, text); ok {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b Value) int { return strings.Compare(a.Name, b.Name) })
	return list
}
