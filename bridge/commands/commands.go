// Package commands takes downlinks that integrations add to the commands streams in Redis, each once: what could not be
// created is in the rejects stream, with its reason. It knows only how to read an entry; bridge/downlink does the rest.
package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// Config is what a Commands needs.
type Config struct {
	Client   redis.UniversalClient
	Blocking redis.UniversalClient // of its own, for reads that wait
	Keys     auth.Keyspace
	Node     string // unlike that of any other node, and of this one's life before

	Create func(ctx context.Context, d downlink.Draft) (downlink.Downlink, bool, error)
	Reject func(Rejected) // must not block

	Log *slog.Logger
}

// Rejected is a command that was not carried out.
type Rejected struct {
	Device string // as it was given
	Detail string
	Pack   string // as it was given, or text, or data
}

// Commands reads the streams; make one with New.
type Commands struct {
	cfg Config
}

// New makes a Commands; it asks nothing of Redis.
func New(c Config) *Commands { return &Commands{cfg: c} }

const (
	group     = "m2mbridge"
	blockFor  = time.Second            // a read waits so long
	readLimit = 3 * time.Second        // for its reply
	readCount = 100                    // commands of a stream at once
	pause     = 500 * time.Millisecond // after a failure
	orphaned  = 30 * time.Second       // a command that its node has had for so long is taken by another
	claimEach = 10 * time.Second       // between looks for such
)

// Key is the stream of a partition's commands.
func Key(k auth.Keyspace, p int) string { return k.Key(p, "commands") }

// Run carries commands out until ctx ends; it returns nil then.
func (c *Commands) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, part := range c.parts() {
		g.Go(func() error { part.run(ctx); return nil })
	}
	return g.Wait()
}

// parts are readers of all partitions together, or, on a cluster, where a command reaches one slot only, of one each.
func (c *Commands) parts() []*reader {
	var all []*reader
	_, cluster := c.cfg.Blocking.(*redis.ClusterClient)
	for p := range c.cfg.Keys.Count() {
		if cluster || len(all) == 0 {
			all = append(all, &reader{c: c})
		}
		r := all[len(all)-1]
		r.keys = append(r.keys, Key(c.cfg.Keys, p))
	}
	return all
}

// reader carries out the commands of some streams.
type reader struct {
	c       *Commands
	keys    []string
	ready   bool // the group is there
	own     bool // there may be commands of ours that were not carried out: they come first
	claimed time.Time
	failing bool
}

func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.once(ctx)
		if ctx.Err() != nil {
			return
		}
		r.report(err)
		if err != nil {
			r.ready, r.own = false, true
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// report logs a change of state only.
func (r *reader) report(err error) {
	if err != nil && !r.failing {
		r.c.cfg.Log.Warn("commands are not read", "error", err)
	}
	if err == nil && r.failing {
		r.c.cfg.Log.Info("commands are read again")
	}
	r.failing = err != nil
}

// once reads and carries out what there is, or waits for it.
func (r *reader) once(ctx context.Context) error {
	if err := r.join(ctx); err != nil {
		return err
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	if r.own {
		more, err := r.read(ctx, "0", -1)
		r.own = more
		return err
	}
	_, err := r.read(ctx, ">", blockFor)
	return err
}

// join makes the group where it is not there. Commands from before are carried out too.
func (r *reader) join(ctx context.Context) error {
	if r.ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	pipe := r.c.cfg.Client.Pipeline()
	replies := make([]*redis.StatusCmd, len(r.keys))
	for i, key := range r.keys {
		replies[i] = pipe.XGroupCreateMkStream(ctx, key, group, "0")
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return fmt.Errorf("join the group of commands: %w", err)
		}
	}
	r.ready = true
	return nil
}

// claim takes over what a node that is gone had begun.
func (r *reader) claim(ctx context.Context) error {
	if time.Since(r.claimed) < claimEach {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	pipe := r.c.cfg.Client.Pipeline()
	replies := make([]*redis.XAutoClaimCmd, len(r.keys))
	for i, key := range r.keys {
		replies[i] = pipe.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: key, Group: group, Consumer: r.c.cfg.Node, MinIdle: orphaned, Start: "0", Count: readCount,
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("claim commands: %w", err)
	}
	for i, reply := range replies {
		entries, _ := reply.Val()
		if err := r.carryOut(ctx, r.keys[i], entries); err != nil {
			return err
		}
	}
	r.claimed = time.Now()
	return nil
}

// read carries out those from an id on; more says whether there were any.
func (r *reader) read(ctx context.Context, from string, block time.Duration) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	streams := append([]string(nil), r.keys...)
	for range r.keys {
		streams = append(streams, from)
	}
	found, err := r.c.cfg.Blocking.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: r.c.cfg.Node, Streams: streams, Count: readCount, Block: block,
	}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read commands: %w", err)
	}
	for _, s := range found {
		more = more || len(s.Messages) > 0
		if err := r.carryOut(ctx, s.Stream, s.Messages); err != nil {
			return true, err
		}
	}
	return more, nil
}

// carryOut creates the downlinks of some commands, and takes those away that need nothing more.
func (r *reader) carryOut(ctx context.Context, key string, entries []redis.XMessage) error {
	var settled []string
	var failed error
	for _, e := range entries {
		if failed = r.one(ctx, key, &e); failed != nil {
			break
		}
		settled = append(settled, e.ID)
	}
	if len(settled) > 0 {
		pipe := r.c.cfg.Client.TxPipeline()
		pipe.XAck(ctx, key, group, settled...)
		pipe.XDel(ctx, key, settled...)
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("settle commands: %w", err)
		}
	}
	return failed
}

// one carries a command out, or rejects it; an error says that it must be tried again.
func (r *reader) one(ctx context.Context, key string, e *redis.XMessage) error {
	text := func(name string) string { s, _ := e.Values[name].(string); return s }
	reject := func(err error) error {
		r.c.cfg.Reject(Rejected{Device: text("device"), Detail: "command " + e.ID + ": " + err.Error(), Pack: cmp.Or(text("pack"), text("text"), text("data"))})
		return nil
	}
	d, err := draftOf(e.Values)
	if err != nil {
		return reject(err)
	}
	d.By = "command " + e.ID
	if d.Key == "" { // carried out again after a crash it makes no second downlink
		d.Once = "command " + key + " " + e.ID
	}
	_, _, err = r.c.cfg.Create(ctx, d)
	switch {
	case errors.Is(err, downlink.ErrUnavailable):
		return err
	case err != nil:
		return reject(err)
	}
	return nil
}

// Stuck counts the commands that a node took and has neither carried out nor
// refused for so long. Another takes them over, where one runs.
func Stuck(ctx context.Context, client redis.UniversalClient, k auth.Keyspace, since time.Duration) (n int, err error) {
	pipe := client.Pipeline()
	var replies []*redis.XPendingExtCmd
	for p := range k.Count() {
		replies = append(replies, pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: Key(k, p), Group: group, Idle: since, Start: "-", End: "+", Count: readCount,
		}))
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for _, reply := range replies {
		pending, err := reply.Result()
		if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") { // no node has been here
			return n, fmt.Errorf("look for commands that are stuck: %w", err)
		}
		n += len(pending)
	}
	return n, nil
}
