package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/commands"
	"m2mbridge/bridge/session"
	"m2mbridge/bridge/store"
	"m2mbridge/bridge/stream"
)

const (
	partitionPage = 128         // partitions in one pipeline
	stuckFor      = time.Minute // a command is carried out in a moment
)

// streams are no longer than they should be.
func (d *doctor) streams(ctx context.Context) {
	c := d.cfg
	for _, s := range []struct {
		kind stream.Kind
		most int64
	}{{stream.Uplinks, c.UplinksMax}, {stream.Rejects, c.RejectsMax}, {stream.Events, c.EventsMax}} {
		d.stream(ctx, s.kind, s.most)
	}
}

// extent is how large the streams of a kind are.
type extent struct {
	entries, bytes int64
	longest, at    int64 // entries of the longest, and its partition
}

func (d *doctor) stream(ctx context.Context, kind stream.Kind, most int64) {
	e, err := d.extent(ctx, kind)
	if err != nil {
		d.failed(ctx, string(kind), err)
		return
	}
	level, bound := OK, "no limit"
	if most > 0 {
		bound = count(most, "entry", "entries") + " a partition"
		if e.longest > most+most/4+1000 { // trimmed about, in whole nodes
			level = Warn
		}
	}
	d.must(level, string(kind), "serve on every node with the same --"+string(kind)+"-max",
		"%s, about %s; the longest has %d (partition %d), the limit is %s", count(e.entries, "entry", "entries"), size(e.bytes), e.longest, e.at, bound)
}

func (d *doctor) extent(ctx context.Context, kind stream.Kind) (e extent, err error) {
	for first := 0; first < d.keys.Count(); first += partitionPage {
		pipe := d.store.Client.Pipeline()
		var lengths, sizes []*redis.IntCmd
		for p := first; p < min(first+partitionPage, d.keys.Count()); p++ {
			key := stream.Key(d.keys, kind, p)
			lengths, sizes = append(lengths, pipe.XLen(ctx, key)), append(sizes, pipe.MemoryUsage(ctx, key))
		}
		_, _ = pipe.Exec(ctx) // each reply has its own error
		for i, length := range lengths {
			n, err := length.Result()
			if err != nil {
				return e, err
			}
			e.entries, e.bytes = e.entries+n, e.bytes+sizes[i].Val() // nil: there is no stream
			if n > e.longest {
				e.longest, e.at = n, int64(first+i)
			}
		}
	}
	return e, nil
}

// commands of integrations are carried out.
func (d *doctor) commands(ctx context.Context) {
	n, err := commands.Stuck(ctx, d.store.Client, d.keys, stuckFor)
	switch {
	case err != nil:
		d.failed(ctx, "commands", err)
	case n > 0:
		d.must(Warn, "commands", "see that a bridge runs: a node takes them over", "%d were taken and not carried out for over a minute", n)
	default:
		d.tell(OK, "commands", "none is stuck")
	}
}

func (d *doctor) sessions(ctx context.Context) {
	n, err := session.NewKeeper(session.Config{Client: d.store.Client, Reader: d.store.Reader, Keys: d.keys}).Count(ctx)
	if err != nil {
		d.failed(ctx, "sessions", err)
		return
	}
	d.tell(OK, "sessions", "%s of apps", count(n, "MQTT session", "MQTT sessions"))
}

// secretKey is the one that devices' secrets are encrypted with.
func (d *doctor) secretKey(ctx context.Context) {
	const name = "secret-key"
	r, err := d.openRegistry()
	if err != nil {
		d.must(Fault, name, "see what --secret-key is given", "%v", err)
		return
	}
	noted, err := r.HasSecretKey(ctx)
	given := d.cfg.SecretKey != ""
	switch {
	case err != nil:
		d.failed(ctx, name, err)
	case !noted && given:
		d.tell(OK, name, "no bridge with a secret key has used this Redis")
	case !noted:
		d.tell(OK, name, "none: devices' secrets are kept as they are")
	case !given:
		d.tell(OK, name, "devices' secrets are encrypted; without M2M_SECRET_KEY the key is not checked")
	default:
		d.fits(ctx, name, r)
	}
}

func (d *doctor) fits(ctx context.Context, name string, r *auth.Registry) {
	switch err := r.CheckSecretKey(ctx); {
	case errors.Is(err, auth.ErrOtherSecretKey):
		d.must(Fault, name, "give the key that this Redis was set up with", "it is another than devices' secrets were encrypted with")
	case err != nil:
		d.failed(ctx, name, err)
	default:
		d.tell(OK, name, "it is the one that devices' secrets are encrypted with")
	}
}

func (d *doctor) openRegistry() (*auth.Registry, error) {
	// What cannot be opened is not opened: an inspection needs no secret.
	return auth.NewRegistry(auth.RegistryConfig{Client: d.store.Client, Keys: d.keys, SecretKey: d.cfg.SecretKey, Now: d.now})
}

// explained is an error in words, of Redis where it is its.
func explained(err error) error {
	if errors.Is(err, auth.ErrUnavailable) {
		return err
	}
	return store.Explain(err)
}
