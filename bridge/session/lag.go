package session

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// Unknown is a number of entries that is not known.
const Unknown = broker.Unknown

// Lag is how far a reader is behind the end of streams.
type Lag struct {
	Entries int64         // Unknown
	Age     time.Duration // of the oldest entry that it has not read; 0: it has read all
}

// StreamLag is the lag on one stream.
type StreamLag struct {
	Kind      string // uplinks, rejects, events or presence
	Partition int
	Cursor    string // id of the last entry read
	Lag

	stream broker.Stream
	lost   int64 // entries that were trimmed before they were read
}

// reading reads what is kept, and changes nothing.
type reading struct {
	client redis.UniversalClient
	keys   keys
	next   *redis.Script
}

func newReading(client redis.UniversalClient, k keys) reading {
	return reading{client, k, redis.NewScript(nextSource)}
}

// lags measures the cursors of several readers, each in its own place.
func (r *reading) lags(ctx context.Context, v *view, readers [][]broker.Cursor) ([][]StreamLag, error) {
	next, err := r.unread(ctx, v, readers)
	if err != nil {
		return nil, err
	}
	all := make([][]StreamLag, len(readers))
	for i, cursors := range readers {
		for _, c := range cursors {
			if r.keys.isStream(c.Stream) {
				all[i] = append(all[i], r.lag(v, c, next[spot{c.Stream, c.At.ID}]))
			}
		}
	}
	return all, nil
}

// lag is that of one cursor; next is the first entry behind it, if there is one.
func (r *reading) lag(v *view, c broker.Cursor, next broker.ID) StreamLag {
	l := StreamLag{
		Kind: r.keys.kind(c.Stream), Partition: r.keys.partition(c.Stream), Cursor: c.At.ID.String(), stream: c.Stream,
	}
	e := v.streams[c.Stream]
	if !c.At.ID.Less(e.last) {
		return l
	}
	l.Entries = broker.Unknown
	if next != (broker.ID{}) {
		l.Age = max(v.now.Sub(time.UnixMilli(int64(next.MS))), 0)
	}
	// A stream that was deleted and made anew counts from 1 again.
	if n := c.At.N; n != broker.Unknown && e.added >= n {
		l.Entries = e.added - n
		l.lost = max(e.trimmed()-n, 0)
	}
	return l
}

// spot is a place in a stream.
type spot struct {
	stream broker.Stream
	id     broker.ID
}

// unread finds the first entry behind each cursor that is behind. Many readers
// are in the same place, and are asked for once.
func (r *reading) unread(ctx context.Context, v *view, readers [][]broker.Cursor) (map[spot]broker.ID, error) {
	next := map[spot]broker.ID{}
	asked := map[broker.Stream][]spot{}
	for _, cursors := range readers {
		for _, c := range cursors {
			at := spot{c.Stream, c.At.ID}
			if _, twice := next[at]; twice || !r.keys.isStream(c.Stream) || !c.At.ID.Less(v.streams[c.Stream].last) {
				continue
			}
			next[at] = broker.ID{}
			asked[c.Stream] = append(asked[c.Stream], at)
		}
	}
	calls, spots := r.nextCalls(asked)
	for i, reply := range runAll(ctx, r.client, r.next, calls) {
		ids, err := reply.StringSlice()
		if err != nil {
			return nil, fmt.Errorf("read entries behind cursors: %w", unavailable(err))
		}
		for j, id := range ids {
			if id == "" {
				continue
			}
			if next[spots[i][j]], err = parseID(id); err != nil {
				return nil, fmt.Errorf("read entries behind cursors: %w", err)
			}
		}
	}
	return next, nil
}

func (r *reading) nextCalls(asked map[broker.Stream][]spot) (calls []call, spots [][]spot) {
	for s, at := range asked {
		args := make([]any, len(at))
		for i, p := range at {
			args[i] = p.id.String()
		}
		calls = append(calls, call{[]string{r.keys.stream(s)}, args})
		spots = append(spots, at)
	}
	return calls, spots
}

// total is a reader's lag on all its streams: the entries of all, the age of
// the oldest.
func total(list []StreamLag) (sum Lag) {
	for _, l := range list {
		sum.Age = max(sum.Age, l.Age)
		if sum.Entries != broker.Unknown && l.Entries != broker.Unknown {
			sum.Entries += l.Entries
		} else {
			sum.Entries = broker.Unknown
		}
	}
	return sum
}

// describe says how many entries, for people.
func (l Lag) describe() string {
	age := l.Age.Truncate(time.Second).String() + " behind"
	if l.Entries == broker.Unknown {
		return age
	}
	return strconv.FormatInt(l.Entries, 10) + " entries and " + age
}
