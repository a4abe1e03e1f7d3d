package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
	"m2mbridge/senml"
)

// Tail is `m2mbridge tail`.
type Tail struct {
	apiFlags
	Device string   `placeholder:"ID" help:"Only this device's."`
	Kind   []string `enum:"uplinks,rejects,events,steps" placeholder:"uplinks,rejects,events,steps" help:"What to follow; without it, all that the app may read. Steps are one device's, and what became of its last messages comes first."`
	After  string   `placeholder:"ID|INSTANT" help:"Stream id or cursor to start behind, 0 for all that is still there, or an instant (RFC 3339) to start at; without it, what comes from now on."`
	Last   bool     `help:"Print the last steps that are remembered of --device, 50 at most, and end."`
}

// Help is the longer text of --help.
func (Tail) Help() string {
	return `It goes on where it was when the bridge comes back, until it is interrupted.
Of one device it shows each step of its messages, too: bytes in, verdict, pack,
stream id, topics and how many subscribers were given it; and its connections,
downlinks and SMS.
Examples:

  m2mbridge tail --device IMEI:356726104408422
  m2mbridge tail --device IMEI:356726104408422 --last
  m2mbridge tail --kind uplinks --after 0 --json
  m2mbridge tail --kind rejects --after 2026-01-31T08:00:00Z`
}

// Waits between attempts to connect again.
const (
	tailPause    = 500 * time.Millisecond
	tailPauseMax = 5 * time.Second
	// A bridge sends a heartbeat every 15 s: three missed and it is gone.
	tailSilence = 45 * time.Second
)

// Run follows the streams until ctx ends, or nobody reads on.
func (c *Tail) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, out, stop := env.whileRead()
	defer stop()
	t := &tailing{client: client, query: url.Values{}, out: out, notes: env.Stderr, json: c.JSON, shown: shownSteps{}}
	if c.Last {
		return c.last(ctx, t)
	}
	if c.Device != "" {
		t.query.Set("device", c.Device)
	}
	if c.After != "" {
		t.query.Set("after", c.After) // after a reconnect Last-Event-ID has the last word
	}
	if len(c.Kind) > 0 {
		t.query.Set("kind", strings.Join(c.Kind, ","))
	}
	return t.run(ctx)
}

// tailing is a `tail` under way.
type tailing struct {
	client     *apiClient
	query      url.Values
	last       string // id of the last message, to go on behind
	out, notes io.Writer
	json       bool
	shown      shownSteps
	before     shownSteps // on earlier connections
}

// run connects again and again. What a user must mend ends it; at the first
// attempt so does a bridge that is not there.
func (t *tailing) run(ctx context.Context) error {
	pause := time.Duration(0)
	for connected := false; ; {
		got, err := t.follow(ctx)
		connected = connected || got
		if ctx.Err() != nil {
			return nil // interrupted: that is how it ends
		}
		var refused *apiError
		if !connected || errors.As(err, &refused) && refused.status < 500 {
			return err
		}
		if got {
			pause = 0
			fmt.Fprintf(t.notes, "connection lost (%v), connecting again\n", err)
		}
		pause = min(max(2*pause, tailPause), tailPauseMax)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// follow reads one connection to its end; got means that there was one.
func (t *tailing) follow(ctx context.Context) (got bool, err error) {
	t.before = maps.Clone(t.shown)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(tailSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	r := request{method: http.MethodGet, path: "/v1/live", query: t.query, header: http.Header{"Accept": {"text/event-stream"}}}
	if t.last != "" {
		r.header["Last-Event-Id"] = []string{t.last}
	}
	resp, err := t.client.open(ctx, r)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	err = readEvents(resp.Body, func(m sseMessage) error {
		silence.Reset(tailSilence)
		if err := t.show(&m); err != nil {
			return err
		}
		if m.id != "" {
			t.last = m.id
		}
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return true, err
}

var errSilent = errors.New("the bridge has gone silent")

// show prints one message; heartbeats have no event.
func (t *tailing) show(m *sseMessage) error {
	if m.event == "" {
		return nil
	}
	switch m.event {
	case "gap":
		return t.showGap(m.data)
	case "step":
		return t.showStep(m.data)
	}
	if t.json {
		_, err := fmt.Fprintf(t.out, "{\"type\":%q,%s\n", m.event, strings.TrimPrefix(m.data, "{"))
		return err
	}
	at, device, text, err := describe(m)
	if err != nil {
		return fmt.Errorf("read %s: %w", m.event, err)
	}
	_, err = fmt.Fprintf(t.out, "%s  %-7s %-20s  %s\n", at.Local().Format("15:04:05.000"), m.event, printable(device), printable(text))
	return err
}

func (t *tailing) showGap(data string) error {
	var g api.Gap
	if err := json.Unmarshal([]byte(data), &g); err != nil {
		return fmt.Errorf("read gap: %w", err)
	}
	count := ""
	if g.Count > 0 {
		count = strconv.FormatInt(g.Count, 10) + " "
	}
	fmt.Fprintf(t.notes, "gap: %s%s between %s and %s were trimmed before they could be read\n", count, g.Kind, g.After, g.Next)
	return nil
}

// describe tells a message in a line.
func describe(m *sseMessage) (at time.Time, device, text string, err error) {
	switch m.event {
	case "uplink":
		var u api.Uplink
		err = json.Unmarshal([]byte(m.data), &u)
		return u.At, u.Device, u.Via + "  " + summary(&u), err
	case "reject":
		var r api.Reject
		err = json.Unmarshal([]byte(m.data), &r)
		return r.At, r.Device, strings.TrimRight(fmt.Sprintf("%s  %s: %s  %s", r.Via, r.Reason, r.Detail, r.Remote), " "), err
	default:
		var e api.Event
		err = json.Unmarshal([]byte(m.data), &e)
		return e.At, cmp.Or(e.Device, e.App), strings.TrimRight(fmt.Sprintf("%-8s  %s %s  %s", e.Kind, e.Subject, e.State, e.Cause), " "), err
	}
}

// summary is a pack's measurements, name=value with the unit; what is no pack
// is shown as it is.
func summary(u *api.Uplink) string {
	var pack senml.Pack
	if pack.Decode(u.Pack, senml.Options{}) != nil || pack.Resolve(u.At) != nil {
		return string(u.Pack)
	}
	base := ""
	if id, err := auth.ParseDeviceID(u.Device); err == nil {
		base = id.BaseName()
	}
	var words []string
	for r := range pack.Resolved() {
		words = append(words, strings.TrimPrefix(r.Name, base)+"="+valueOf(&r)+r.Unit)
	}
	return strings.Join(words, " ")
}

func valueOf(r *senml.Resolved) string {
	switch r.Kind {
	case senml.Number:
		return strconv.FormatFloat(r.Number, 'g', -1, 64)
	case senml.Bool:
		return strconv.FormatBool(r.Bool)
	case senml.None:
		return "sum " + strconv.FormatFloat(r.Sum, 'g', -1, 64)
	default:
		return strconv.Quote(r.Text)
	}
}
