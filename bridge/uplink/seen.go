package uplink

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
)

// Seen is what is known of a device's messages. The zero Seen is a device that
// was never heard of.
type Seen struct {
	Uplinks    int64 // stored
	Repeats    int64 // of uplinks that were stored before; in OnceObserve they were stored again
	Heartbeats int64

	At       time.Time // receipt of the last accepted message, a repeat or heartbeat too; zero: none
	Via      Via       // of that message
	StreamID string    // of the last stored uplink; "": none

	// Refused counts what was refused in the device's name, by whomever it was
	// sent. What the rejects stream was spared (Config.RejectRate, MaxRejects)
	// is not counted here either.
	Refused int64
}

// Reader tells what is known of devices' messages.
type Reader struct {
	client redis.UniversalClient
	keys   auth.Keyspace
}

// NewReader makes a Reader.
func NewReader(client redis.UniversalClient, keys auth.Keyspace) *Reader {
	return &Reader{client: client, keys: keys}
}

// Seen reads of each device, in one round trip; those of a page, up to 1000. An
// uplink is in it once it is acknowledged; a refusal a moment later.
func (r *Reader) Seen(ctx context.Context, ids []auth.DeviceID) ([]Seen, error) {
	states, refusals := make([]*redis.StringCmd, len(ids)), make([]*redis.StringCmd, len(ids))
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			part := r.keys.Partition(id)
			states[i] = p.Get(ctx, string(appendSeenKey(nil, r.keys, part, id)))
			refusals[i] = p.HGet(ctx, refusedKey(r.keys, part, id), "count")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read what was seen of %d devices: %w", len(ids), err)
	}
	all := make([]Seen, len(ids))
	for i := range all {
		if err := errors.Join(all[i].readState(states[i]), all[i].readRefused(refusals[i])); err != nil {
			return nil, fmt.Errorf("read what was seen of %s: %w", ids[i], err)
		}
	}
	return all, nil
}

// StateKeys are what is kept of a device beside its entries in the streams: the
// state that commit.lua describes, then the rest. They may go when the device does.
func StateKeys(ks auth.Keyspace, id auth.DeviceID) []string {
	p := ks.Partition(id)
	return []string{string(appendSeenKey(nil, ks, p, id)), refusedKey(ks, p, id), newestKey(ks, p, id)}
}

// headSize is the length of a state before its tags.
const headSize = 77

// errState marks a state that commit.lua has not written.
var errState = errors.New("unreadable state")

// readState reads the head that commit.lua describes.
func (s *Seen) readState(reply *redis.StringCmd) error {
	text, err := reply.Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(text) < headSize {
		return errState
	}
	field := func(n int) string {
		f := text[:n]
		text = text[n:]
		return strings.TrimSpace(f)
	}
	number := func(n int) int64 {
		v, bad := strconv.ParseInt(field(n), 10, 64)
		if bad != nil {
			err = errState
		}
		return v
	}
	s.StreamID, s.Uplinks, s.Repeats, s.Heartbeats = field(24), number(12), number(12), number(12)
	s.At, s.Via = unixMilli(number(13)), Via(field(4))
	return err
}

func (s *Seen) readRefused(reply *redis.StringCmd) (err error) {
	if s.Refused, err = reply.Int64(); errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// unixMilli is the instant; 0 is none.
func unixMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
