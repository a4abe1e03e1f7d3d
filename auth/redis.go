package auth

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Devices are spread over the partitions, apps are all in partition 0. Of each there is a hash
//
//	m2m:{p}:device:<id>  op rev created auth about past uses    auth is a record's text, about JSON, past stored secrets
//	m2m:{0}:app:<name>   op rev created key about               key is SHA-256 of the app key in hex, perhaps an old one and its end
//
// where op names the operation that wrote it last and rev and created are Unix ms; a sorted set of the ids, all with
// score 0 so that it lists by name; of devices two by the times of creation and change, and one of the terms that they are
// found by; and per partition a stream of changes, whose entries {n kind id} carry the number of the change, of several
// devices that of the last, which shows a reader whether it missed one.
const (
	fieldOp      = "op"
	fieldRev     = "rev"
	fieldCreated = "created"
	fieldAuth    = "auth"
	fieldAbout   = "about"
	fieldPast    = "past" // stored forms with tabs between
	fieldUses    = "uses"
	fieldKey     = "key"

	kindDevice  = "device"
	kindDevices = "devices" // their ids with tabs between
	kindApp     = "app"

	changesKept = 10000 // entries of a change stream, about; a reader further behind starts anew
	writeLimit  = 2 * time.Second
)

// device is k.Key(p, "device:"+id) in one piece, since every lookup makes one.
func (k Keyspace) device(id DeviceID) string {
	return "m2m:{" + strconv.Itoa(k.Partition(id)) + "}:device:" + string(id)
}

func (k Keyspace) devices(p int) string     { return k.Key(p, "devices") }
func (k Keyspace) terms(p int) string       { return k.Key(p, "devices:terms") }
func (k Keyspace) created(p int) string     { return k.Key(p, "devices:created") }
func (k Keyspace) modified(p int) string    { return k.Key(p, "devices:modified") }
func (k Keyspace) app(name string) string   { return k.Key(0, "app:"+name) }
func (k Keyspace) apps() string             { return k.Key(0, "apps") }
func (k Keyspace) changes(p int) string     { return k.Key(p, "registry") }
func (k Keyspace) changeCount(p int) string { return k.Key(p, "registry:n") }

//go:embed lua/put.lua
var putSource string

//go:embed lua/delete.lua
var deleteSource string

//go:embed lua/match.lua
var matchSource string

type scripts struct{ put, delete, match *redis.Script }

func newScripts() scripts {
	return scripts{
		put: redis.NewScript(putSource), delete: redis.NewScript(deleteSource), match: redis.NewScript(matchSource),
	}
}

// thing is a device or an app among the keys.
type thing struct {
	kind, id  string
	hash      string
	index     string
	partition int
	more      []string // keys of a device beside these: those of its indexes first
}

func (k Keyspace) deviceThing(id DeviceID, attached ...string) thing {
	p := k.Partition(id)
	return thing{
		kind: kindDevice, id: string(id), hash: k.device(id), index: k.devices(p), partition: p,
		more: append([]string{k.terms(p), k.created(p), k.modified(p)}, attached...),
	}
}

func (k Keyspace) appThing(name string) thing {
	return thing{kind: kindApp, id: name, hash: k.app(name), index: k.apps()}
}

func (k Keyspace) of(t thing) []string {
	return append([]string{t.hash, t.index, k.changes(t.partition), k.changeCount(t.partition)}, t.more...)
}

// write is a thing's next state.
type write struct {
	thing
	expected, revision int64    // the revision it must be of (0: there is none), and the one it will be of
	want               *string  // in place of expected: the revision as it stands in a damaged record
	created            int64    // Unix ms
	fields             []any    // and values
	gone, come         []string // terms by which a device is found no more, or from now on
}

// appendArgs adds what put.lua needs of it.
func (w *write) appendArgs(args []any) []any {
	want := ""
	if w.expected != 0 {
		want = strconv.FormatInt(w.expected, 10)
	}
	if w.want != nil {
		want = *w.want
	}
	args = append(args, w.id, want, w.revision, w.created, len(w.fields), len(w.gone), len(w.come))
	args = append(args, w.fields...)
	for _, term := range w.gone {
		args = append(args, term)
	}
	for _, term := range w.come {
		args = append(args, term)
	}
	return args
}

// putCall is put.lua's keys and arguments for things of one kind and partition.
func (k Keyspace) putCall(writes []write) (keys []string, args []any) {
	t := writes[0].thing
	keys = []string{t.index, k.changes(t.partition), k.changeCount(t.partition)}
	if t.kind == kindDevice {
		keys = append(keys, k.terms(t.partition), k.created(t.partition), k.modified(t.partition))
	}
	args = []any{newOp(), t.kind, changesKept}
	for i := range writes {
		keys = append(keys, writes[i].hash)
		args = writes[i].appendArgs(args)
	}
	return keys, args
}

// write makes things what they are to be, each if it is as expected: done says of each whether it was.
func (r *Registry) write(ctx context.Context, writes []write) (done []bool, err error) {
	keys, args := r.keys.putCall(writes)
	reply, _, err := r.run(ctx, r.scripts.put, keys, args...)
	if err != nil {
		return nil, err
	}
	return reply.BoolSlice()
}

// writeOne is write for one thing.
func (r *Registry) writeOne(ctx context.Context, w write) (done bool, err error) {
	all, err := r.write(ctx, []write{w})
	return err == nil && all[0], err
}

// errOtherRevision: somebody else has changed the thing meanwhile.
var errOtherRevision = errors.New("of another revision")

// erase forgets a thing of that revision; ErrUnknown if there is none.
func (r *Registry) erase(ctx context.Context, t thing, revision int64, terms ...string) error {
	want := ""
	if revision != AnyRevision {
		want = strconv.FormatInt(revision, 10)
	}
	args := []any{t.kind, t.id, changesKept, want}
	for _, term := range terms {
		args = append(args, term)
	}
	reply, again, err := r.run(ctx, r.scripts.delete, r.keys.of(t), args...)
	if err != nil {
		return err
	}
	switch n, err := reply.Int64(); {
	case err != nil:
		return err
	case n < 0:
		return errOtherRevision
	case n == 0 && !again:
		return ErrUnknown
	}
	return nil
}

// run sends a script, and once more if the reply was lost: ours are safe to be sent twice.
func (r *Registry) run(ctx context.Context, s *redis.Script, keys []string, args ...any) (reply *redis.Cmd, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	if reply = s.Run(ctx, r.client, keys, args...); reply.Err() == nil {
		return reply, false, nil
	}
	var refused redis.Error
	if !errors.As(reply.Err(), &refused) && ctx.Err() == nil {
		reply = s.Run(ctx, r.client, keys, args...)
		again = true
	}
	if err := reply.Err(); err != nil {
		return nil, again, unavailable(err)
	}
	return reply, again, nil
}

// readHash reads a thing whole; ErrUnknown if there is none.
func (r *Registry) readHash(ctx context.Context, key string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	fields, err := r.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	if len(fields) == 0 {
		return nil, ErrUnknown
	}
	return fields, nil
}

// readHashes reads several; nil for those there are none of.
func (r *Registry) readHashes(ctx context.Context, keys []string) ([]map[string]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	pipe := r.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(keys))
	for i, key := range keys {
		replies[i] = pipe.HGetAll(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unavailable(err)
	}
	hashes := make([]map[string]string, len(keys))
	for i, reply := range replies {
		if fields := reply.Val(); len(fields) > 0 {
			hashes[i] = fields
		}
	}
	return hashes, nil
}

// fetch answers lookups of devices with one pipeline.
func (r *Registry) fetch(ctx context.Context, asks []*ask) {
	r.loads.Add(uint64(len(asks)))
	if len(asks) == 1 {
		r.answer(asks[0], r.client.HGet(ctx, r.keys.device(asks[0].id), fieldAuth))
		return
	}
	pipe := r.client.Pipeline()
	replies := make([]*redis.StringCmd, len(asks))
	for i, a := range asks {
		replies[i] = pipe.HGet(ctx, r.keys.device(a.id), fieldAuth)
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i, a := range asks {
		r.answer(a, replies[i])
	}
}

func (r *Registry) answer(a *ask, reply *redis.StringCmd) {
	text, err := reply.Result()
	switch {
	case err == nil:
		a.text, a.found = text, true
	case !errors.Is(err, redis.Nil):
		r.loadErrors.Add(1)
		a.err = unavailable(err)
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
