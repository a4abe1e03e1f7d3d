package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
)

// StreamPage is one page of a stream. The cursor is always there: what comes
// later is behind it.
type StreamPage[T any] struct {
	Items  []T    `json:"items" nullable:"false"`
	Cursor string `json:"cursor" doc:"What to give as after, or cursor, for what follows, now or later"`
	More   bool   `json:"more" doc:"More may follow at once"`
	Gap    bool   `json:"gap,omitempty" doc:"Entries behind after may have been trimmed before this page"`
}

type streamParams struct {
	After  string `query:"after" doc:"Where the page starts: behind a stream id or the cursor of an earlier answer, or at an instant (RFC 3339); none: the oldest entry there is" example:"1700000000000-0" maxLength:"250000"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Items in a page, at most"`
	Device string `query:"device" doc:"Only this device's" example:"IMEI:356726104408422" maxLength:"100"`
	Cursor string `query:"cursor" doc:"The same as after, as the other lists call it" maxLength:"250000"`
}

// start is the parameter that says where the page starts, and its name.
func (p *streamParams) start() (text, name string, err error) {
	switch {
	case p.Cursor == "":
		return p.After, "after", nil
	case p.After == "" || p.After == p.Cursor:
		return p.Cursor, "cursor", nil
	}
	return "", "", invalid("query.cursor", "cursor and after are the same parameter: give one of them", p.Cursor)
}

type streamPage[T any] struct{ Body StreamPage[T] }

// readScopes are what one must have to read a kind; see mayRead for events.
func readScopes(k stream.Kind) []auth.Scope {
	switch k {
	case uplinks:
		return []auth.Scope{auth.ScopeUplinkRead}
	case rejects:
		return []auth.Scope{auth.ScopeRejectRead}
	default:
		return []auth.Scope{auth.ScopeDownlinkRead, auth.ScopeUplinkRead}
	}
}

func (a *API) addStreams() {
	addStream(a, uplinks, "Read accepted uplinks", "", newUplink)
	addStream(a, rejects, "Read refused messages", "Nothing in them is verified.", newReject)
	addStream(a, events, "Read events", "With `uplink.read` alone only those of presence, and of the app's own sessions.", newEvent)
}

func addStream[T any](a *API, k stream.Kind, summary, description string, show func(*stream.Entry) T) {
	register(a, huma.Operation{
		OperationID: "list-" + string(k), Method: http.MethodGet, Path: "/v1/" + string(k),
		Summary: summary, Description: description, Tags: []string{"streams"},
	}, readScopes(k), func(ctx context.Context, in *streamParams) (*streamPage[T], error) {
		f, err := a.filter(ctx, in.Device)
		if err != nil {
			return nil, err
		}
		start, name, err := in.start()
		if err != nil {
			return nil, err
		}
		base, err := a.startOf(start, "query."+name)
		if err != nil {
			return nil, err
		}
		page, err := a.page(ctx, k, f, base, in.Limit)
		if err != nil {
			return nil, err
		}
		out := &streamPage[T]{StreamPage[T]{Items: []T{}, Cursor: page.cursor.String(), More: page.more, Gap: page.gap}}
		for i := range page.entries {
			out.Body.Items = append(out.Body.Items, show(&page.entries[i]))
		}
		return out, nil
	})
}

// startOf reads where the client wants to start; "" gives an empty cursor. An
// error says where in the request it was given.
func (a *API) startOf(after, location string) (stream.Cursor, error) {
	if after == "" {
		return stream.Cursor{}, nil
	}
	// The plus of an instant's offset means a space in a query, and is easily forgotten.
	c, err := stream.ParseCursor(strings.Replace(after, " ", "+", 1), a.keys.Count())
	if err != nil {
		return nil, invalid(location, err.Error(), after)
	}
	return c, nil
}

// filter is what one client gets to see of the streams.
type filter struct {
	device     auth.DeviceID // "": every device
	partitions []int         // where to look
}

// filter reads the device parameter, and refuses a device the app may not see.
func (a *API) filter(ctx context.Context, device string) (filter, error) {
	if device == "" {
		f := filter{partitions: make([]int, a.keys.Count())}
		for p := range f.partitions {
			f.partitions[p] = p
		}
		return f, nil
	}
	id, err := parseDevice("query.device", device)
	if err != nil {
		return filter{}, err
	}
	return filter{device: id, partitions: []int{a.keys.Partition(id)}}, a.seen(ctx, id)
}

// mayRead is the one place where an entry is held against the filter and the
// app: its scopes, and the devices it sees. An entry without a device is for
// apps that see all, and for the app that it is about.
func (a *API) mayRead(ctx context.Context, app *auth.App, f *filter, e *stream.Entry) (bool, error) {
	device := e.Fields.Text("device")
	if f.device != "" && device != string(f.device) {
		return false, nil
	}
	if e.Kind == events && device == "" && e.Fields.Text("app") == app.Name {
		return true, nil
	}
	if e.Kind == events && e.Fields.Text("kind") != "presence" && !app.Has(auth.ScopeDownlinkRead) {
		return false, nil
	}
	if len(app.Devices) == 0 {
		return true, nil
	}
	// A reject names the device as it came: what is no id is nobody's.
	id, err := auth.ParseDeviceID(device)
	if err != nil {
		return false, nil
	}
	return a.registry.SeesAt(ctx, app, id, time.UnixMilli(int64(e.ID.MS)))
}

// scanEntries bounds what one request reads to find what its client may see.
const scanEntries = 5000

type readPage struct {
	entries   []stream.Entry
	cursor    stream.Cursor
	more, gap bool
}

// page reads from base on until the page is full, the streams are at their
// end, or the request has cost enough.
func (a *API) page(ctx context.Context, k stream.Kind, f filter, base stream.Cursor, limit int) (readPage, error) {
	app := callerOf(ctx).app
	select {
	case a.pages <- struct{}{}:
		defer func() { <-a.pages }()
	case <-ctx.Done():
		return readPage{}, ctx.Err()
	}
	follow := newFollower(a.reader, nil, []stream.Kind{k}, f.partitions)
	follow.seek(base)
	var page readPage
	for scanned := 0; ; {
		b, err := follow.read(ctx)
		if err != nil {
			return page, err
		}
		page.gap = page.gap || len(b.gaps) > 0
		for i := range b.entries {
			e := &b.entries[i]
			ok, err := a.mayRead(ctx, app, &f, e)
			if err != nil {
				return page, err
			}
			if ok && len(page.entries) == limit {
				page.more, page.cursor = true, follow.cursor(base, a.keys.Count())
				return page, nil
			}
			if ok {
				page.entries = append(page.entries, *e)
			}
			follow.advance(e)
		}
		follow.settle(&b)
		scanned += len(b.entries)
		if !b.full || scanned >= scanEntries {
			page.more, page.cursor = b.full, follow.cursor(base, a.keys.Count())
			return page, nil
		}
	}
}
