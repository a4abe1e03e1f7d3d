package api

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
)

// place is where a device stands in an order: by time, and of two alike by id.
// Where the order is that of ids alone the time is 0.
type place struct {
	at int64 // Unix ms
	id auth.DeviceID
}

func placeOf(sort auth.Sort, d *auth.Device) place {
	switch sort {
	case auth.ByCreated:
		return place{d.CreatedAt.UnixMilli(), d.ID}
	case auth.ByModified:
		return place{d.ModifiedAt.UnixMilli(), d.ID}
	}
	return place{id: d.ID}
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.at, other.at), cmp.Compare(p.id, other.id))
}

// String is the place as a cursor: the id, with the time before it where there is one.
func (p place) String() string {
	if p.at == 0 {
		return string(p.id)
	}
	return strconv.FormatInt(p.at, 36) + "." + string(p.id)
}

// parsePlace reads a cursor of lists in that order.
func parsePlace(sort auth.Sort, cursor string) (p place, err error) {
	if cursor == "" {
		return p, nil
	}
	id := cursor
	if sort != auth.ByID {
		var at string
		at, id, _ = strings.Cut(cursor, ".")
		p.at, err = strconv.ParseInt(at, 36, 64)
	}
	parsed, idErr := auth.ParseDeviceID(id)
	if p.id = parsed; err != nil || idErr != nil || (sort != auth.ByID) != (p.at > 0) {
		return place{}, invalid("query.cursor", "it is no cursor of a list in this order", cursor)
	}
	return p, nil
}

// from has a query begin behind a place.
func (p place) from(q auth.ListQuery) auth.ListQuery {
	if p.id != "" {
		at := time.UnixMilli(p.at)
		q.After = q.CursorOf(&auth.Device{ID: p.id, CreatedAt: at, ModifiedAt: at})
	}
	return q
}
