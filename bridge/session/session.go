// Package session is what outlives apps' MQTT connections, in Redis: a
// [Keeper] for sessions, which are their subscriptions and cursors, and a
// [Share] for shared subscriptions, so that any node can go on with either. A
// [Watch] forgets what has expired, and warns of sessions so far behind that
// what they have not read is about to be trimmed. The package knows nothing of
// MQTT's packets, nor of what the streams hold.
package session

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/broker"
)

// Config is what a Keeper needs.
type Config struct {
	Client redis.UniversalClient
	Reader redis.UniversalClient // reads lists; nil: Client
	Keys   auth.Keyspace
	Node   string // this node's name, for operators
}

// Keeper keeps apps' sessions.
type Keeper struct {
	client  redis.UniversalClient
	node    string
	keys    keys
	scripts scripts
	reading reading
	hold    hold // expired sessions count, and stay
}

var _ broker.Keeper = (*Keeper)(nil)

// NewKeeper makes a Keeper. It asks nothing of Redis.
func NewKeeper(c Config) *Keeper {
	if c.Reader == nil {
		c.Reader = c.Client
	}
	ks := keys{c.Keys}
	return &Keeper{client: c.Client, node: c.Node, keys: ks, scripts: newScripts(), reading: newReading(c.Reader, ks)}
}

// Open is part of broker.Keeper. A limit of 0 is none. What was found is
// Detached if its last connection had said so, and had not just gone silent.
func (k *Keeper) Open(ctx context.Context, s broker.Saved, clean bool, limit int) (found broker.Saved, ok bool, err error) {
	reply, err := k.open(ctx, s, clean, limit)
	if err == nil && isFull(reply) && !k.hold.on() {
		// What has expired does not count, and may not have been swept yet.
		if err = k.sweepOf(ctx, s.Key.App); err == nil {
			reply, err = k.open(ctx, s, clean, limit)
		}
	}
	switch {
	case err != nil:
		return broker.Saved{}, false, wrap("open", s.Key, err)
	case isFull(reply):
		return broker.Saved{}, false, wrap("open", s.Key, broker.ErrSessions)
	case len(reply) == 3:
		_ = k.leave(ctx, []departed{departedOf(s.Key, reply[1:])}) // else its memberships lapse
		return broker.Saved{}, false, nil
	case len(reply) == 1:
		return broker.Saved{}, false, nil
	}
	if found, err = kept(s, reply[1:]); err != nil {
		return broker.Saved{}, false, wrap("open", s.Key, err)
	}
	return found, true, nil
}

func (k *Keeper) open(ctx context.Context, s broker.Saved, clean bool, limit int) ([]any, error) {
	name := nameOf(s.Key)
	low, high := rangeOf(s.Key.App)
	reply, err := run(ctx, k.client, k.scripts.open, k.keys.session(name),
		name, s.Owner, createdOf(s.AppCreated), flag(clean), limit, low, high,
		lease.Milliseconds(), s.Expiry.Milliseconds(), k.node, s.Remote, int(s.Version), form,
	).Slice()
	if n := len(reply); err == nil && n != 1 && n != 3 && n != 6 {
		return nil, errForm
	}
	return reply, err
}

// isFull reports whether open.lua found too many sessions.
func isFull(reply []any) bool { return len(reply) > 0 && reply[0] == int64(0) }

// kept reads what open.lua found: form, subs, cursors, inflight, connected.
func kept(s broker.Saved, fields []any) (broker.Saved, error) {
	var texts [5]string
	for i := range texts {
		texts[i], _ = fields[i].(string)
	}
	if texts[0] != form {
		return s, fmt.Errorf("%w: form %.20q", errForm, texts[0])
	}
	var err error
	if s.Subscriptions, err = parseSubs(texts[1]); err != nil {
		return s, err
	}
	if s.Cursors, err = parseCursors(texts[2]); err != nil {
		return s, err
	}
	s.Detached = texts[4] == flag(false)
	s.InFlight, err = parseInFlight(texts[3])
	return s, err
}

// Save is part of broker.Keeper. A connected session must be saved at least
// every few seconds, changed or not, lest it be taken for detached.
func (k *Keeper) Save(ctx context.Context, list []broker.Saved) []error {
	errs := make([]error, 0, len(list))
	for chunk := range slices.Chunk(list, saveChunk) {
		errs = append(errs, k.save(ctx, chunk)...)
	}
	return errs
}

func (k *Keeper) save(ctx context.Context, list []broker.Saved) []error {
	errs := make([]error, len(list))
	calls := make([]call, 0, len(list))
	places := make([]int, 0, len(list))
	for i := range list {
		c, err := k.saveCall(&list[i])
		if err != nil {
			errs[i] = wrap("save", list[i].Key, err)
			continue
		}
		calls, places = append(calls, c), append(places, i)
	}
	for i, reply := range runAll(ctx, k.client, k.scripts.save, calls) {
		errs[places[i]] = wrap("save", list[places[i]].Key, savedError(reply))
	}
	return errs
}

func (k *Keeper) saveCall(s *broker.Saved) (call, error) {
	subs := "" // those that are kept
	if s.Subscriptions != nil {
		var err error
		if subs, err = formatSubs(s.Subscriptions); err != nil {
			return call{}, err
		}
	}
	name := nameOf(s.Key)
	return call{k.keys.session(name), []any{
		name, s.Owner, flag(!s.Detached), lease.Milliseconds(), s.Expiry.Milliseconds(),
		form, subs, formatCursors(s.Cursors), formatInFlight(s.InFlight), s.Seq,
	}}, nil
}

// savedError reads the answer of save.lua.
func savedError(reply *redis.Cmd) error {
	n, err := reply.Int()
	switch {
	case err != nil:
		return unavailable(err)
	case n == 0:
		return broker.ErrRemoved
	case n < 0:
		return broker.ErrTaken
	}
	return nil
}

func wrap(verb string, k broker.SessionKey, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s session %.200q: %w", verb, nameOf(k), err)
}

// createdOf is when an app was created; the admin app never was.
func createdOf(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Remove forgets a session, and takes it out of its shared subscriptions. The
// node that serves it finds out when it saves it next. ErrUnknown if there is none.
func (k *Keeper) Remove(ctx context.Context, app, clientID string) error {
	key := broker.SessionKey{App: app, ClientID: clientID}
	name := nameOf(key)
	was, err := run(ctx, k.client, k.scripts.remove, k.keys.session(name), name, "").Slice()
	if err == nil && len(was) == 0 {
		err = ErrUnknown
	}
	if err == nil {
		err = k.leave(ctx, []departed{departedOf(key, was)})
	}
	return wrap("remove", key, err)
}
