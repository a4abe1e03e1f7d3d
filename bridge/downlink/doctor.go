package downlink

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/due"
)

// Fault is something in Redis that the rules of downlinks cannot have made: outside hands, or a loss of data.
type Fault struct {
	Partition int
	Kind      string // "downlink", "device", "due" and "due:sms": its entry there, or "once": an idempotency key
	Name      string // which one
	What      string // what is wrong with it
}

func (f Fault) String() string { return f.Kind + " " + f.Name + ": " + f.What }

const inspectBatch = 200 // things that one script inspects

// Check finds all that is wrong with what is kept of downlinks, and changes nothing. It reads every downlink.
func (s *Service) Check(ctx context.Context) ([]Fault, error) { return s.inspect(ctx, false) }

// Mend mends what Check finds, and says what it was: what is missing is made again from the downlink itself, what belongs to
// none is removed, and so is a downlink that cannot be read. One that is EXECUTING beside another is queued again.
func (s *Service) Mend(ctx context.Context) ([]Fault, error) { return s.inspect(ctx, true) }

func (s *Service) inspect(ctx context.Context, mend bool) ([]Fault, error) {
	doctor := &doctor{s: s, mend: mend, script: redis.NewScript(Rules() + doctorSource), known: map[Fault]bool{}}
	for _, pass := range []func(context.Context) error{doctor.entries, doctor.members, doctor.keys} {
		if err := pass(ctx); err != nil {
			return doctor.faults, fmt.Errorf("%w: inspect: %w", ErrUnavailable, err)
		}
	}
	return doctor.faults, nil
}

// entries inspects those of the due sets by the rules of their own. What that leaves the downlinks are held against.
func (d *doctor) entries(ctx context.Context) error {
	for kind, set := range map[string]*due.Set{"due": d.s.due, "due:sms": d.s.SMSDue(0)} {
		look := func(ctx context.Context) ([]due.Fault, error) { return set.Check(ctx, 0) }
		if d.mend {
			look = set.Mend
		}
		faults, err := look(ctx)
		if err != nil {
			return err
		}
		for _, f := range faults {
			d.faults = append(d.faults, Fault{f.Partition, kind, f.ID, string(f.Problem)})
		}
	}
	return nil
}

// doctor is one inspection.
type doctor struct {
	s      *Service
	mend   bool
	script *redis.Script

	mu     sync.Mutex // masters of a cluster are scanned side by side
	faults []Fault
	known  map[Fault]bool // the same
}

// members inspects those of the sets of each partition.
func (d *doctor) members(ctx context.Context) error {
	for p := range d.s.cfg.Keys.Count() {
		texts, _ := due.Keys(d.s.cfg.Keys, due.SMS, p)
		for _, key := range []string{dueKey(d.s.cfg.Keys, p), texts, allKey(d.s.cfg.Keys, p)} {
			if err := d.set(ctx, p, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *doctor) set(ctx context.Context, p int, key string) error {
	for cursor := uint64(0); ; {
		pairs, next, err := d.s.cfg.Client.ZScan(ctx, key, cursor, "", inspectBatch).Result()
		if err != nil {
			return err
		}
		var things []any
		for i := 0; i < len(pairs); i += 2 {
			things = append(things, "downlink", pairs[i])
		}
		if err := d.look(ctx, p, things); err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// keys inspects what there is of downlinks and devices, be it in a set or not.
func (d *doctor) keys(ctx context.Context) error {
	if cluster, ok := d.s.cfg.Client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return d.scan(ctx, master) })
	}
	return d.scan(ctx, d.s.cfg.Client)
}

func (d *doctor) scan(ctx context.Context, node redis.Cmdable) error {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, "m2m:{*}:downlink:*", inspectBatch).Result()
		if err != nil {
			return err
		}
		if err := d.named(ctx, keys); err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// named inspects what keys are of.
func (d *doctor) named(ctx context.Context, keys []string) error {
	things := map[int][]any{}
	for _, key := range keys {
		tag, rest, _ := strings.Cut(strings.TrimPrefix(key, "m2m:{"), "}:downlink:")
		if p, err := strconv.Atoi(tag); err == nil && p >= 0 && p < d.s.cfg.Keys.Count() {
			things[p] = append(things[p], thing(key, rest)...)
		}
	}
	for p, list := range things {
		if err := d.look(ctx, p, list); err != nil {
			return err
		}
	}
	return nil
}

// thing is what a key is of, by its end; nothing for those of a whole partition.
func thing(key, rest string) []any {
	kind, name, deep := strings.Cut(rest, ":")
	switch {
	case !deep && (rest == "all" || rest == "n"):
		return nil
	case !deep:
		return []any{"downlink", rest}
	case kind == "steps":
		return []any{"steps", name}
	case kind == "once":
		return []any{"once", key}
	}
	return []any{"device", name}
}

func (d *doctor) look(ctx context.Context, p int, things []any) error {
	if len(things) == 0 {
		return nil
	}
	s, flag := d.s, "0"
	if d.mend {
		flag = "1"
	}
	args := append([]any{s.clockText(), s.cfg.Keep.Milliseconds(), s.cfg.Attempts, s.cfg.MaxEvents, flag}, things...)
	words, err := d.script.Run(ctx, s.cfg.Client, []string{dueKey(s.cfg.Keys, p)}, args...).StringSlice()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 0; i+2 < len(words); i += 3 {
		f := Fault{p, words[i], words[i+1], words[i+2]}
		if !d.known[f] { // what is in several places is inspected as often
			d.known[f], d.faults = true, append(d.faults, f)
		}
	}
	return nil
}
