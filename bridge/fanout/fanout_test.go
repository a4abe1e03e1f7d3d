package fanout

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

const testSecret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"

// subscriber takes what is delivered and keeps it.
type subscriber struct {
	mu       sync.Mutex
	msgs     []*broker.Message
	ends     map[broker.Stream]broker.Position
	unwanted bool
}

func (s *subscriber) Deliver(of broker.Stream, msgs []*broker.Message, end broker.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msgs = append(s.msgs, msgs...)
	if s.ends == nil {
		s.ends = map[broker.Stream]broker.Position{}
	}
	s.ends[of] = end
}

func (s *subscriber) end(of broker.Stream) broker.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends[of]
}

func (s *subscriber) want(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwanted = !wanted
}

func (s *subscriber) Wants(string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.unwanted
}

// on gives what came on topics of a prefix.
func (s *subscriber) on(prefix string) (got []*broker.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs {
		if strings.HasPrefix(m.Topic, prefix) {
			got = append(got, m)
		}
	}
	return got
}

// counted checks the numbers of all messages of a stream that was never trimmed.
func (s *subscriber) counted(t *testing.T, prefix string) {
	t.Helper()
	for i, m := range s.on(prefix) {
		if m.N != int64(i)+1 {
			t.Fatalf("message %d has the number %d", i+1, m.N)
		}
	}
}

// node is one bridge's uplink path and live tail.
type node struct {
	uplinks *uplink.Service
	fanout  *Fanout
	sub     *subscriber
	drop    atomic.Bool // own batches do not find room
}

func start(t *testing.T, s *redistest.Server, keys auth.Keyspace, options ...func(*Config)) *node {
	t.Helper()
	client, blocking := s.Client(), s.Client()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Blocking: blocking, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{sub: &subscriber{}}
	cfg := Config{Client: client, Blocking: s.Client(), Keys: keys}
	for _, o := range options {
		o(&cfg)
	}
	n.fanout = New(cfg)
	n.fanout.DeliverTo(n.sub)
	n.uplinks, err = uplink.New(uplink.Config{Client: client, Keys: keys, Registry: registry, MaxRejects: 100, Newest: n.fanout.Newest, OnCommit: func(c uplink.Commit) {
		if !n.drop.Load() {
			n.fanout.Committed(c)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	background(t, registry.Run)
	t.Cleanup(func() { _ = blocking.Close() }) // ends its XREAD
	background(t, n.uplinks.Run)
	background(t, func(ctx context.Context) error { return n.fanout.Run(ctx, func() { close(ready) }) })
	<-ready
	return n
}

func background(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (n *node) send(t *testing.T, id auth.DeviceID, i int) uplink.Verdict {
	t.Helper()
	body := fmt.Sprintf(`[{"bn":"%s","bt":%d,"n":"seq","v":%d}]`, id.BaseName(), 1_700_000_000+i, i)
	return n.uplinks.Accept(context.Background(), &uplink.Message{Via: uplink.MQTT, Login: id, Body: []byte(body)})
}

// addDevices registers n devices and gives their ids.
func addDevices(t *testing.T, c redis.UniversalClient, keys auth.Keyspace, n int) (ids []auth.DeviceID) {
	t.Helper()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: c, Blocking: c, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", i))
		if _, err := registry.PutDevice(t.Context(), auth.Device{ID: id, Secret: testSecret}, auth.Create); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// Two nodes store uplinks at once; subscribers of each get every uplink once,
// in the order of the stream, whichever node stored it.
func TestTwoNodes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		var keys auth.Keyspace
		ids := addDevices(t, s.Client(), keys, 8)
		nodes := []*node{start(t, s, keys), start(t, s, keys)}
		const each = 100
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() {
				for k := range each {
					if v := nodes[i%2].send(t, id, k); v.Outcome != uplink.Stored {
						t.Errorf("%s %d: %+v", id, k, v)
					}
				}
			})
		}
		wg.Wait()
		want, err := s.Client().XRange(t.Context(), "m2m:{0}:uplinks", "-", "+").Result()
		if err != nil || len(want) != each*len(ids) {
			t.Fatalf("%d entries stored, %v", len(want), err)
		}
		for i, n := range nodes {
			n.expect(t, fmt.Sprintf("node %d", i), want)
			if !s.IsMini() {
				n.sub.counted(t, "uplinks/")
			}
		}
	})
}

// expect waits until the subscriber has all that is wanted, and compares.
func (n *node) expect(t *testing.T, name string, want []redis.XMessage) {
	t.Helper()
	var got []*broker.Message
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		changed := n.fanout.Changed()
		if got = n.sub.on("uplinks/"); len(got) >= len(want) {
			break
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d delivered, want %d", name, len(got), len(want))
	}
	for i, m := range got {
		if m.ID.String() != want[i].ID || string(m.Payload) != want[i].Values["pack"] || m.Topic != "uplinks/IMEI/"+m.Device.Value() {
			t.Fatalf("%s: message %d is %s on %s, want %s", name, i, m.ID.String(), m.Topic, want[i].ID)
		}
	}
}

// Another node's uplinks come through while this one stores without a pause.
func TestSteadyLoad(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 3)
	own, other := start(t, s, auth.Keyspace{}), start(t, s, auth.Keyspace{})
	var stop atomic.Bool
	var load sync.WaitGroup
	for _, id := range ids[:2] { // two, so that a commit is always on its way
		load.Go(func() {
			for i := 0; !stop.Load(); i++ {
				own.send(t, id, i)
			}
		})
	}
	defer load.Wait()
	defer stop.Store(true)
	for i := range 20 {
		if v := other.send(t, ids[2], i); v.Outcome != uplink.Stored {
			t.Fatalf("%+v", v)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); len(own.sub.on("uplinks/IMEI/"+ids[2].Value())) < 20; {
		if time.Now().After(deadline) {
			t.Fatal("another node's uplinks starve")
		}
		<-own.fanout.Changed()
	}
}

// What is stored while Redis comes and goes reaches subscribers all the same.
func TestRedisRestarts(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	other := start(t, s, auth.Keyspace{})
	for i := range 30 {
		if i%10 == 5 {
			s.Kill()
			s.Restart()
		}
		for deadline := time.Now().Add(10 * time.Second); !n.send(t, ids[0], i).Outcome.Accepted(); {
			if time.Now().After(deadline) {
				t.Fatal("service did not resume")
			}
		}
	}
	want, err := s.Client().XRange(t.Context(), "m2m:{0}:uplinks", "-", "+").Result()
	if err != nil || len(want) != 30 {
		t.Fatalf("%d entries stored, %v", len(want), err)
	}
	n.expect(t, "own", want)
	other.expect(t, "other", want)
	n.sub.counted(t, "uplinks/")
	other.sub.counted(t, "uplinks/")
}

// An own batch that was dropped for want of room is read from the stream.
func TestDroppedBatch(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	for i := range 20 {
		n.drop.Store(i%3 == 1)
		n.send(t, ids[0], i)
	}
	want, err := s.Client().XRange(t.Context(), "m2m:{0}:uplinks", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	n.expect(t, "node", want)
	n.sub.counted(t, "uplinks/")
}

// When Redis has lost the stream its entries are counted from the start again,
// and subscribers go on with what is new.
func TestStreamIsLost(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	var want []int64
	for i := range 9 {
		if i%3 == 0 {
			if err := s.Client().Del(t.Context(), "m2m:{0}:uplinks").Err(); err != nil {
				t.Fatal(err)
			}
		}
		n.drop.Store(i >= 6) // now in process, now read
		n.send(t, ids[0], i)
		want = append(want, int64(i%3)+1)
		n.until(t, "the uplink", func() bool { return len(n.sub.on("uplinks/")) == i+1 })
	}
	for i, m := range n.sub.on("uplinks/") {
		if m.N != want[i] || !strings.Contains(string(m.Payload), fmt.Sprintf(`"v":%d}`, i)) {
			t.Errorf("message %d has the number %d: %s", i, m.N, m.Payload)
		}
	}
	if end := n.fanout.End(0); end.N != 3 || n.sub.end(0) != end {
		t.Errorf("end %v", end)
	}
}

// When the clock is behind what was handed on before that, new entries reach
// subscribers all the same, whether from memory or read.
func TestStreamIsLostWhileTheClockIsBehind(t *testing.T) {
	s := redistest.Start(t)
	ids := addDevices(t, s.Client(), auth.Keyspace{}, 1)
	n := start(t, s, auth.Keyspace{})
	for i := range 4 {
		ahead := &redis.XAddArgs{
			Stream: "m2m:{0}:uplinks", ID: fmt.Sprintf("%d-0", time.Now().Add(time.Duration(i+1)*time.Hour).UnixMilli()),
			Values: []any{"device", string(ids[0]), "via", "http", "at", 1_700_000_000_000, "token", "", "pack", "[]"},
		}
		if err := s.Client().XAdd(t.Context(), ahead).Err(); err != nil {
			t.Fatal(err)
		}
		n.until(t, "what another node stored", func() bool { return len(n.sub.on("uplinks/")) == 2*i+1 })
		if err := s.Client().Del(t.Context(), ahead.Stream).Err(); err != nil {
			t.Fatal(err)
		}
		n.drop.Store(i%2 == 1)
		n.send(t, ids[0], i)
		n.until(t, "the uplink", func() bool { return len(n.sub.on("uplinks/")) == 2*i+2 })
	}
	for i, m := range n.sub.on("uplinks/")[1:] {
		if before := n.sub.on("uplinks/")[i]; !before.ID.Less(m.ID) {
			t.Errorf("%s comes behind %s", m.ID, before.ID)
		}
	}
}

// BenchmarkCommitted is what one own uplink costs on its way into memory.
func BenchmarkCommitted(b *testing.B) {
	const batch = 32
	pack := make([]byte, 302)
	f := New(Config{})
	f.DeliverTo(discard{})
	tail := f.tails[0]
	tail.log(stream.Uplinks).restart(stream.Position{})
	c := uplink.Commit{Entries: make([]uplink.Committed, batch), Prev: "0-0"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i += batch {
		for k := range c.Entries {
			c.Entries[k] = uplink.Committed{ID: strconv.Itoa(i+k+1) + "-0", Device: "IMEI:356726104408422", Via: uplink.HTTP, Pack: pack}
		}
		f.Committed(c)
		tail.take(b.Context(), nil, <-tail.local)
		c.Prev = c.Entries[batch-1].ID
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/uplink")
}

type discard struct{}

func (discard) Deliver(broker.Stream, []*broker.Message, broker.Position) {}
func (discard) Wants(string) bool                                         { return true }

// Rejects reach those who may see them, on the topic of the claimed device; a
// claim that is no device id makes no topic.
func TestRejects(t *testing.T) {
	s := redistest.Start(t)
	n := start(t, s, auth.Keyspace{})
	n.uplinks.Reject(uplink.Reject{Device: "IMEI:356726104408422", Via: uplink.HTTP, At: time.Now(), Reason: "token-wrong", Detail: "d", Body: []byte("\xff")})
	n.uplinks.Reject(uplink.Reject{Device: "#/+", Via: uplink.MQTT, At: time.Now(), Reason: "login"})
	var got []*broker.Message
	for deadline := time.Now().Add(5 * time.Second); len(got) < 2 && time.Now().Before(deadline); {
		select {
		case <-n.fanout.Changed():
		case <-time.After(50 * time.Millisecond):
		}
		got = n.sub.on("rejects/")
	}
	if len(got) != 2 || got[0].Topic != "rejects/IMEI/356726104408422" || got[1].Topic != "rejects/UNKNOWN/-" {
		t.Fatalf("got %+v", got)
	}
	if p := string(got[0].Payload); !strings.Contains(p, `"reason":"token-wrong"`) || !strings.Contains(p, `"body":"/w=="`) {
		t.Errorf("payload %s", p)
	}
}
