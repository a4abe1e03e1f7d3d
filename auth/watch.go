package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// What is cached may be trusted only while the changes of its partition are being followed: a change made anywhere is
// known here within leaseFor, or the cache is not used. The longest way: a reply to a read that began at s tells of all
// changes made until s at least, and lets the cache be trusted until s + leaseFor.
const (
	blockFor   = 200 * time.Millisecond // a read waits so long for a change
	replyLimit = 700 * time.Millisecond // and its reply, then the link counts as broken
	leaseFor   = 900 * time.Millisecond
	resyncWait = 50 * time.Millisecond // after a failure, before starting anew
	readCount  = 1000                  // changes of one stream in a reply
)

// lease is until when a partition's cache may be trusted.
type lease struct{ until atomic.Pointer[time.Time] }

func (l *lease) valid(now time.Time) bool {
	until := l.until.Load()
	return until != nil && now.Before(*until)
}

func (r *Registry) trusted(partition int) bool { return r.leases[partition].valid(r.now()) }

// watcher follows the change streams of some partitions on one connection.
type watcher struct {
	r       *Registry
	lease   lease
	streams []*changeStream
	failing bool // told in the log
}

// changeStream is one partition's stream, and how far it has been read.
type changeStream struct {
	key, countKey string
	last          string // id of the last entry
	count         int64  // its number
	owed          int64  // a number known to have been given: the next read must reach it
}

// newWatchers makes one for all partitions, or, on a cluster, where a command reaches only one slot, one for each.
func (r *Registry) newWatchers() ([]*lease, []*watcher) {
	leases := make([]*lease, r.keys.Count())
	var all []*watcher
	_, cluster := r.blocking.(*redis.ClusterClient)
	for p := range leases {
		if cluster || len(all) == 0 {
			all = append(all, &watcher{r: r})
		}
		w := all[len(all)-1]
		w.streams = append(w.streams, &changeStream{key: r.keys.changes(p), countKey: r.keys.changeCount(p)})
		leases[p] = &w.lease
	}
	return leases, all
}

// run follows until ctx ends; whatever goes wrong, it forgets everything and starts anew.
func (w *watcher) run(ctx context.Context) {
	defer w.lease.until.Store(nil)
	for ctx.Err() == nil {
		err := w.follow(ctx)
		w.lease.until.Store(nil)
		w.r.forgetAll()
		if ctx.Err() != nil {
			return
		}
		w.report(err)
		select {
		case <-ctx.Done():
		case <-time.After(resyncWait):
		}
	}
}

// report logs a change of state only.
func (w *watcher) report(err error) {
	if err != nil && !w.failing {
		w.r.log.Warn("registry changes not followed, cache not used", "error", err)
	}
	if err == nil && w.failing {
		w.r.log.Info("registry changes followed again")
	}
	w.failing = err != nil
}

// follow reads changes from now on, until one may have been missed. The cache is emptied after the position is known and
// before it may be trusted: what it holds then was read after the position.
func (w *watcher) follow(ctx context.Context) error {
	for _, s := range w.streams {
		if err := s.seek(ctx, w.r.blocking); err != nil {
			return err
		}
	}
	w.r.forgetAll()
	told := false
	for block := time.Duration(-1); ctx.Err() == nil; block = blockFor { // the first read returns at once
		begun := w.r.now()
		whole, err := w.read(ctx, block)
		if err != nil {
			return err
		}
		if !whole {
			continue
		}
		until := begun.Add(leaseFor)
		w.lease.until.Store(&until)
		if !told {
			w.report(nil)
			w.r.tell(Change{Kind: ChangeAll})
			told = true
		}
	}
	return ctx.Err()
}

// seek goes to the end of the stream.
func (s *changeStream) seek(ctx context.Context, c redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, replyLimit)
	defer cancel()
	tx := c.TxPipeline()
	newest, count := tx.XRevRangeN(ctx, s.key, "+", "-", 1), tx.Get(ctx, s.countKey)
	if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("find the end of %s: %w", s.key, err)
	}
	s.last, s.owed = "0-0", 0
	if entries := newest.Val(); len(entries) > 0 {
		s.last = entries[0].ID
	}
	var err error
	if s.count, err = count.Int64(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read %s: %w", s.countKey, err)
	}
	return nil
}

// read waits for changes, at most so long, and passes them on; whole is false if there are more.
func (w *watcher) read(ctx context.Context, block time.Duration) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, replyLimit)
	defer cancel()
	keys := make([]string, 0, 2*len(w.streams))
	for _, s := range w.streams {
		keys = append(keys, s.key)
	}
	for _, s := range w.streams {
		keys = append(keys, s.last)
	}
	// The counts come behind the read on the same connection, hence from the same server: one that was restarted with
	// older data, or a replica that took over, has a smaller count than what has been read.
	pipe := w.r.blocking.Pipeline()
	read := pipe.XRead(ctx, &redis.XReadArgs{Streams: keys, Block: block, Count: readCount})
	counts := make([]*redis.StringCmd, len(w.streams))
	for i, s := range w.streams {
		counts[i] = pipe.Get(ctx, s.countKey)
	}
	_, _ = pipe.Exec(ctx)
	if err := read.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read changes: %w", err)
	}
	whole = true
	for _, got := range read.Val() {
		whole = whole && len(got.Messages) < readCount
		if err := w.stream(got.Stream).apply(w.r, got.Messages); err != nil {
			return false, err
		}
	}
	for i, s := range w.streams {
		if err := s.check(counts[i], whole); err != nil {
			return false, err
		}
	}
	return whole, nil
}

func (w *watcher) stream(key string) *changeStream {
	for _, s := range w.streams {
		if s.key == key {
			return s
		}
	}
	return nil
}

var errMissed = errors.New("changes were missed")

// apply passes changes on, in order; their numbers show whether one is missing.
func (s *changeStream) apply(r *Registry, entries []redis.XMessage) error {
	for _, e := range entries {
		n, kind, ids := changeOf(e)
		if n != s.count+int64(len(ids)) {
			return fmt.Errorf("%w: %s is at %d after %d", errMissed, s.key, n, s.count)
		}
		s.last, s.count = e.ID, n
		for _, id := range ids {
			r.changed(kind, id)
		}
	}
	return nil
}

// check holds what was read against the number of changes there have been. A change made between the two answers is
// owed by the next read.
func (s *changeStream) check(reply *redis.StringCmd, whole bool) error {
	count, err := reply.Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read %s: %w", s.countKey, err)
	}
	if count < s.count || whole && s.count < s.owed {
		return fmt.Errorf("%w: %s has been read to %d, %d or %d were due", errMissed, s.key, s.count, count, s.owed)
	}
	s.owed = count
	return nil
}

// changeOf reads an entry: its number, and which things changed.
func changeOf(e redis.XMessage) (n int64, kind string, ids []string) {
	text, _ := e.Values["n"].(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		n = -1
	}
	kind, _ = e.Values["kind"].(string)
	id, _ := e.Values["id"].(string)
	if kind == kindDevices {
		return n, kindDevice, strings.Split(id, "\t")
	}
	return n, kind, []string{id}
}

// changed forgets a thing, and tells of it.
func (r *Registry) changed(kind, id string) {
	switch kind {
	case kindDevice:
		r.cache.invalidate(DeviceID(id))
		r.tell(Change{Kind: ChangeDevice, Device: DeviceID(id)})
	case kindApp:
		r.apps.invalidate()
		r.tell(Change{Kind: ChangeApp, App: id})
	case kindTrace:
		r.tellTrace(DeviceID(id))
	}
}

func (r *Registry) forgetAll() {
	r.drops.Add(1)
	r.cache.drop()
	r.apps.invalidate()
}
