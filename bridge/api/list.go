package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"m2mbridge/auth"
)

// Page is one page of a list.
type Page[T any] struct {
	Items  []T    `json:"items" nullable:"false"`
	Cursor string `json:"cursor,omitempty" doc:"What to give as cursor for the next page; missing after the last"`
}

// ListParams are the parameters that lists of things have in common.
type ListParams struct {
	Cursor         string    `query:"cursor" doc:"Cursor of the page before" maxLength:"200"`
	Limit          int       `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Items in a page, at most"`
	CreatedSince   time.Time `query:"createdSince" doc:"Created at this instant or later"`
	CreatedBefore  time.Time `query:"createdBefore" doc:"Created before this instant"`
	ModifiedSince  time.Time `query:"modifiedSince" doc:"Changed last at this instant or later"`
	ModifiedBefore time.Time `query:"modifiedBefore" doc:"Changed last before this instant"`
}

func (p *ListParams) query(sort string) auth.ListQuery {
	return auth.ListQuery{
		After: p.Cursor, Limit: p.Limit, Reverse: strings.HasPrefix(sort, "-"),
		CreatedSince: p.CreatedSince, CreatedBefore: p.CreatedBefore,
		ModifiedSince: p.ModifiedSince, ModifiedBefore: p.ModifiedBefore,
	}
}

type listDevicesInput struct {
	ListParams
	Sort string `query:"sort" enum:"id,-id" default:"id" doc:"Order; - turns it round"`
}

type devicePage struct{ Body Page[Device] }

func (a *API) listDevices(ctx context.Context, in *listDevicesInput) (*devicePage, error) {
	q, app := in.query(in.Sort), callerOf(ctx).app
	list := a.registry.ListDevices
	if ids, ok := listedIDs(app); ok {
		list = func(ctx context.Context, q auth.ListQuery) ([]auth.Device, string, error) {
			return a.readListed(ctx, ids, q)
		}
	}
	out := &devicePage{Page[Device]{Items: []Device{}}}
	for {
		page, next, err := list(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if !app.Sees(page[i].ID, page[i].Labels) {
				continue
			}
			out.Body.Items = append(out.Body.Items, showDevice(&page[i]))
			if len(out.Body.Items) < in.Limit {
				continue
			}
			if i < len(page)-1 || next != "" {
				// The cursor names a device the app sees, never one it does not.
				out.Body.Cursor = out.Body.Items[in.Limit-1].ID
			}
			return out, nil
		}
		if next == "" {
			return out, nil
		}
		q.After, q.Limit = next, scanLimit
	}
}

// scanLimit is how many devices are read at once to find those an app sees.
const scanLimit = 1000

// listedIDs are the devices of an app whose filter has ids only: they can be
// read one by one, however many devices there are.
func listedIDs(app *auth.App) ([]auth.DeviceID, bool) {
	var ids []auth.DeviceID
	for _, f := range app.Devices {
		id, err := auth.ParseDeviceID(f)
		if err != nil {
			return nil, false
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), len(ids) > 0
}

// readListed is ListDevices over a few ids.
func (a *API) readListed(ctx context.Context, ids []auth.DeviceID, q auth.ListQuery) (page []auth.Device, next string, err error) {
	if q.Reverse {
		ids = slices.Clone(ids)
		slices.Reverse(ids)
	}
	for _, id := range ids {
		if before := strings.Compare(string(id), q.After); q.After != "" && (before <= 0) != q.Reverse || string(id) == q.After {
			continue
		}
		d, err := a.registry.GetDevice(ctx, id)
		if errors.Is(err, auth.ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if within(d.CreatedAt, q.CreatedSince, q.CreatedBefore) && within(d.ModifiedAt, q.ModifiedSince, q.ModifiedBefore) {
			page = append(page, d)
		}
		if len(page) == q.Limit {
			return page, string(id), nil
		}
	}
	return page, "", nil
}

func within(t, since, before time.Time) bool {
	return (since.IsZero() || !t.Before(since)) && (before.IsZero() || t.Before(before))
}
