package api

import (
	"context"
	"slices"

	"m2mbridge/auth"
)

// source gives devices one after the other, in the order of a query; nil after the last.
type source interface {
	next(ctx context.Context) (*auth.Device, error)
}

// maxLabelSources is how many labels of a filter are looked up each for itself;
// with more, all devices are looked at.
const maxLabelSources = 16

// sourceOf gives the devices that a query finds and the app sees, behind a
// place. A filter is not held against all devices there are: its ids are read,
// and its labels are searched for.
func (a *API) sourceOf(app *auth.App, q auth.ListQuery, after place) source {
	ids, labels := splitFilter(app)
	sees := func(d *auth.Device) bool { return app.Sees(d.ID, d.Labels) }
	m := &merged{sort: q.Sort, reverse: q.Reverse, after: after, admits: sees}
	switch {
	case len(app.Devices) == 0:
		m.add(&listed{list: a.registry.ListDevices, query: after.from(q)})
		return m
	case len(labels) > maxLabelSources:
		q.Limit = scanLimit
		m.add(&listed{list: a.registry.ListDevices, query: after.from(q)})
		return m
	}
	for _, label := range labels {
		narrow := after.from(q)
		narrow.Search.Labels = append(slices.Clone(q.Search.Labels), label)
		m.add(&listed{list: a.registry.ListDevices, query: narrow})
	}
	if len(ids) > 0 {
		m.add(&named{registry: a.registry, ids: ids, query: q, after: after})
	}
	return m
}

// scanLimit is how many devices are read at once to find those an app sees.
const scanLimit = 1000

// splitFilter parts the ids of an app's filter from its labels.
func splitFilter(app *auth.App) (ids []auth.DeviceID, labels []string) {
	for _, f := range app.Devices {
		if id, err := auth.ParseDeviceID(f); err == nil {
			ids = append(ids, id)
		} else {
			labels = append(labels, f)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), labels
}

// listed gives what a list of the registry has, page after page.
type listed struct {
	list  func(context.Context, auth.ListQuery) ([]auth.Device, string, error)
	query auth.ListQuery
	page  []auth.Device
	ended bool
}

func (l *listed) next(ctx context.Context) (*auth.Device, error) {
	for len(l.page) == 0 {
		if l.ended {
			return nil, nil
		}
		page, next, err := l.list(ctx, l.query)
		if err != nil {
			return nil, err
		}
		l.page, l.ended, l.query.After = page, next == "", next
	}
	d := &l.page[0]
	l.page = l.page[1:]
	return d, nil
}

// merged gives what several sources have, each device once.
type merged struct {
	sort    auth.Sort
	reverse bool
	after   place
	admits  func(*auth.Device) bool
	sources []source
	heads   []*auth.Device // what comes next of each source; nil: it is to be asked
	ended   []bool
}

func (m *merged) add(s source) {
	m.sources, m.heads, m.ended = append(m.sources, s), append(m.heads, nil), append(m.ended, false)
}

func (m *merged) next(ctx context.Context) (*auth.Device, error) {
	for {
		first := -1
		for i := range m.sources {
			if err := m.fill(ctx, i); err != nil {
				return nil, err
			}
			if m.heads[i] != nil && (first < 0 || m.precedes(m.place(i), m.place(first))) {
				first = i
			}
		}
		if first < 0 {
			return nil, nil
		}
		d, at := m.heads[first], m.place(first)
		m.heads[first] = nil
		if m.after.id != "" && !m.precedes(m.after, at) {
			continue // before the page, or given by another source already
		}
		m.after = at
		if m.admits(d) {
			return d, nil
		}
	}
}

// fill asks a source for its next device, if it has one and that is not known yet.
func (m *merged) fill(ctx context.Context, i int) (err error) {
	if m.heads[i] == nil && !m.ended[i] {
		m.heads[i], err = m.sources[i].next(ctx)
		m.ended[i] = m.heads[i] == nil
	}
	return err
}

func (m *merged) place(i int) place { return placeOf(m.sort, m.heads[i]) }

func (m *merged) precedes(p, other place) bool {
	return (p.compare(other) < 0) != m.reverse && p != other
}
