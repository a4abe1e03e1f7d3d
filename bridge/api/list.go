package api

import (
	"context"
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
	Cursor string `query:"cursor" doc:"Cursor of the page before" maxLength:"200"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Items in a page, at most"`
	TimeParams
}

func (p *ListParams) query(sort string) auth.ListQuery {
	q := p.TimeParams.query(sort)
	q.After, q.Limit = p.Cursor, p.Limit
	return q
}

// TimeParams bound when things were created and changed.
type TimeParams struct {
	CreatedSince   time.Time `query:"createdSince" doc:"Created at this instant or later"`
	CreatedBefore  time.Time `query:"createdBefore" doc:"Created before this instant"`
	ModifiedSince  time.Time `query:"modifiedSince" doc:"Changed last at this instant or later"`
	ModifiedBefore time.Time `query:"modifiedBefore" doc:"Changed last before this instant"`
}

func (p *TimeParams) query(sort string) auth.ListQuery {
	return auth.ListQuery{
		Reverse:      strings.HasPrefix(sort, "-"),
		CreatedSince: p.CreatedSince, CreatedBefore: p.CreatedBefore,
		ModifiedSince: p.ModifiedSince, ModifiedBefore: p.ModifiedBefore,
	}
}

// SearchParams say which devices a list or an export has.
type SearchParams struct {
	TimeParams
	Sort     string   `query:"sort" enum:"id,-id,createdAt,-createdAt,modifiedAt,-modifiedAt" default:"id" doc:"Order; - turns it round. In that of changes, a device that changes meanwhile comes again"`
	ID       string   `query:"id" maxLength:"100" doc:"How its id begins" example:"IMEI:35672610"`
	ICCID    string   `query:"iccid" maxLength:"20" doc:"How its ICCID begins"`
	MSISDN   string   `query:"msisdn" maxLength:"20" doc:"How its MSISDN begins" example:"316"`
	Name     string   `query:"name" maxLength:"200" doc:"Words that words of its name begin with, in any case"`
	Label    []string `query:"label,explode" nullable:"false" maxItems:"20" doc:"A label it has, as name or name=value; may be given several times"`
	Disabled string   `query:"disabled" enum:"true,false" doc:"Only those that are disabled, or that are not"`
}

func (p *SearchParams) query() auth.ListQuery {
	q := p.TimeParams.query(p.Sort)
	q.Sort = auth.Sort(strings.TrimPrefix(p.Sort, "-"))
	q.Search = auth.Search{ID: p.ID, ICCID: p.ICCID, MSISDN: p.MSISDN, Name: p.Name, Labels: p.Label}
	if p.Disabled != "" {
		disabled := p.Disabled == "true"
		q.Search.Disabled = &disabled
	}
	return q
}

type listDevicesInput struct {
	Cursor string `query:"cursor" doc:"Cursor of the page before, of the same order" maxLength:"200"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Items in a page, at most"`
	SearchParams
}

type devicePage struct{ Body Page[Device] }

// listDevices gives a page. Its cursor is the place of the last device on it,
// which the app sees: never that of one it does not.
func (a *API) listDevices(ctx context.Context, in *listDevicesInput) (*devicePage, error) {
	q, app := in.query(), callerOf(ctx).app
	after, err := parsePlace(q.Sort, in.Cursor)
	if err != nil {
		return nil, err
	}
	q.Limit = in.Limit + 1 // to know whether there are more
	found := a.sourceOf(app, q, after)
	var devices []auth.Device
	for len(devices) <= in.Limit {
		d, err := found.next(ctx)
		if err != nil {
			return nil, err
		}
		if d == nil {
			break
		}
		devices = append(devices, *d)
	}
	out := &devicePage{}
	if len(devices) > in.Limit {
		devices = devices[:in.Limit]
		out.Body.Cursor = placeOf(q.Sort, &devices[in.Limit-1]).String()
	}
	out.Body.Items, err = a.showDevices(ctx, app, devices)
	return out, err
}
