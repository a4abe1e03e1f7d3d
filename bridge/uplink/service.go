package uplink

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/senml"
)

// Once says what is done about the same bytes sent again by the same device.
// It applies to packs that fix their own time; packs without one are always new.
type Once string

// The modes of Once.
const (
	OnceOff     Once = "off"     // every uplink is stored
	OnceObserve Once = "observe" // every uplink is stored, repeats are counted
	OnceDedupe  Once = "dedupe"  // a repeat is answered as the first was, and stored once
	OnceEnforce Once = "enforce" // as dedupe, and a pack older than the device's newest by more than the tolerance is refused
)

// Config is what a Service is made of. Client must not resend commands by
// itself (MaxRetries -1): the committer's script knows what it has stored, a
// bare resend of anything else does not.
type Config struct {
	Client        redis.UniversalClient
	Keys          auth.Keyspace
	Registry      Registry
	Log           *slog.Logger
	SenML         senml.Options
	Once          Once               // "": OnceDedupe
	Window        int                // uplinks per device among which a repeat is recognised; 0: 16
	Tolerance     time.Duration      // OnceEnforce: how much older than the newest a pack may be
	KeepRaw       bool               // store the body as received beside the pack
	MaxUplinks    int64              // length of a partition's uplinks stream, about; 0: no limit
	MaxAge        time.Duration      // how long uplinks are kept, about; 0: no limit
	MaxRejects    int64              // length of a partition's rejects stream, about; 0: rejects are counted, not kept
	RejectRate    float64            // rejects written a second, the rest is counted; 0: no limit
	DeviceRate    float64            // uplinks a second and device; 0: no limit
	DeviceBurst   int                // uplinks a device may send at once; 0: the rate, at least 1
	RevealUnknown bool               // tell an unknown device that it is unknown
	MaxBody       int                // bytes of a body; 0: no limit (edges may have refused it before)
	TrailingNUL   bool               // forgive NUL bytes after the pack on the m2m path and MQTT
	UnsignedFrom  []netip.Prefix     // networks from which unsigned devices are believed
	Deadline      time.Duration      // from receipt to verdict; 0: 850 ms
	Lanes         int                // batches in flight at once in each partition; 0: 1, which makes the largest batches
	Metrics       *Metrics           // nil: none kept
	Downlinks     *downlink.Service  // what contacts over HTTP take along; nil: nothing
	OnCommit      func(Commit)       // told of each stored batch, in order per lane; must not block
	Newest        func(p int) string // id up to which a partition's stream was handed on: what is stored goes behind it; nil: not known
	Trace         Tracer             // told of each verdict on a message that names a device; nil: nobody is
	Now           func() time.Time   // when an uplink is received; nil: time.Now
}

// Service verifies and stores uplinks. Run must be running for uplinks to be
// stored and rejects to be written.
type Service struct {
	cfg     Config
	limit   *limiter
	lanes   []*lane
	rejects *rejecter
	stored  *state       // Redis takes uplinks
	judged  *state       // the registry can be asked
	sealed  *state       // a secret cannot be decrypted: told once
	seed    maphash.Seed // spreads devices over lanes
	pool    sync.Pool    // of *uplink
	waiters sync.Pool    // of chan Verdict; each is empty when it is put back
}

// New makes a Service; the zero values of cfg stand for their defaults.
func New(cfg Config) (*Service, error) {
	if cfg.Client == nil || cfg.Registry == nil {
		return nil, errors.New("uplink: a Redis client and a registry are needed")
	}
	cfg.setDefaults()
	s := &Service{cfg: cfg, limit: newLimiter(cfg.DeviceRate, cfg.DeviceBurst)}
	s.seed = maphash.MakeSeed()
	s.pool.New = func() any { return new(uplink) }
	s.waiters.New = func() any { return make(chan Verdict, 1) }
	s.stored = &state{log: cfg.Log, lost: "redis does not take uplinks: devices are told to try again", back: "redis takes uplinks again"}
	s.judged = &state{log: cfg.Log, lost: "registry cannot be asked: devices are told to try again", back: "registry can be asked again"}
	s.sealed = &state{log: cfg.Log, lost: "secret of a device cannot be decrypted: its uplinks wait for the right secret key"}
	s.rejects = newRejecter(cfg)
	node := newNodeID()
	for p := range cfg.Keys.Count() {
		for i := range cfg.Lanes {
			s.lanes = append(s.lanes, newLane(&s.cfg, s.stored, node, p, i))
		}
	}
	return s, nil
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Once == "" {
		c.Once = OnceDedupe
	}
	setDefault(&c.Window, 16)
	setDefault(&c.Deadline, 850*time.Millisecond)
	setDefault(&c.Lanes, 1)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Run stores what Submit hands over until ctx ends, then settles what is in
// flight. Edges must have stopped submitting before ctx ends: an uplink
// submitted later is answered Unavailable.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, l := range s.lanes {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Go(func() { s.rejects.run(ctx) })
	wg.Go(func() { s.trim(ctx) })
	wg.Wait()
	return nil
}

// Accept is Submit for a caller that waits.
func (s *Service) Accept(ctx context.Context, m *Message) Verdict {
	w := s.waiters.Get().(chan Verdict)
	s.Submit(ctx, m, func(v Verdict) { w <- v })
	v := <-w
	s.waiters.Put(w)
	return v
}

func (s *Service) begin(m *Message) *uplink {
	u := s.pool.Get().(*uplink)
	u.msg, u.at, u.id, u.body = m, s.cfg.Now(), "", nil
	u.heartbeat, u.fixesTime, u.newest, u.ack, u.spelling, u.proof = false, false, 0, "", nil, auth.Proof{}
	u.normalised = u.normalised[:0]
	return u
}

func (s *Service) end(u *uplink) {
	u.msg, u.body = nil, nil
	if cap(u.normalised) <= maxPooled && cap(u.pack.Records) <= maxRecords {
		s.pool.Put(u)
	}
}

// What a pooled uplink may hold on to: an unusually large pack's memory is let go.
const (
	maxPooled  = 16 << 10 // bytes of the normalised pack
	maxRecords = 64
)

// refuse gives the verdict for an error of a step, and has it written to the
// rejects stream. What is Unavailable was not judged, so it is not a reject.
func (s *Service) refuse(u *uplink, err error) Verdict {
	var r *Refusal
	if !errors.As(err, &r) {
		r = refusal(Unavailable, "unavailable", "the uplink could not be judged now: try again")
		r.cause = err
	}
	s.cfg.Metrics.refused(u.msg.Via, r)
	claimant := u.claimant()
	s.traceRefusal(u, claimant, r)
	if r.Outcome == Unavailable {
		return Verdict{Outcome: Unavailable, Reason: r.Reason, Detail: r.Detail, RetryAfter: retryAfter}
	}
	s.rejects.add(Reject{Device: string(claimant), Via: u.msg.Via, At: u.at, Reason: r.Reason, Detail: r.Detail, Remote: u.msg.Remote, Body: u.msg.Body})
	return Verdict{Outcome: r.Outcome, Reason: r.Reason, Detail: r.Detail, RetryAfter: r.RetryAfter}
}

// Reject counts and writes a refusal that an edge made itself, such as a failed login.
func (s *Service) Reject(r Reject) {
	s.cfg.Metrics.rejected(r.Via, r.Reason)
	s.rejects.add(r)
}

// retryAfter is what a device is told when Redis cannot store.
const retryAfter = time.Second
