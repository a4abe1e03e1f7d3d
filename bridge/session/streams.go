package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// Streams are numbered kind by kind: all partitions' uplinks, then rejects,
// then events, then presence, which is read from the events by itself. The
// numbers are kept in Redis.
const (
	kindUplinks  = "uplinks"
	kindRejects  = "rejects"
	kindEvents   = "events"
	kindPresence = "presence"
)

func kinds() []string { return []string{kindUplinks, kindRejects, kindEvents, kindPresence} }

func (k keys) streams() int                     { return len(kinds()) * k.Count() }
func (k keys) kind(s broker.Stream) string      { return kinds()[int(s)/k.Count()] }
func (k keys) partition(s broker.Stream) int    { return int(s) % k.Count() }
func (k keys) isStream(s broker.Stream) bool    { return s >= 0 && int(s) < k.streams() }
func (k keys) number(kind, p int) broker.Stream { return broker.Stream(kind*k.Count() + p) }

// stream is the key of what is read.
func (k keys) stream(s broker.Stream) string {
	kind := k.kind(s)
	if kind == kindPresence {
		kind = kindEvents
	}
	return k.Key(k.partition(s), kind)
}

// cutShared takes a filter $share/<name>/<filter> apart (MQTT 5 §4.8.2).
func cutShared(text string) (name, filter string, ok bool) {
	text, ok = strings.CutPrefix(text, "$share/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(text, "/")
}

// streamsOf are the streams whose entries a filter may match.
func (k keys) streamsOf(filter string) (all []broker.Stream) {
	top, _, _ := strings.Cut(filter, "/")
	for i, kind := range kinds() {
		if top == "#" || top == "+" || top == kind {
			for p := range k.Count() {
				all = append(all, k.number(i, p))
			}
		}
	}
	return all
}

// nameStream names a stream for people: one partition goes without saying.
func (k keys) nameStream(s broker.Stream) string {
	if k.Count() == 1 {
		return k.kind(s)
	}
	return k.kind(s) + "/" + strconv.Itoa(k.partition(s))
}

// extent is what a stream holds.
type extent struct {
	last   broker.ID // of all entries that ever were
	length int64     // entries there are
	added  int64     // entries ever added; broker.Unknown
}

// trimmed is how many entries are gone; broker.Unknown.
func (e extent) trimmed() int64 {
	if e.added == broker.Unknown {
		return broker.Unknown
	}
	return e.added - e.length
}

// view is the streams at one moment.
type view struct {
	now     time.Time
	streams []extent // by their numbers
}

// look reads how far all streams go, and Redis's clock, which made their ids.
func look(ctx context.Context, client redis.UniversalClient, k keys) (*view, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	now, err := client.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("read the time: %w", unavailable(err))
	}
	v := &view{now: now, streams: make([]extent, k.streams())}
	pipe := client.Pipeline()
	replies := make([]*redis.XInfoStreamCmd, len(v.streams))
	for i := range replies {
		replies[i] = pipe.XInfoStream(ctx, k.stream(broker.Stream(i)))
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i, reply := range replies {
		if v.streams[i], err = extentOf(reply); err != nil {
			return nil, fmt.Errorf("ask about stream %s: %w", k.nameStream(broker.Stream(i)), err)
		}
	}
	return v, nil
}

// extentOf takes a stream that does not exist for an empty one.
func extentOf(reply *redis.XInfoStreamCmd) (extent, error) {
	x, err := reply.Result()
	var refused redis.Error
	switch {
	case errors.As(err, &refused) && strings.Contains(err.Error(), "no such key"):
		return extent{}, nil
	case err != nil:
		return extent{}, unavailable(err)
	}
	last, err := parseID(x.LastGeneratedID)
	if err != nil {
		return extent{}, err
	}
	e := extent{last: last, length: x.Length, added: x.EntriesAdded}
	if e.added < e.length || e.added == 0 && last != (broker.ID{}) { // miniredis leaves it out
		e.added = broker.Unknown
	}
	return e, nil
}
