package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/script"
	"m2mbridge/broker"
)

// All sessions of an app are in one partition, that of its name:
//
//	m2m:{p}:session:<app>/<client id>  hash: owner node remote version created seen expiry appcreated connected
//	                                   found form seq subs cursors inflight (missing until they are saved) warned
//	m2m:{p}:sessions                   sorted set of <app>/<client id>; score: Unix ms when it expires
//	m2m:{p}:sessions:names             the same with score 0: lists by name, and counts an app's
//
// found is what connected was when its owner came, seq the number of what the
// owner saved last. created, seen, appcreated are Unix ms, expiry is ms; cursors,
// inflight and warned are described beside their functions in text.go.
//
// A shared subscription is, for each stream, in the stream's partition:
//
//	m2m:{p}:share:<kind>:<app>/<created>/<name>/<filter>   hash: at n op until warned, and m:<app>/<client id> per member
//	m2m:{p}:claims:<kind>:<app>/<created>/<name>/<filter>  sorted set of stream ids; score: Unix ms when the claim lapses
//	m2m:{p}:shares                                         set of <kind>:<app>/<created>/<name>/<filter>
//
// created is when the app was, in Unix ms, 0 for the admin. at and n are its
// position, op is the claim that moved it last, a member's value is the Unix ms
// up to when it is one, until the greatest of them.
//
// A filter may end in anything, so that what belongs to it goes before it.
const (
	fieldOwner      = "owner"
	fieldNode       = "node"
	fieldRemote     = "remote"
	fieldVersion    = "version"
	fieldCreated    = "created"
	fieldSeen       = "seen"
	fieldExpiry     = "expiry"
	fieldAppCreated = "appcreated"
	fieldConnected  = "connected"
	fieldForm       = "form"
	fieldSubs       = "subs"
	fieldCursors    = "cursors"
	fieldInFlight   = "inflight"
	fieldWarned     = "warned"

	// lease is how long a session is taken for connected after a save, and a
	// message for claimed after a claim.
	lease = 15 * time.Second

	redisLimit = 2 * time.Second // for a command or a pipeline
	saveChunk  = 64              // sessions in one pipeline
	claimChunk = 1000            // ids in one command

	streamChunk   = 256 // streams of a shared subscription in one pipeline
	maxMemberName = 64  // bytes of a member's name in a shared subscription
)

// keys names what is in Redis.
type keys struct{ auth.Keyspace }

// of is the partition of an app's sessions.
func (k keys) of(app string) int { return k.Partition(auth.DeviceID(app)) }

func (k keys) record(p int, name string) string { return k.Key(p, "session:"+name) }
func (k keys) index(p int) string               { return k.Key(p, "sessions") }
func (k keys) names(p int) string               { return k.Key(p, "sessions:names") }
func (k keys) shares(p int) string              { return k.Key(p, "shares") }

// session is one session's keys, in the order that the scripts take them.
func (k keys) session(name string) []string {
	p := k.of(appOf(name))
	return []string{k.record(p, name), k.index(p), k.names(p)}
}

// nameOf names a session: an app's name has no slash, so that no two are alike.
func nameOf(k broker.SessionKey) string { return k.App + "/" + k.ClientID }

func keyOf(name string) broker.SessionKey {
	app, client, _ := strings.Cut(name, "/")
	return broker.SessionKey{App: app, ClientID: client}
}

func appOf(name string) string { return keyOf(name).App }

// rangeOf bounds an app's names in the index by name: "0" follows "/".
func rangeOf(app string) (low, high string) { return "[" + app + "/", "(" + app + "0" }

// shareKeys are a shared subscription's on one stream.
type shareKeys struct{ name, hash, claims, index string }

// all are in the order that the scripts take them.
func (s shareKeys) all() []string { return []string{s.hash, s.claims, s.index} }

func (k keys) share(s broker.Stream, key broker.ShareKey) shareKeys {
	created := strconv.FormatInt(key.AppCreated, 10)
	return k.shareOf(k.partition(s), k.kind(s)+":"+key.App+"/"+created+"/"+key.Name+"/"+key.Filter)
}

func (k keys) shareOf(p int, name string) shareKeys {
	return shareKeys{name, k.Key(p, "share:"+name), k.Key(p, "claims:"+name), k.shares(p)}
}

func (s shareKeys) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s shared subscription %.200q: %w", verb, s.name, err)
}

var (
	// ErrUnknown: there is no such session.
	ErrUnknown = errors.New("no such session")
	// ErrEnded: the shared subscription has no member any more.
	ErrEnded = errors.New("shared subscription has ended")
	// ErrUnavailable: Redis could not be asked; try again.
	ErrUnavailable = errors.New("sessions unavailable")
)

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// newOp names an operation, so that Redis knows it again.
func newOp() string { return rand.Text() }

// run sends a script, and once more if the reply was lost: ours are safe to be
// sent twice. What it fails of is ErrUnavailable.
func run(ctx context.Context, client redis.UniversalClient, s *redis.Script, keys []string, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	reply := s.Run(ctx, client, keys, args...)
	var refused redis.Error
	if err := reply.Err(); err != nil && !errors.As(err, &refused) && ctx.Err() == nil {
		reply = s.Run(ctx, client, keys, args...)
	}
	if err := reply.Err(); err != nil {
		reply.SetErr(unavailable(err))
	}
	return reply
}

// call is one call of a script among others.
type call struct {
	keys []string
	args []any
}

// runAll sends a script many times. Each reply has its own error.
func runAll(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) []*redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return script.Pipelined(ctx, client, len(calls), func(i int) (*redis.Script, []string, []any) { return s, calls[i].keys, calls[i].args })
}

// insist is runAll, and sends those once more whose replies were lost, as run does.
func insist(ctx context.Context, client redis.UniversalClient, s *redis.Script, calls []call) []*redis.Cmd {
	replies := runAll(ctx, client, s, calls)
	var lost []call
	var places []int
	for i, reply := range replies {
		var refused redis.Error
		if err := reply.Err(); err != nil && !errors.As(err, &refused) {
			lost, places = append(lost, calls[i]), append(places, i)
		}
	}
	if ctx.Err() != nil {
		return replies
	}
	for i, reply := range runAll(ctx, client, s, lost) {
		replies[places[i]] = reply
	}
	return replies
}
