// Package doctor looks at an installation from outside, as an operator would: the
// Redis and its settings, the clocks, the listeners of a running bridge, and what
// is kept in Redis, which outside hands may have broken. It mends what can be
// mended safely, and prints nothing: each finding is told as it is made.
package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/store"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK    Level = "ok"
	Warn  Level = "warn"  // it works, with a risk that somebody should know of
	Fault Level = "fault" // it does not work, or will not, until somebody does something
)

// Finding is the outcome of one check.
type Finding struct {
	Level  Level  `json:"level"`
	Name   string `json:"name"`             // of the check: one word
	Node   string `json:"node,omitempty"`   // of a cluster
	Found  string `json:"found"`            // in words
	Mended int    `json:"mended,omitempty"` // faults that were mended
	Must   string `json:"must,omitempty"`   // what the operator has to do, a command where there is one
}

// Config says what to look at.
type Config struct {
	Redis      string // URL, as serve has it
	Data       string // directory of the embedded redis-server
	Partitions int    // 0: what is noted in Redis, else 1
	SecretKey  string // ""; none is checked

	// Claimed reads the number of partitions that nodes noted in Redis; 0: none has.
	Claimed func(context.Context, redis.UniversalClient) (int, error)

	UplinksMax, RejectsMax, EventsMax int64 // as serve has them; 0: no limit

	Listeners []Listener
	Fix       bool // mend what can be mended safely

	Tell     func(Finding)
	Progress func(what string, n int) // entries inspected so far; nil: nobody is told

	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// patience is how long a server may take to answer.
const patience = 3 * time.Second

// doctor is one examination.
type doctor struct {
	cfg   Config
	store *store.Store
	keys  auth.Keyspace
	now   func() time.Time
}

// Run makes every check, and returns when all has been told. The error is of ctx,
// if that ended before.
func Run(ctx context.Context, c Config) error {
	d := &doctor{cfg: c, now: c.Now}
	if d.now == nil {
		d.now = time.Now
	}
	for _, l := range c.Listeners {
		d.listener(ctx, l)
	}
	if d.open(ctx) {
		defer func() { _ = d.store.Close() }()
		d.redis(ctx)
		d.kept(ctx)
	}
	return ctx.Err()
}

// kept examines what is in Redis.
func (d *doctor) kept(ctx context.Context) {
	if !d.partitions(ctx) {
		return // nobody knows where to look
	}
	for _, check := range []func(context.Context){d.streams, d.commands, d.sessions, d.secretKey, d.registry, d.downlinks} {
		if ctx.Err() != nil {
			return
		}
		check(ctx)
	}
}

func (d *doctor) tell(l Level, name, format string, args ...any) {
	d.cfg.Tell(Finding{Level: l, Name: name, Found: fmt.Sprintf(format, args...)})
}

// failed tells of a check that could not be made.
func (d *doctor) failed(ctx context.Context, name string, err error) {
	if ctx.Err() == nil { // else it is we who are stopping
		d.tell(Fault, name, "not checked: %v", store.Explain(err))
	}
}

// must is advice beside a finding, unless that is fine.
func (d *doctor) must(l Level, name, must, format string, args ...any) {
	f := Finding{Level: l, Name: name, Found: fmt.Sprintf(format, args...)}
	if l != OK {
		f.Must = must
	}
	d.cfg.Tell(f)
}

// open connects to the store; false if it cannot be reached.
func (d *doctor) open(ctx context.Context) bool {
	url := d.cfg.Redis
	if url == store.Embedded || url == "" {
		var err error
		if url, err = store.RunningURL(d.cfg.Data); err != nil {
			d.must(Fault, "redis", "start m2mbridge serve, or say where Redis is with --redis", "%v, or keeps it in its memory only", err)
			return false
		}
	}
	s, err := store.Open(ctx, store.Config{URL: url, Log: d.cfg.Log, Unchecked: true})
	if err == nil {
		if err = awake(ctx, s); err != nil {
			err = fmt.Errorf("%s: %w", s.Describe(), store.Explain(err))
			_ = s.Close()
		}
	}
	if err != nil {
		d.must(Fault, "redis", "see that it runs, and that --redis is its URL", "%v", err)
		return false
	}
	d.store = s
	d.tell(OK, "redis", "%s answers", s.Describe())
	return true
}

// awake waits for an answer for a while.
func awake(ctx context.Context, s *store.Store) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range 3 {
		if err = s.Client.Ping(ctx).Err(); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// partitions finds out into how many all is spread; false if that cannot be known.
func (d *doctor) partitions(ctx context.Context) bool {
	claimed, err := d.cfg.Claimed(ctx, d.store.Client)
	want := d.cfg.Partitions
	switch {
	case err != nil:
		d.must(Fault, "partitions", "set m2m:{0}:partitions to the number that devices are spread over", "%v", err)
		return false
	case claimed == 0:
		claimed = max(want, 1)
		d.tell(OK, "partitions", "no bridge has used this Redis; %d would be the number", claimed)
	case want != 0 && want != claimed:
		d.must(Fault, "partitions", fmt.Sprintf("serve with --partitions %d", claimed), "%d here, but this Redis was set up with %d, which cannot change", want, claimed)
	default:
		d.tell(OK, "partitions", "%d", claimed)
	}
	d.keys = auth.Keyspace{Partitions: claimed}
	return true
}
