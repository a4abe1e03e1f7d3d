package session

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// Session is an app's session as operators see it.
type Session struct {
	App, ClientID string
	Connected     bool
	Node          string // that has it, or had it last
	Remote        string // host:port of the client
	Version       byte   // MQTT's, 4 or 5
	CreatedAt     time.Time
	SeenAt        time.Time     // saved last
	Expiry        time.Duration // how long it is kept when its connection is gone
	ExpiresAt     time.Time     // while connected it moves on
	Subscriptions []broker.SavedSubscription
	InFlight      int // messages sent and not acknowledged
	Lag           Lag // the entries of all streams, the age of the oldest
	Streams       []StreamLag
}

// Query asks for one page of sessions, in the order of their apps' names, then
// their client ids.
type Query struct {
	App   string // only this app's; "": all
	After string // as the page before said; "": from the start
	Limit int    // 0: 50
}

const defaultLimit = 50

// List gives one page, and in next what After must be for the following one;
// "" after the last.
func (k *Keeper) List(ctx context.Context, q Query) (page []Session, next string, err error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	names, more, err := k.reading.namesAfter(ctx, q)
	if err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	if page, err = k.reading.sessions(ctx, names); err != nil {
		return nil, "", fmt.Errorf("list sessions: %w", err)
	}
	if more {
		next = names[len(names)-1]
	}
	return page, next, nil
}

// Get reads one session; ErrUnknown if there is none.
func (k *Keeper) Get(ctx context.Context, app, clientID string) (Session, error) {
	key := broker.SessionKey{App: app, ClientID: clientID}
	page, err := k.reading.sessions(ctx, []string{nameOf(key)})
	if err == nil && len(page) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return Session{}, wrap("get", key, err)
	}
	return page[0], nil
}

// namesAfter gives the names of a page; more says whether there are others.
func (r *reading) namesAfter(ctx context.Context, q Query) (names []string, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := r.client.Pipeline()
	var replies []*redis.StringSliceCmd
	for p := range r.keys.Count() {
		if q.App == "" || p == r.keys.of(q.App) {
			replies = append(replies, pipe.ZRangeArgs(ctx, q.args(r.keys.names(p))))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, unavailable(err)
	}
	for _, reply := range replies {
		names = append(names, reply.Val()...)
	}
	slices.Sort(names)
	if len(names) > q.Limit {
		return names[:q.Limit], true, nil
	}
	return names, false, nil
}

func (q Query) args(key string) redis.ZRangeArgs {
	low, high := "-", "+"
	if q.App != "" {
		low, high = rangeOf(q.App)
	}
	if q.After != "" && (low == "-" || "["+q.After >= low) {
		low = "(" + q.After
	}
	return redis.ZRangeArgs{Key: key, ByLex: true, Start: low, Stop: high, Count: int64(q.Limit) + 1}
}

// sessions reads those of the names that there are.
func (r *reading) sessions(ctx context.Context, names []string) ([]Session, error) {
	if len(names) == 0 {
		return nil, nil
	}
	v, err := look(ctx, r.client, r.keys)
	if err != nil {
		return nil, err
	}
	records, scores, err := r.records(ctx, names)
	if err != nil {
		return nil, err
	}
	list := make([]Session, 0, len(names))
	cursors := make([][]broker.Cursor, 0, len(names))
	for i, name := range names {
		s, at, err := sessionOf(name, records[i], scores[i], v.now)
		if err != nil {
			return nil, fmt.Errorf("read session %.200q: %w", name, err)
		}
		if s != nil {
			list, cursors = append(list, *s), append(cursors, at)
		}
	}
	lags, err := r.lags(ctx, v, cursors)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Streams, list[i].Lag = lags[i], total(lags[i])
	}
	return list, nil
}

// records reads the records and their scores in the index.
func (r *reading) records(ctx context.Context, names []string) (records []map[string]string, scores []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	pipe := r.client.Pipeline()
	hashes := make([]*redis.MapStringStringCmd, len(names))
	expires := make([]*redis.FloatCmd, len(names))
	for i, name := range names {
		keys := r.keys.session(name)
		hashes[i], expires[i] = pipe.HGetAll(ctx, keys[0]), pipe.ZScore(ctx, keys[1], name)
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i := range names {
		if err := hashes[i].Err(); err != nil {
			return nil, nil, unavailable(err)
		}
		if err := expires[i].Err(); err != nil && err != redis.Nil {
			return nil, nil, unavailable(err)
		}
		records, scores = append(records, hashes[i].Val()), append(scores, expires[i].Val())
	}
	return records, scores, nil
}

// sessionOf reads a record; nil where there is none, or it has expired.
func sessionOf(name string, fields map[string]string, score float64, now time.Time) (*Session, []broker.Cursor, error) {
	if len(fields) == 0 || int64(score) <= now.UnixMilli() {
		return nil, nil, nil
	}
	key := keyOf(name)
	s := &Session{
		App: key.App, ClientID: key.ClientID, Node: fields[fieldNode], Remote: fields[fieldRemote],
		Version:   byte(number(fields[fieldVersion])),
		CreatedAt: instant(fields[fieldCreated]), SeenAt: instant(fields[fieldSeen]),
		Expiry: time.Duration(number(fields[fieldExpiry])) * time.Millisecond, ExpiresAt: time.UnixMilli(int64(score)).UTC(),
		Connected: isConnected(fields[fieldConnected], fields[fieldSeen], now),
	}
	text, saved := fields[fieldSubs]
	if !saved || fields[fieldForm] != form { // what a newer program kept is shown without what is not understood
		return s, nil, nil
	}
	var err error
	if s.Subscriptions, err = parseSubs(text); err != nil {
		return nil, nil, err
	}
	inFlight, err := parseInFlight(fields[fieldInFlight])
	if err != nil {
		return nil, nil, err
	}
	s.InFlight = len(inFlight)
	cursors, err := parseCursors(fields[fieldCursors])
	return s, cursors, err
}

// isConnected believes a node that has saved the session of late.
func isConnected(connected, seen string, now time.Time) bool {
	return connected == "1" && now.Sub(instant(seen)) < lease
}

// number reads what the scripts wrote; 0 for anything else.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func instant(s string) time.Time { return time.UnixMilli(number(s)).UTC() }

// Count is how many sessions there are, those that have just expired among them.
func (k *Keeper) Count(ctx context.Context) (n int64, err error) {
	pipe := k.client.Pipeline()
	var counts []*redis.IntCmd
	for p := range k.keys.Count() {
		counts = append(counts, pipe.ZCard(ctx, k.keys.index(p)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count sessions: %w", err)
	}
	for _, c := range counts {
		n += c.Val()
	}
	return n, nil
}
