package presence

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
)

const (
	imei     = auth.DeviceID("IMEI:356726104408422")
	imei2    = auth.DeviceID("IMEI:356726104408423")
	patience = 10 * time.Second
)

// world is one Redis with a registry; nodes are on it.
type world struct {
	*testing.T
	client   redis.UniversalClient
	registry *auth.Registry
	keys     auth.Keyspace

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T, s *redistest.Server, keys auth.Keyspace) *world {
	t.Helper()
	return newWorldOn(t, s.Client(), keys)
}

func newWorldOn(t *testing.T, client redis.UniversalClient, keys auth.Keyspace) *world {
	t.Helper()
	w := &world{T: t, client: client, keys: keys, now: time.UnixMilli(1_800_000_000_000)}
	var err error
	if w.registry, err = auth.NewRegistry(auth.RegistryConfig{Client: w.client, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	w.register(imei, imei2)
	return w
}

func (w *world) register(ids ...auth.DeviceID) {
	w.Helper()
	for _, id := range ids {
		if _, err := w.registry.PutDevice(context.Background(), auth.Device{ID: id, Secret: "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"}, auth.Upsert); err != nil {
			w.Fatalf("put device: %v", err)
		}
	}
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) wait(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

// node is one whose writes are made when the test says so.
type node struct {
	*Presence
	w    *world
	lost []loss
}

func (w *world) node(name string) *node {
	n := &node{w: w}
	n.Presence = New(Config{Client: w.client, Keys: w.keys, Registry: w.registry, Node: name, MaxEvents: 1000, Now: w.clock})
	n.EndBy(func(d auth.DeviceID, session uint64) {
		n.lost = append(n.lost, loss{d, session})
		n.Offline(d, session, "taken over")
	})
	n.beats.swept = make([]time.Time, n.keys.Count())
	return n
}

// flush writes all that waits.
func (n *node) flush() {
	n.w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, q := range []queue{n.links, n.pulses, n.removed} {
		n.drain(ctx, q)
	}
	if ctx.Err() != nil {
		n.w.Fatal("not written")
	}
}

// hear has a device's uplink accepted over HTTP at the world's time.
func (n *node) hear(d auth.DeviceID) {
	n.Committed(uplink.Commit{Entries: []uplink.Committed{{Device: d, Via: uplink.HTTP, At: n.w.clock().UnixMilli()}}})
}

func (n *node) state(d auth.DeviceID) State {
	n.w.Helper()
	states, err := n.Get(context.Background(), []auth.DeviceID{d})
	if err != nil {
		n.w.Fatal(err)
	}
	return states[d]
}

func (n *node) want(d auth.DeviceID, state, via, cause string) {
	n.w.Helper()
	if got := n.state(d); got.State != state || got.Via != via || got.Cause != cause {
		n.w.Fatalf("%s is %+v, want %s over %s: %s", d, got, state, via, cause)
	}
}

// events are those of a device so far.
func (w *world) events(d auth.DeviceID) (list []string) {
	w.Helper()
	for _, e := range w.entries() {
		if e.Fields.Text("device") == string(d) && e.Fields.Text("kind") == "presence" {
			list = append(list, e.Fields.Text("state")+" "+e.Fields.Text("cause"))
		}
	}
	return list
}

func (w *world) entries() (list []stream.Entry) {
	w.Helper()
	for p := range w.keys.Count() {
		found, err := w.client.XRange(context.Background(), stream.Key(w.keys, stream.Events, p), "-", "+").Result()
		if err != nil {
			w.Fatal(err)
		}
		for _, m := range found {
			e := stream.Entry{Kind: stream.Events, Partition: p}
			e.ID, _ = stream.ParseID(m.ID)
			for k, v := range m.Values {
				e.Fields = append(e.Fields, k, v.(string))
			}
			list = append(list, e)
		}
	}
	return list
}

// tell gives all events to the nodes, as their tails do.
func (w *world) tell(nodes ...*node) {
	w.Helper()
	list := w.entries()
	for _, n := range nodes {
		n.Events(list)
		n.flush()
	}
}

func imeiOf(n int) auth.DeviceID { return auth.DeviceID("IMEI:" + strconv.Itoa(100_000_000_000_000+n)) }

// expire ends a run's lease, as its death does in time.
func (w *world) expire(n *node) {
	w.Helper()
	for p := range w.keys.Count() {
		if err := w.client.ZAddXX(context.Background(), n.keys.runs(p), redis.Z{Score: 1, Member: n.run}).Err(); err != nil {
			w.Fatal(err)
		}
	}
}
