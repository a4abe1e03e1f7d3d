package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/trace"
)

const (
	livePath    = "/v1/live"
	livePattern = "GET " + livePath

	pollEvery      = 500 * time.Millisecond // without a nudge
	heartbeatEvery = 15 * time.Second
	liveRest       = 10 * time.Millisecond // between reads of what comes one by one
	liveShare      = 2 * time.Millisecond  // longer for each client: together they read Redis no more often
	liveWriteLimit = time.Minute           // a client that takes nothing for so long is cut off
	manyStreams    = 8                     // above, a cursor is too long to go with every message
)

type liveParams struct {
	Kind        []string `query:"kind" nullable:"false" enum:"uplinks,rejects,events,steps" doc:"What to follow; none: all that the app may read. Steps are those of one device, in time; they need device"`
	Device      string   `query:"device" doc:"Only this device's" example:"IMEI:356726104408422" maxLength:"100"`
	After       string   `query:"after" doc:"Where to start: behind a stream id or cursor, or at an instant (RFC 3339); none: what comes from now on" maxLength:"250000"`
	LastEventID string   `header:"Last-Event-ID" doc:"The last id received: goes on behind it" maxLength:"250000"`
}

func (a *API) addLive() {
	register(a, huma.Operation{
		OperationID: "live", Method: http.MethodGet, Path: livePath, Tags: []string{"streams"}, Errors: []int{http.StatusNotFound},
		Summary: "Follow uplinks, rejects, events, and the steps of a device",
		Description: "Server-sent events of the types `uplink`, `reject`, `event`, `gap` and `step`. Their ids are stream ids, or cursors where several streams " +
			"are followed; Last-Event-ID goes on behind one. Comments are heartbeats. Steps have no ids: with each connection the last 50 that are remembered " +
			"come first, of which `node` and `n` tell those that came before. They need the scope `device.read`. One app may have a quarter of a node's places: beyond, the answer is 429.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The stream, which has no end",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: a.liveSchema()}},
		}},
	}, []auth.Scope{auth.ScopeUplinkRead, auth.ScopeDownlinkRead, auth.ScopeRejectRead, auth.ScopeDeviceRead}, a.live)
}

// liveSchema describes the data of each type of message.
func (a *API) liveSchema() *huma.Schema {
	schemas := a.huma.OpenAPI().Components.Schemas
	data := map[string]*huma.Schema{
		"uplink": schemas.Schema(reflect.TypeFor[Uplink](), true, ""), "reject": schemas.Schema(reflect.TypeFor[Reject](), true, ""),
		"event": schemas.Schema(reflect.TypeFor[Event](), true, ""), "gap": schemas.Schema(reflect.TypeFor[Gap](), true, ""),
		typeStep: schemas.Schema(reflect.TypeFor[trace.Step](), true, ""),
	}
	return &huma.Schema{Type: huma.TypeObject, Description: "The data of each type of message", Properties: data}
}

func (a *API) live(ctx context.Context, in *liveParams) (*huma.StreamResponse, error) {
	app := callerOf(ctx).app
	follow, err := mayFollow(app, in.Kind)
	if err != nil {
		return nil, err
	}
	steps, err := a.wantsSteps(app, in)
	if err != nil {
		return nil, err
	}
	if len(follow) == 0 && !steps {
		return nil, lacks(app, auth.ScopeUplinkRead)
	}
	f, err := a.filter(ctx, in.Device)
	if err != nil {
		return nil, err
	}
	start, location := in.LastEventID, "header.Last-Event-ID"
	if start == "" {
		start, location = in.After, "query.after"
	}
	base, err := a.startOf(start, location)
	if err != nil {
		return nil, err
	}
	l := &liveStream{api: a, filter: f, base: base, kinds: follow, follow: newFollower(a.reader, a.recent, follow, f.partitions)}
	l.follow.seek(base)
	if err := l.follow.seekEnd(ctx, base); err != nil {
		return nil, err
	}
	if steps {
		if err := a.registered(ctx, f.device); err != nil && (!errors.Is(err, auth.ErrUnknown) || len(follow) == 0) {
			return nil, err
		} else if err != nil {
			steps = false // there are only the streams of whose id it was
		}
	}
	if l.place, err = a.lives.take(app.Name); err != nil {
		return nil, err
	}
	if steps {
		if l.steps, err = a.trace.Follow(ctx, app.Name, f.device); err != nil {
			l.place()
			return nil, err
		}
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer l.leave()
		r, w := humago.Unwrap(hc)
		if r.Method == http.MethodHead {
			return // it asks for the header of what has no end
		}
		l.caller = callerOf(hc.Context())
		l.out = newEventWriter(w)
		l.run(r.Context())
	}}, nil
}

// mayFollow gives the kinds to follow. Those asked for must all be allowed;
// without any it is what the app may read.
func mayFollow(app *auth.App, asked []string) ([]stream.Kind, error) {
	var follow []stream.Kind
	for _, k := range stream.Kinds() {
		wanted := len(asked) == 0
		for _, name := range asked {
			wanted = wanted || name == string(k)
		}
		if !wanted {
			continue
		}
		if hasAny(app, readScopes(k)) {
			follow = append(follow, k)
		} else if len(asked) > 0 {
			return nil, lacks(app, readScopes(k)[0])
		}
	}
	return follow, nil
}

// liveStream is one client of /v1/live: a cursor that is nudged. It reads when
// the client has taken what was read before: near the end of the streams from
// memory that all share, further behind from Redis.
type liveStream struct {
	api    *API
	caller caller
	filter filter
	base   stream.Cursor // positions of the partitions that are not followed
	kinds  []stream.Kind
	follow *follower
	steps  *trace.Follower // nil: none are followed
	place  func()          // gives up its place
	out    *eventWriter

	heartbeat *time.Ticker

	told   string // the last cursor the client was given
	broken bool   // Redis did not answer at the last pass
}

// leave frees the client's place.
func (l *liveStream) leave() {
	if l.steps != nil {
		l.steps.Close()
	}
	l.place()
}

// run serves the client until it is gone, its app is, or the server stops.
func (l *liveStream) run(ctx context.Context) {
	l.api.metrics.live.Inc()
	defer l.api.metrics.live.Dec()
	if l.api.follow != nil {
		defer l.api.follow(l.kinds...)()
	}
	if l.out.open() != nil {
		return
	}
	l.heartbeat = time.NewTicker(heartbeatEvery)
	defer l.heartbeat.Stop()
	l.awaitSteps(ctx)
	for {
		grown, soonest := l.grown(), time.Now().Add(liveRest+time.Duration(l.api.lives.count())*liveShare)
		again, err := l.pass(ctx)
		if err != nil || l.beat() != nil {
			return
		}
		if !again && !(l.wait(ctx, grown) && l.rest(ctx, soonest)) {
			return
		}
	}
}

// beat sends a heartbeat when one is due.
func (l *liveStream) beat() error {
	select {
	case <-l.heartbeat.C:
		return l.out.comment(l.moved())
	default:
		return nil
	}
}

// wait returns when the streams have grown, or when it is time to look whether
// they have; false ends the stream.
func (l *liveStream) wait(ctx context.Context, grown <-chan struct{}) bool {
	every := pollEvery
	if l.steps != nil {
		every = stepsEvery
	}
	select {
	case <-ctx.Done():
		return false
	case <-stopping(ctx):
		return false
	case <-grown:
		return true
	case <-time.After(every):
		return true
	}
}

// rest keeps a busy stream from being read entry by entry.
func (l *liveStream) rest(ctx context.Context, until time.Time) bool {
	left := time.Until(until)
	if left <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-stopping(ctx):
		return false
	case <-time.After(left):
		return true
	}
}

// grown is asked for before the streams are read, so that nothing falls between.
func (l *liveStream) grown() <-chan struct{} {
	if l.api.changed == nil {
		return nil
	}
	return l.api.changed()
}

var errEnded = errors.New("live stream ended")

// pass reads once and hands on what the client may see. again means that there
// is more to read at once; an error ends the stream.
func (l *liveStream) pass(ctx context.Context) (again bool, err error) {
	select {
	case <-stopping(ctx):
		return false, errEnded
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	if err := l.renew(ctx); err != nil {
		return false, l.stumble(ctx, err)
	}
	if err := l.tellSteps(ctx); err != nil {
		return false, l.stumble(ctx, err)
	}
	b, err := l.follow.read(ctx)
	if err != nil {
		return false, l.stumble(ctx, err)
	}
	l.broken = false
	if err := l.tellGaps(&b); err != nil {
		return false, err
	}
	for i := range b.entries {
		if err := l.hand(ctx, &b.entries[i], i == len(b.entries)-1); err != nil {
			return false, l.stumble(ctx, err)
		}
	}
	l.follow.settle(&b)
	return b.full, l.out.flush()
}

// tellGaps tells what was trimmed before it was read. Where something follows
// the client's position moves with that, else with the last gap.
func (l *liveStream) tellGaps(b *batch) error {
	for i := range b.gaps {
		id := ""
		if len(b.entries) == 0 && i == len(b.gaps)-1 {
			l.follow.settle(b)
			id = l.moved()
		}
		if err := l.out.send("gap", id, b.gaps[i]); err != nil {
			return err
		}
		l.api.metrics.sent.WithLabelValues("gap").Inc()
	}
	return nil
}

// renew finds the app again: its key may have been taken from it, or its
// filter changed.
func (l *liveStream) renew(ctx context.Context) error {
	app, err := l.api.registry.AppByKey(ctx, l.caller.key)
	if err != nil {
		return err
	}
	for _, t := range l.follow.tails {
		if !hasAny(app, readScopes(t.kind)) {
			return errEnded
		}
	}
	if may, err := l.maySeeSteps(ctx, app); err != nil || !may {
		return cmp.Or(err, errEnded)
	}
	l.caller.app = app
	return nil
}

// stumble sorts out what ends the stream from what may pass: while Redis does
// not answer the client waits, and misses nothing.
func (l *liveStream) stumble(ctx context.Context, err error) error {
	if !errors.Is(err, stream.ErrRedis) && !errors.Is(err, trace.ErrUnavailable) && !errors.Is(err, auth.ErrUnavailable) && !errors.Is(err, auth.ErrBusy) {
		return err
	}
	if !l.broken {
		l.broken = true
		l.api.log.Warn("live stream waits for redis", "request", requestID(ctx), "error", err)
	}
	return nil
}

func (l *liveStream) hand(ctx context.Context, e *stream.Entry, last bool) error {
	ok, err := l.api.mayRead(ctx, l.caller.app, &l.filter, e)
	if err != nil {
		return err
	}
	l.follow.advance(e)
	if !ok {
		return nil
	}
	id := ""
	if last || len(l.follow.tails) <= manyStreams {
		id = l.moved()
	}
	l.api.metrics.sent.WithLabelValues(e.Kind.One()).Inc()
	return l.out.send(e.Kind.One(), id, newItem(e))
}

// moved is the cursor if the client has not been given it yet, else "".
func (l *liveStream) moved() string {
	now := l.follow.cursor(l.base, l.api.keys.Count()).String()
	if now == l.told || strings.Trim(now, "0-") == "" {
		return ""
	}
	l.told = now
	return now
}
