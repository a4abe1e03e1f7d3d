// Package texter takes downlinks to devices by SMS, and wakes devices up: it makes the attempts as they fall due, and tells what
// became of each, by the gateway's answer and by receipts. When one is due, and what an outcome means for the downlink, is for
// bridge/downlink to say; how it is submitted, for sms.
package texter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/due"
	"m2mbridge/sms"
)

// Downlinks is what a Texter asks of *downlink.Service.
type Downlinks interface {
	BeginSMS(ctx context.Context, c due.Claim) (a downlink.SMSAttempt, ok bool, err error)
	EndSMS(ctx context.Context, id string, number int, o downlink.SMSOutcome) (bool, error)
	Receipt(ctx context.Context, id string, r downlink.SMSReceipt) (bool, error)
	SMSDue(lease time.Duration) *due.Set
}

// Config is what a Texter needs.
type Config struct {
	Client    redis.UniversalClient // keeps which message of the SMSC is which attempt; bounds its commands by their contexts
	Keys      auth.Keyspace
	Downlinks Downlinks
	Gateway   sms.Gateway

	Originator string
	WakeText   string                                 // of the SMS that wake devices up
	Validity   func(step time.Duration) time.Duration // of an attempt the next of which is so far away
	Keep       time.Duration                          // how long receipts of an attempt may come; 0: 72 h

	Window int     // attempts at a time on this node; 0: 10
	Rate   float64 // attempts a second on this node; 0: no limit

	// Note is told in words what happens to a device's SMS through this node; it must not block. Nil: nobody is told.
	Note func(device auth.DeviceID, text string)

	Blocking redis.UniversalClient // hears of what other nodes make due; nil: within a second or so
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger
}

// Texter makes the attempts; make one with New.
type Texter struct {
	cfg     Config
	metrics *metrics
	untold  untold
}

const (
	lease     = 30 * time.Second
	spare     = 5 * time.Second // of the lease, for telling the outcome
	stopGrace = 3 * time.Second // for answers of the gateway, when it is to stop
	pause     = time.Second     // before the next, after one of which not a byte left
	retryIn   = 200 * time.Millisecond
	atATime   = 10
	keepIDs   = 72 * time.Hour
)

// New makes a Texter; it asks nothing of Redis yet.
func New(c Config) *Texter {
	if c.Window <= 0 {
		c.Window = atATime
	}
	if c.Keep <= 0 {
		c.Keep = keepIDs
	}
	if c.Note == nil {
		c.Note = func(auth.DeviceID, string) {}
	}
	ready := func() bool { ok, _ := c.Gateway.Ready(); return ok }
	return &Texter{cfg: c, metrics: newMetrics(c.Metrics, ready)}
}

// Run makes attempts until ctx ends, waits for the answers to those under way, and stops the gateway. It returns nil then.
func (t *Texter) Run(ctx context.Context) error {
	worker := due.NewWorker(due.WorkerConfig{
		Set: t.cfg.Downlinks.SMSDue(lease), Handler: due.HandlerFunc(t.act), Open: t.cfg.Gateway.Ready, // else no attempt is begun
		InFlight: t.cfg.Window, Batch: t.cfg.Window, Rate: rate.Limit(t.cfg.Rate), Burst: 1,
		Blocking: t.cfg.Blocking, Metrics: t.cfg.Metrics, Log: t.cfg.Log,
	})
	on, off := context.WithCancel(context.WithoutCancel(ctx))
	defer off()
	var g errgroup.Group
	g.Go(func() error { return t.cfg.Gateway.Run(on) })
	g.Go(func() error { t.tellAll(on); return nil })
	err := worker.Run(ctx)
	off()
	return errors.Join(err, g.Wait())
}

// act makes one attempt. The scripts set when the next is due.
func (t *Texter) act(ctx context.Context, c due.Claim) due.Outcome {
	a, ok := t.begin(ctx, c)
	if !ok {
		return due.Left()
	}
	if time.Until(c.Until) <= spare { // too little for it: its outcome would be anybody's guess
		t.ended(t.message(a), a.Device, sms.Accepted{}, sms.ErrNotSent)
		return due.Left()
	}
	submitting, done := t.submitting(ctx, c)
	defer done()
	m := t.message(a)
	if err := t.name(submitting, m); err != nil {
		t.ended(m, a.Device, sms.Accepted{}, fmt.Errorf("%w: %w", sms.ErrNotSent, err))
		return due.Left()
	}
	accepted, err := t.cfg.Gateway.Submit(submitting, m)
	t.ended(m, a.Device, accepted, err)
	return due.Left()
}

// name notes the ids of an attempt where they are known beforehand: a receipt may be all that is ever heard of it.
func (t *Texter) name(ctx context.Context, m sms.Message) error {
	n, ok := sms.As[sms.Naming](t.cfg.Gateway)
	if !ok {
		return nil
	}
	return t.learn(ctx, told{gateway: t.cfg.Gateway.Name(), m: m, ids: distinct(n.IDs(m))})
}

// begin asks until it knows: the claim is the attempt's, whoever lost an answer.
func (t *Texter) begin(ctx context.Context, c due.Claim) (downlink.SMSAttempt, bool) {
	for {
		a, ok, err := t.cfg.Downlinks.BeginSMS(ctx, c)
		if err == nil {
			return a, ok
		}
		select {
		case <-ctx.Done():
			return a, false
		case <-time.After(retryIn):
		}
	}
}

// submitting bounds an attempt by its lease; a worker that is to stop waits a little for the gateway's answer.
func (t *Texter) submitting(ctx context.Context, c due.Claim) (context.Context, func()) {
	on, end := context.WithDeadline(context.WithoutCancel(ctx), c.Until.Add(-spare))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(stopGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-on.Done():
		}
		end()
	})
	return on, func() { stop(); end() }
}

func (t *Texter) message(a downlink.SMSAttempt) sms.Message {
	m := sms.Message{
		ID: a.ID, Attempt: a.Number, Device: string(a.Device), To: a.MSISDN, From: t.cfg.Originator, Validity: t.cfg.Validity(a.Validity),
	}
	switch a.Kind {
	case downlink.SMSData:
		m.Data = []byte(a.Content)
	case downlink.SMSWake:
		m.Text = t.cfg.WakeText
	default:
		m.Text = a.Content
	}
	return m
}

// ended notes what became of an attempt: first which messages of the SMSC are its own, so that no receipt is a stranger's.
func (t *Texter) ended(m sms.Message, device auth.DeviceID, accepted sms.Accepted, err error) {
	o := outcomeOf(t.cfg.Gateway.Name(), accepted, err)
	t.metrics.attempts.WithLabelValues(string(o.End)).Inc()
	t.cfg.Note(device, m.ID+" by SMS, attempt "+strconv.Itoa(m.Attempt)+": "+o.Text)
	t.tell(told{gateway: t.cfg.Gateway.Name(), m: m, ids: accepted.IDs, outcome: o})
}

func outcomeOf(gateway string, a sms.Accepted, err error) downlink.SMSOutcome {
	var refusal *sms.Refusal
	switch {
	case err == nil:
		o := downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by " + gateway, Receipts: a.Receipts}
		if len(a.IDs) > 0 {
			o.Text += ", id " + a.IDs[0]
		}
		if n := len(a.IDs); n > 1 {
			o.Text += " and " + strconv.Itoa(n-1) + " more"
		}
		if a.Note != "" {
			o.Text += ": " + a.Note
		}
		return o
	case errors.As(err, &refusal):
		end := map[sms.Class]downlink.SMSEnd{sms.Permanent: downlink.SMSPermanent, sms.Throttled: downlink.SMSThrottled}[refusal.Class]
		if end == "" {
			end = downlink.SMSTemporary
		}
		return downlink.SMSOutcome{End: end, Text: gateway + ": " + refusal.Error(), Pause: pause}
	case errors.Is(err, sms.ErrNotSent):
		return downlink.SMSOutcome{End: downlink.SMSUnsent, Text: gateway + ": " + err.Error(), Pause: pause}
	}
	return downlink.SMSOutcome{End: downlink.SMSUnknown, Text: gateway + ": " + err.Error()}
}

// Late is told of an answer that came after its attempt was given up, as sms.Receive has it.
func (t *Texter) Late(_ context.Context, gateway string, m sms.Message, a sms.Accepted, err error) {
	o := outcomeOf(gateway, a, err)
	if o.End == downlink.SMSUnknown || o.End == downlink.SMSUnsent {
		return
	}
	o.Text += ", said late"
	t.tell(told{gateway: gateway, m: m, ids: a.IDs, outcome: o})
}

// told is an outcome that Redis is to be told.
type told struct {
	gateway string
	m       sms.Message
	ids     []string
	outcome downlink.SMSOutcome
}

// untold are outcomes that Redis could not be told yet.
type untold struct {
	mu   sync.Mutex
	list []told
}

const untoldKept = 10_000

// tell tells an outcome now, or leaves it to tellAll.
func (t *Texter) tell(o told) {
	ctx, cancel := context.WithTimeout(context.Background(), spare)
	defer cancel()
	if t.tellOnce(ctx, o) == nil {
		return
	}
	t.untold.mu.Lock()
	defer t.untold.mu.Unlock()
	if len(t.untold.list) < untoldKept { // else nobody knows what became of it
		t.untold.list = append(t.untold.list, o)
	}
}

func (t *Texter) tellOnce(ctx context.Context, o told) error {
	o.ids = distinct(o.ids)
	if err := t.learn(ctx, o); err != nil {
		return err
	}
	if err := t.early(ctx, o); err != nil {
		return err
	}
	_, err := t.cfg.Downlinks.EndSMS(ctx, o.m.ID, o.m.Attempt, o.outcome)
	return err
}

// tellAll tells what could not be told, until ctx ends, and then once more.
func (t *Texter) tellAll(ctx context.Context) {
	for on := true; on; {
		select {
		case <-ctx.Done():
			on = false
		case <-time.After(retryIn):
		}
		t.untold.mu.Lock()
		list := t.untold.list
		t.untold.list = nil
		t.untold.mu.Unlock()
		for i, o := range list {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), spare)
			err := t.tellOnce(last, o)
			cancel()
			if err != nil {
				t.untold.mu.Lock()
				t.untold.list = append(list[i:], t.untold.list...)
				t.untold.mu.Unlock()
				break
			}
		}
	}
	if n := len(t.untold.list); n > 0 {
		t.cfg.Log.Warn("outcomes of SMS are not noted: nobody knows what became of them", "attempts", n)
	}
}
