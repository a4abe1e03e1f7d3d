package api

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"m2mbridge/auth"
)

// named gives those devices of a few ids that a query finds.
type named struct {
	registry *auth.Registry
	ids      []auth.DeviceID
	query    auth.ListQuery
	after    place
	page     []auth.Device
	ended    bool
}

// namedPage is how many are read at once.
const namedPage = 500

func (n *named) next(ctx context.Context) (*auth.Device, error) {
	for len(n.page) == 0 {
		if n.ended {
			return nil, nil
		}
		if err := n.read(ctx); err != nil {
			return nil, err
		}
	}
	d := &n.page[0]
	n.page = n.page[1:]
	return d, nil
}

// read takes the next ids where they are in order already, else all of them:
// an app has ten thousand at most.
func (n *named) read(ctx context.Context) error {
	n.ended = true
	ids := n.ids
	if n.query.Sort == auth.ByID {
		ids = n.cut()
	}
	for some := range slices.Chunk(ids, namedPage) {
		devices, err := n.registry.GetDevices(ctx, some)
		if err != nil {
			return err
		}
		for _, d := range devices {
			if d != nil && finds(&n.query, d) {
				n.page = append(n.page, *d)
			}
		}
	}
	slices.SortFunc(n.page, func(a, b auth.Device) int {
		order := placeOf(n.query.Sort, &a).compare(placeOf(n.query.Sort, &b))
		if n.query.Reverse {
			return -order
		}
		return order
	})
	return nil
}

// cut takes the next ids behind the place out of those that are left.
func (n *named) cut() (ids []auth.DeviceID) {
	if n.query.Reverse {
		if n.after.id != "" {
			i, _ := slices.BinarySearch(n.ids, n.after.id)
			n.ids = n.ids[:i]
		}
		from := max(0, len(n.ids)-namedPage)
		ids, n.ids = n.ids[from:], n.ids[:from]
	} else {
		if n.after.id != "" {
			i, here := slices.BinarySearch(n.ids, n.after.id)
			if here {
				i++
			}
			n.ids = n.ids[i:]
		}
		to := min(len(n.ids), namedPage)
		ids, n.ids = n.ids[:to], n.ids[to:]
	}
	n.after, n.ended = place{}, len(n.ids) == 0
	return ids
}

// finds reports whether a query finds the device, as the registry would.
func finds(q *auth.ListQuery, d *auth.Device) bool {
	s := &q.Search
	return within(d.CreatedAt, q.CreatedSince, q.CreatedBefore) && within(d.ModifiedAt, q.ModifiedSince, q.ModifiedBefore) &&
		hasPrefixFold(string(d.ID), s.ID) && strings.HasPrefix(d.ICCID, s.ICCID) && strings.HasPrefix(d.MSISDN, strings.TrimPrefix(s.MSISDN, "+")) &&
		(s.Disabled == nil || *s.Disabled == d.Disabled) && hasLabels(d.Labels, s.Labels) && hasWords(d.Name, s.Name)
}

func within(t, since, before time.Time) bool {
	return (since.IsZero() || !t.Before(since)) && (before.IsZero() || t.Before(before))
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func hasLabels(labels map[string]string, wanted []string) bool {
	for _, w := range wanted {
		name, value, exact := strings.Cut(w, "=")
		have, ok := labels[name]
		if !ok || exact && have != value {
			return false
		}
	}
	return true
}

// hasWords reports whether each word of a search begins a word of the name.
func hasWords(name, search string) bool {
	words := wordsOf(name)
	for _, wanted := range wordsOf(search) {
		if !slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, wanted) }) {
			return false
		}
	}
	return true
}

func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
