package uplink

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// commit hands a checked uplink to its device's lane. The lane gives the verdict.
func (s *Service) commit(u *uplink, done func(Verdict)) {
	e := entry{u: u, done: done, service: s}
	first := s.cfg.Keys.Partition(u.id) * s.cfg.Lanes
	l := s.lanes[first+int(maphash.String(s.seed, string(u.id))%uint64(s.cfg.Lanes))]
	select {
	case l.in <- e:
	default: // far more in flight than Redis takes: say so at once
		e.fail(errBacklog)
	}
}

// entry is an uplink in its lane.
type entry struct {
	u       *uplink
	done    func(Verdict)
	service *Service
}

// settle gives the verdict and lets the uplink go.
func (e *entry) settle(answer, handed string) {
	v, err := e.u.verdict(answer)
	if handed != "" && err == nil {
		v.Downlink = e.service.taken(e.u, handed)
	}
	if v.Outcome == Repeated {
		e.service.limit.refund(string(e.u.id)) // a lost answer costs nothing
	}
	if err != nil {
		v = e.service.refuse(e.u, err)
	} else {
		e.service.cfg.Metrics.accepted(e.u.msg.Via, v, e.u.at)
	}
	e.service.end(e.u)
	e.done(v)
}

// fail answers that the uplink is not known to be stored.
func (e *entry) fail(err error) {
	r := refusal(Unavailable, "unavailable", "the uplink could not be stored now: try again")
	r.cause = err
	e.service.limit.refund(string(e.u.id)) // the device is asked to send again
	v := e.service.refuse(e.u, r)
	e.service.end(e.u)
	e.done(v)
}

var errBacklog = fmt.Errorf("more than %d uplinks wait for Redis", laneQueue)

// laneQueue is how many uplinks a lane holds; a device waits a second at most,
// so a longer queue would only make the answer late.
const laneQueue = 8192

// lane stores uplinks of one partition, a batch at a time, in order. All
// uplinks of a device pass through one lane, so they are stored in the order
// they were verified.
type lane struct {
	cfg       *Config
	stored    *state
	script    *redis.Script
	source    string
	partition int
	name      string // unique to this lane of this process
	seq       uint64 // number of the last batch
	in        chan entry
	batch     []entry
	cmd       []any
	terms     []any  // of downlinks, as the script takes them
	clock     string // "": downlinks go by the clock of Redis
	committed []Committed

	heartbeats []Heard
}

func newLane(cfg *Config, stored *state, node string, p, i int) *lane {
	source := downlink.Rules() + commitSource
	terms, clock := []any{"", 0, 0, 0, 0}, ""
	if cfg.Downlinks != nil {
		terms, clock = cfg.Downlinks.Terms(p), cfg.Downlinks.Clock()
	}
	return &lane{
		terms: terms, clock: clock, cfg: cfg, stored: stored, script: redis.NewScript(source),
		source: source, partition: p, name: fmt.Sprintf("%s-%d", node, i), in: make(chan entry, laneQueue),
	}
}

// newNodeID names a run of the process, so that its batches are its own.
func newNodeID() string { return rand.Text()[:16] }

// run takes whatever waits as one batch, stores it, and goes on, until ctx
// ends and nothing waits any more.
func (l *lane) run(ctx context.Context) {
	for {
		select {
		case e := <-l.in:
			l.flush(l.gather(e))
		case <-ctx.Done():
			for len(l.in) > 0 {
				l.flush(l.gather(<-l.in))
			}
			return
		}
	}
}

// gather is e and what waits behind it, within a batch's bounds.
func (l *lane) gather(e entry) []entry {
	l.batch = append(l.batch[:0], e)
	size := len(e.u.normalised)
	for len(l.batch) < batchUplinks && size < batchBytes {
		select {
		case e = <-l.in:
			l.batch = append(l.batch, e)
			size += len(e.u.normalised)
		default:
			return l.batch
		}
	}
	return l.batch
}

// flush commits a batch and settles its uplinks.
func (l *lane) flush(batch []entry) {
	l.cfg.Metrics.batch(len(batch))
	age := l.cfg.Now().Sub(batch[0].u.at)
	r, err := l.send(batch, time.Now().Add(l.cfg.Deadline-age))
	if err != nil {
		l.stored.failed(err)
		for i := range batch {
			batch[i].fail(err)
		}
		return
	}
	l.stored.succeeded()
	l.trace(batch, r.answers) // before anybody can be given what it stored
	l.announce(r.prev, batch, r.answers)
	for i := range batch {
		batch[i].settle(r.answers[i], r.handed[i])
	}
}

// send has the script store the batch. While its outcome is unknown it is sent
// again under the same number, which stores nothing twice.
func (l *lane) send(batch []entry, deadline time.Time) (r reply, err error) {
	l.seq++
	l.prepare(batch)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		var text string
		if text, err = l.call(ctx); err == nil {
			r, err = parseReply(text, len(batch))
		}
		if err == nil || final(err) {
			return r, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return reply{}, fmt.Errorf("store a batch of %d uplinks: %w", len(batch), err)
		}
	}
}

// prepare lays out EVALSHA with the script's KEYS and ARGV; commit.lua says what they are.
func (l *lane) prepare(batch []entry) {
	ks, cfg, p := l.cfg.Keys, l.cfg, l.partition
	keys := 2 + len(batch)
	if cfg.Once == OnceEnforce {
		keys += len(batch)
	}
	if cfg.Downlinks != nil {
		keys += len(batch)
	}
	trim := int64(0)
	if l.seq%trimEach == 1 {
		trim = cfg.MaxUplinks
	}
	l.cmd = append(l.cmd[:0], "evalsha", l.script.Hash(), keys, UplinksKey(ks, p), laneKey(ks, p, l.name))
	for i := range batch {
		l.cmd = append(l.cmd, &batch[i].u.lay(cfg, p).seenKey)
	}
	for i := range batch {
		if cfg.Once == OnceEnforce {
			l.cmd = append(l.cmd, &batch[i].u.args.newestKey)
		}
	}
	for i := range batch {
		if cfg.Downlinks != nil {
			l.cmd = append(l.cmd, &batch[i].u.args.contactKey)
		}
	}
	l.cmd = append(l.cmd, l.seq, laneRemember.Milliseconds(), string(cfg.Once), cfg.Window*tagSize, cfg.Tolerance.Seconds(), trim)
	l.cmd = append(append(l.cmd, l.terms...), l.newest(), l.clock)
	for i := range batch {
		a := &batch[i].u.args
		l.cmd = append(l.cmd, &a.device, &a.via, &a.at, &a.token, &a.pack, &a.raw, &a.unsigned, &a.tag, &a.newestAt, &a.ack)
	}
}

// newest is where the stream's new entries go on behind, at least.
func (l *lane) newest() string {
	if l.cfg.Newest == nil {
		return "0-0"
	}
	return l.cfg.Newest(l.partition)
}

// call runs the script, and loads it first where Redis does not have it.
func (l *lane) call(ctx context.Context) (string, error) {
	reply, err := l.cfg.Client.Do(ctx, l.cmd...).Text()
	if !redis.HasErrorPrefix(err, "NOSCRIPT") {
		return reply, err
	}
	l.cmd[0], l.cmd[1] = "eval", l.source
	return l.cfg.Client.Do(ctx, l.cmd...).Text()
}

// Commit is a batch as it went into a partition's stream, for those on this
// node who follow it. Its slices are valid during the call only.
type Commit struct {
	Partition int
	Prev      string // the stream's last id before the batch
	Entries   []Committed
	// Heartbeats were accepted too, and added nothing to the stream.
	Heartbeats []Heard
}

// Heard is a device of which an uplink was accepted.
type Heard struct {
	Device auth.DeviceID
	Via    Via
	At     int64 // receipt, Unix ms
}

// Committed is one stored uplink: what its entry says, but for the token.
type Committed struct {
	ID       string
	Device   auth.DeviceID
	Via      Via
	At       int64 // receipt, Unix ms
	Unsigned bool
	Pack     []byte
	Raw      []byte // nil unless Config.KeepRaw
}

// announce tells OnCommit of what the batch added to the stream.
func (l *lane) announce(prev string, batch []entry, answers []string) {
	if l.cfg.OnCommit == nil {
		return
	}
	l.committed, l.heartbeats = l.committed[:0], l.heartbeats[:0]
	for i, a := range answers {
		u := batch[i].u
		if id := storedID(a); id != "" {
			l.committed = append(l.committed, u.committed(l.cfg, id))
		} else if a == answerHeartbeat {
			l.heartbeats = append(l.heartbeats, Heard{Device: u.id, Via: u.msg.Via, At: u.at.UnixMilli()})
		}
	}
	l.cfg.OnCommit(Commit{Partition: l.partition, Prev: prev, Entries: l.committed, Heartbeats: l.heartbeats})
	clear(l.committed) // they are views of what is pooled
}

func (u *uplink) committed(cfg *Config, id string) Committed {
	c := Committed{
		ID: id, Device: u.id, Via: u.msg.Via, At: u.at.UnixMilli(), Unsigned: u.proof.Unsigned, Pack: u.normalised,
	}
	if cfg.KeepRaw {
		c.Raw = u.msg.Body
	}
	return c
}
