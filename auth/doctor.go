package auth

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Fault is something among the keys of the registry that no change through it can have made: outside hands, or a loss of
// data. It names no number that a device can be called by.
type Fault struct {
	Kind string // "device" or "app"
	Name string // which one, as Redis has it: anything, where outside hands wrote it
	What string // what is wrong with it, in a phrase that faults of one sort share
	Must string // what somebody has to do, since it cannot be mended safely; "": it can be mended
}

func (f Fault) String() string { return fmt.Sprintf("%s %.100q: %s", f.Kind, f.Name, f.What) }

// Inspection is who hears of what Check and Mend come across. Both may be called from several goroutines, one at a time.
type Inspection struct {
	Found func(Fault)
	Seen  func(n int) // so many more entries have been inspected; nil: nobody is told
}

// Check finds all that is wrong with what is kept of devices and apps, and changes nothing. It reads every device, some at
// a time; what is changed meanwhile makes no fault.
func (r *Registry) Check(ctx context.Context, in Inspection) error { return r.inspect(ctx, in, false) }

// Mend mends what Check finds, where it can, and tells of all. A hash is believed, the indexes are made to agree with it:
// no device and no app is lost by it, and none gets a secret, a key or a right that its hash does not have.
func (r *Registry) Mend(ctx context.Context, in Inspection) error { return r.inspect(ctx, in, true) }

// HasSecretKey reports whether a registry with a secret key has used this Redis.
func (r *Registry) HasSecretKey(ctx context.Context) (bool, error) {
	n, err := r.client.Exists(ctx, r.keys.secretKey()).Result()
	if err != nil {
		return false, fmt.Errorf("look for the secret key's mark: %w", unavailable(err))
	}
	return n > 0, nil
}

//go:embed lua/doctor.lua
var doctorSource string

// termsSource takes terms away that a device has not.
//
// KEYS     1 the device's hash · 2 the index of terms
// ARGV     1 the field rev as it was read, 'gone' for no hash · 2 '1' to mend · 3… terms
// Returns  how many there were; 0 if the device has changed since
const termsSource = `
local rev = redis.call('EXISTS', KEYS[1]) == 1 and (redis.call('HGET', KEYS[1], 'rev') or '') or 'gone'
if rev ~= ARGV[1] then return 0 end
local n = 0
for i = 3, #ARGV do
    if redis.call('ZSCORE', KEYS[2], ARGV[i]) then
        n = n + 1
        if ARGV[2] == '1' then redis.call('ZREM', KEYS[2], ARGV[i]) end
    end
end
return n`

func (r *Registry) inspect(ctx context.Context, in Inspection, mend bool) error {
	d := &doctor{r: r, in: in, mend: "0", script: redis.NewScript(doctorSource), terms: redis.NewScript(termsSource)}
	if mend {
		d.mend = "1"
	}
	for _, pass := range []func(context.Context) error{d.hashes, d.indexes, d.allTerms} {
		if err := pass(ctx); err != nil {
			return fmt.Errorf("inspect the registry: %w", unavailable(err))
		}
	}
	return nil
}

// subject is a device or an app under inspection, its keys in the partition where it was found.
type subject struct {
	thing
	fields map[string]string
	err    error // of reading them
}

func (d *doctor) subject(p int, kind, id string) subject {
	k := d.r.keys
	if kind == kindApp {
		return subject{thing: k.appThing(id)}
	}
	return subject{thing: thing{
		kind: kindDevice, id: id, hash: k.Key(p, "device:"+id), index: k.devices(p), partition: p,
		more: []string{k.terms(p), k.created(p), k.modified(p)},
	}}
}

// rev is the field as it was read.
func (s *subject) rev() string {
	if len(s.fields) == 0 {
		return "gone"
	}
	return s.fields[fieldRev]
}

// expected is what the hash says: the revision, the time of creation, and the terms of a device.
func (d *doctor) expected(s *subject) (revision, created string, terms []string, err error) {
	created = s.fields[fieldCreated]
	if s.kind == kindApp {
		_, err = d.r.appOf(s.id, s.fields)
		return s.fields[fieldRev], created, nil, err
	}
	h, err := d.r.heldOf(DeviceID(s.id), s.fields)
	if err != nil {
		return "", "", nil, err
	}
	return fmt.Sprint(h.rec.revision), created, h.device.terms(), nil
}

// read reads the hashes; what cannot be read has an error of Redis's own.
func (d *doctor) read(ctx context.Context, list []subject) error {
	pipe := d.r.client.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(list))
	for i := range list {
		replies[i] = pipe.HGetAll(ctx, list[i].hash)
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i, reply := range replies {
		if list[i].fields, list[i].err = reply.Result(); list[i].err != nil && !isWrongType(list[i].err) {
			return list[i].err
		}
	}
	return nil
}

func isWrongType(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && strings.HasPrefix(answer.Error(), "WRONGTYPE")
}

// hold holds the indexes against each subject.
func (d *doctor) hold(ctx context.Context, list []subject) error {
	if err := d.read(ctx, list); err != nil {
		return err
	}
	pipe := d.r.client.Pipeline()
	calls := make([]*redis.Cmd, len(list))
	args := make([][]any, len(list))
	for i := range list {
		if args[i] = d.args(&list[i]); args[i] != nil {
			calls[i] = d.script.EvalSha(ctx, pipe, d.r.keys.of(list[i].thing), args[i]...)
		}
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i := range list {
		if calls[i] == nil {
			continue
		}
		words, err := calls[i].StringSlice()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			words, err = d.script.Run(ctx, d.r.client, d.r.keys.of(list[i].thing), args[i]...).StringSlice()
		}
		if err != nil {
			return err
		}
		for _, what := range words {
			d.found(Fault{Kind: list[i].kind, Name: list[i].id, What: what})
		}
	}
	d.seen(len(list))
	return nil
}

// args are doctor.lua's; nil for what cannot be held against anything, which is told.
func (d *doctor) args(s *subject) []any {
	if s.err == nil && len(s.fields) == 0 {
		return []any{s.kind, s.id, changesKept, d.mend, s.rev(), "", ""}
	}
	revision, created, terms, err := d.expected(s)
	if err != nil || s.err != nil {
		d.found(Fault{s.kind, s.id, "it is damaged, and cannot be read", "remove it (m2mbridge " + s.kind + " remove) and add it anew, or restore it from a backup"})
		return nil
	}
	args := []any{s.kind, s.id, changesKept, d.mend, s.rev(), revision, created}
	for _, term := range terms {
		args = append(args, term)
	}
	return args
}

// allTerms finds terms that their devices have not.
func (d *doctor) allTerms(ctx context.Context) error {
	for p := range d.r.keys.Count() {
		err := d.members(ctx, d.r.keys.terms(p), func(terms []string) error { return d.termsOf(ctx, p, terms) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) termsOf(ctx context.Context, p int, terms []string) error {
	by := map[DeviceID][]string{}
	var list []subject
	for _, term := range terms {
		id := idOf(term)
		if by[id] = append(by[id], term); len(by[id]) == 1 {
			list = append(list, d.subject(p, kindDevice, string(id)))
		}
	}
	if err := d.read(ctx, list); err != nil {
		return err
	}
	for i := range list {
		if err := d.strange(ctx, &list[i], by[DeviceID(list[i].id)]); err != nil {
			return err
		}
	}
	d.seen(len(terms))
	return nil
}

// strange finds those of the terms that a device has not.
func (d *doctor) strange(ctx context.Context, s *subject, terms []string) error {
	var has []string
	if len(s.fields) > 0 {
		var err error
		if _, _, has, err = d.expected(s); err != nil {
			return nil // it is damaged, which has been told
		}
	}
	args := []any{s.rev(), d.mend}
	for _, term := range terms {
		if !slices.Contains(has, term) {
			args = append(args, term)
		}
	}
	if s.err != nil || len(args) == 2 {
		return nil
	}
	n, err := d.terms.Run(ctx, d.r.client, []string{s.hash, d.r.keys.terms(s.partition)}, args...).Int()
	if err == nil && n > 0 {
		d.found(Fault{Kind: kindDevice, Name: s.id, What: "a search would find it by what it has not"})
	}
	return err
}

// nameOf keeps what may be anything, a telephone number too, out of sight.
func nameOf(id string) string {
	if _, err := ParseDeviceID(id); err != nil {
		return "(no device's id)"
	}
	return id
}
