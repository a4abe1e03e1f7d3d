// Package trace keeps the last steps of each device's messages, so that one can
// see after the fact, and live, what became of them: bytes in, verdict, pack,
// stream id, deliveries, downlinks, SMS. Those who know of a step call Message,
// Delivered or Note; who wants to see a device's steps, of all nodes, calls
// Follow or Last.
//
// Steps are kept in this process's memory, bounded. Only while somebody follows
// a device, who may be at any node, are its steps written to Redis.
//
// It does not know how a message is judged, and is never shown a token or a body.
package trace

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// Kept is how many steps of each device are kept at least, while its memory is
// not needed for others; readers are given as many at most.
const Kept = 50

// Standing is what is known of the device that a step is said to be about.
// Ids can be invented: without it a stranger could push devices out.
type Standing uint8

// The standings.
const (
	Claimed Standing = iota // somebody says so: recorded only for a device that has steps already
	Known                   // the device exists, but the message may not be its own
	Proven                  // it is the device's own
)

// Message is a message with its verdict.
type Message struct {
	Device   auth.DeviceID
	Standing Standing

	Via    string // http or mqtt
	Remote string // address of the peer
	Bytes  int    // length of the body
	Token  bool   // a message token came with it
	At     time.Time
	Took   time.Duration

	Outcome        string
	Reason, Detail string // of a refusal; nothing unverified, and no secret
	Secret         int    // which one the token is of; 0: it does not say
	Unsigned       bool

	Records, Measurements int    // of the pack; 0 records: it was not read
	ID                    string // in the uplinks stream; "": it is not there
}

// Delivery is a message of a stream on its way to subscribers of this node.
type Delivery struct {
	Device      auth.DeviceID
	Topic       string
	MS, Seq     uint64 // its stream id, <MS>-<Seq>
	Subscribers int
}

// Registry is what a trace asks of auth.Registry.
type Registry interface {
	Announcer
	OnTrace(f func(auth.DeviceID))
	OnChange(f func(auth.Change))
}

// Config is what a Trace is made of.
type Config struct {
	Memory   int64 // bytes for steps, at least 64 KiB
	Node     string
	Client   redis.UniversalClient
	Keys     auth.Keyspace
	Registry Registry
	Log      *slog.Logger // nil: nothing is logged
}

// Trace keeps steps. Its methods may be called from any goroutine.
type Trace struct {
	cfg    Config
	seed   maphash.Seed
	shards []shard
	work   chan struct{} // of one: there is something to be told

	mu     sync.Mutex
	wanted map[auth.DeviceID]*want // by anybody, here or elsewhere
	asked  map[auth.DeviceID]*ask  // by this node's followers
	broken bool                    // Redis did not take the last steps
	missed bool                    // announcements may have been
}

const maxShards = 16

// New makes a Trace. It takes memory only when there is something to keep.
func New(c Config) *Trace {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Trace{
		cfg: c, seed: maphash.MakeSeed(), work: make(chan struct{}, 1),
		wanted: map[auth.DeviceID]*want{}, asked: map[auth.DeviceID]*ask{},
	}
	n := int64(1)
	for n < maxShards && c.Memory/(2*n) >= 1<<20 {
		n *= 2
	}
	t.shards = make([]shard, n)
	share := max(c.Memory/n, 64<<10)
	for i := range t.shards {
		// An eighth is for slots, which is 2.6 blocks to each of as many devices as
		// there can be; a busy one has about six.
		t.shards[i].limits = limits{chunks: int(share * 7 / 8 / (blocksPerChunk * blockBytes)), slots: int(share / 8 / slotBytes)}
		// So that numbers grow over restarts too.
		t.shards[i].n = uint64(time.Now().UnixMicro())
	}
	c.Registry.OnTrace(t.want)
	c.Registry.OnChange(t.changed)
	return t
}

func (t *Trace) shard(id auth.DeviceID) (*shard, uint64) {
	h := maphash.String(t.seed, string(id))
	return &t.shards[h%uint64(len(t.shards))], h
}

// Message records a message and its verdict; it keeps nothing of m.
func (t *Trace) Message(m *Message) {
	var buf [maxRecord]byte
	t.record(m.Device, m.Standing, appendMessage(buf[:0], m))
}

// Delivered records that subscribers of this node were given a message.
func (t *Trace) Delivered(d *Delivery) {
	var buf [maxRecord]byte
	t.record(d.Device, Proven, appendDelivered(buf[:0], d, time.Now()))
}

// Note records a step of kind Downlink, SMS or Connection in a short text.
func (t *Trace) Note(id auth.DeviceID, standing Standing, kind Kind, text string) {
	var buf [maxRecord]byte
	for i := range notes {
		if notes[i] == kind {
			t.record(id, standing, appendNote(buf[:0], byte(i), text, time.Now()))
			return
		}
	}
}

func (t *Trace) record(id auth.DeviceID, standing Standing, rec []byte) {
	if id == "" || len(id) > maxID || len(rec) > maxRecord {
		return
	}
	sh, hash := t.shard(id)
	if sh.add(hash, id, standing, rec) {
		t.nudge()
	}
}

// kept are the steps of a device on this node, oldest first.
func (t *Trace) kept(id auth.DeviceID) []Step {
	sh, hash := t.shard(id)
	return expand(t.cfg.Node, id, sh.records(hash, id))
}

// Stats are counts of what is kept here.
type Stats struct {
	Devices, Bytes int64
	Evicted        uint64
}

// Stats counts.
func (t *Trace) Stats() (st Stats) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		st.Devices += int64(len(sh.byHash))
		st.Bytes += int64(len(sh.chunks)*blocksPerChunk*blockBytes + len(sh.slots)*slotBytes)
		st.Evicted += sh.evicted
		sh.mu.Unlock()
	}
	return st
}
