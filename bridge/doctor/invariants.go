package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// wrong counts faults of a kind, so that a million of them take no room.
type wrong struct {
	n, unmended int
	sorts       map[string]*sort
}

// sort is faults of which the same is wrong.
type sort struct {
	n     int
	first string // the name of one
	must  string
}

func (w *wrong) add(kind, name, what, must string) {
	if w.sorts == nil {
		w.sorts = map[string]*sort{}
	}
	key := kind + ": " + what
	s := w.sorts[key]
	if s == nil && len(w.sorts) >= sortsKept {
		key = "others"
		s = w.sorts[key]
	}
	if s == nil {
		s = &sort{first: name, must: must}
		w.sorts[key] = s
	}
	s.n++
	w.n++
	if must != "" {
		w.unmended++
	}
}

const (
	sortsKept = 20
	nameShown = 60
)

// String is all that is wrong, in words.
func (w *wrong) String() string {
	var texts []string
	for _, what := range slices.Sorted(maps.Keys(w.sorts)) {
		s := w.sorts[what]
		text := fmt.Sprintf("%s (%d, such as %.*s)", what, s.n, nameShown, s.first)
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// musts are what the operator has to do.
func (w *wrong) musts() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(w.sorts)) {
		if m := w.sorts[what].must; m != "" && !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	if w.n > w.unmended {
		all = append([]string{"m2mbridge doctor --fix mends it"}, all...)
	}
	return strings.Join(all, "; ")
}

// look finds what is wrong, and mends it if it is to.
type look func(ctx context.Context, mend bool) (*wrong, error)

// invariant tells what a look finds. What was mended is looked at once more:
// only what is not found again was.
func (d *doctor) invariant(ctx context.Context, name, sound string, look look) {
	found, err := look(ctx, d.cfg.Fix)
	left := found
	if err == nil && d.cfg.Fix && found.n > 0 {
		left, err = look(ctx, false)
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			d.tell(Fault, name, "not checked: %v", explained(err))
		}
	case left.n > 0:
		d.cfg.Tell(Finding{Level: Fault, Name: name, Found: left.String(), Mended: max(found.n-left.n, 0), Must: left.musts()})
	case found.n > 0:
		d.cfg.Tell(Finding{Level: OK, Name: name, Found: "mended " + found.String(), Mended: found.n})
	default:
		d.tell(OK, name, "%s", sound)
	}
}

// registry is what is kept of devices and apps.
func (d *doctor) registry(ctx context.Context) {
	r, err := auth.NewRegistry(auth.RegistryConfig{Client: d.store.Client, Keys: d.keys, Now: d.now})
	if err != nil {
		d.failed(ctx, "registry", err)
		return
	}
	d.invariant(ctx, "registry", "its hashes and indexes agree", func(ctx context.Context, mend bool) (*wrong, error) {
		w, seen := &wrong{}, 0
		in := auth.Inspection{
			Found: func(f auth.Fault) { w.add(f.Kind, f.Name, f.What, f.Must) },
			Seen:  func(n int) { seen += n; d.progress("registry", seen) },
		}
		if mend {
			return w, r.Mend(ctx, in)
		}
		return w, r.Check(ctx, in)
	})
}

// downlinks are their queues, and what is due.
func (d *doctor) downlinks(ctx context.Context) {
	s := downlink.New(downlink.Config{Client: d.store.Client, Keys: d.keys, MaxEvents: d.cfg.EventsMax, Now: d.now})
	d.invariant(ctx, "downlinks", "queues, lists and due times agree", func(ctx context.Context, mend bool) (*wrong, error) {
		d.progress("downlinks", 0)
		look := s.Check
		if mend {
			look = s.Mend
		}
		faults, err := look(ctx)
		w := &wrong{}
		for _, f := range faults {
			w.add(f.Kind, shown(f), f.What, "")
		}
		return w, err
	})
}

// shown is which one a fault is of: an idempotency key is its app's own affair.
func shown(f downlink.Fault) string {
	if f.Kind == "once" {
		return "(an idempotency key)"
	}
	return f.Name
}

func (d *doctor) progress(what string, n int) {
	if d.cfg.Progress != nil {
		d.cfg.Progress(what, n)
	}
}

func count(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
