package auth

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Search narrows a list of devices. Every field that is set must match.
type Search struct {
	ID       string   // how the id begins, or what stands behind its colon
	ICCID    string   // how it begins
	MSISDN   string   // how it begins; a leading + is dropped
	Name     string   // words, each the beginning of a word of the name, in any case
	Labels   []string // each a label's name, or name=value
	Disabled *bool
}

// matches holds a device against the search.
func (s *Search) matches(d *Device) bool {
	return (s.Disabled == nil || *s.Disabled == d.Disabled) && s.hasID(d.ID) &&
		strings.HasPrefix(d.ICCID, s.ICCID) && strings.HasPrefix(d.MSISDN, strings.TrimPrefix(s.MSISDN, "+")) &&
		s.hasName(d.Name) && s.hasLabels(d.Labels)
}

func (s *Search) hasID(id DeviceID) bool {
	return len(s.ID) == 0 || slices.ContainsFunc(s.idPrefixes(), func(p string) bool { return strings.HasPrefix(string(id), p) })
}

// idPrefixes are how ids begin that are looked for.
func (s *Search) idPrefixes() []string {
	kind, value, whole := strings.Cut(s.ID, ":")
	if whole {
		return []string{strings.ToUpper(kind) + ":" + strings.ToLower(value)}
	}
	prefixes := []string{TypeIMEI + ":" + s.ID, TypeUUID + ":" + strings.ToLower(s.ID)}
	return append(prefixes, strings.ToUpper(s.ID)) // or the beginning of a type
}

func (s *Search) hasName(name string) bool {
	have := words(name)
	for _, want := range words(s.Name) {
		if !slices.ContainsFunc(have, func(w string) bool { return strings.HasPrefix(w, want) }) {
			return false
		}
	}
	return true
}

func (s *Search) hasLabels(labels map[string]string) bool {
	for _, l := range s.Labels {
		name, value, exact := strings.Cut(l, "=")
		if have, ok := labels[name]; !ok || exact && have != value {
			return false
		}
	}
	return true
}

// criterion is ranges of an index, in one of which every match is.
type criterion struct {
	index    func(p int) string
	prefixes []string
}

// criteria are what the indexes can tell of the search.
func (s *Search) criteria(k Keyspace) (all []criterion) {
	term := func(prefix string) { all = append(all, criterion{k.terms, []string{prefix}}) }
	if s.ID != "" {
		all = append(all, criterion{k.devices, s.idPrefixes()})
	}
	if s.ICCID != "" {
		term(termICCID + s.ICCID)
	}
	if msisdn := strings.TrimPrefix(s.MSISDN, "+"); msisdn != "" {
		term(termMSISDN + msisdn)
	}
	for _, l := range s.Labels {
		if strings.Contains(l, "=") {
			term(termLabel + l + termEnd)
		} else {
			term(termLabel + l + "=")
		}
	}
	for _, w := range words(s.Name) {
		term(termWord + w)
	}
	return all
}

// candidateLimit is how many devices may be gathered for one page. Where more have the rarest term, the matches lie so
// densely that the list is gone through in its own order.
const candidateLimit = 20000

// candidates are the places of all devices that may match, in order, if they are few; else ok is false.
func (r *Registry) candidates(ctx context.Context, q *ListQuery) (places []mark, ok bool, err error) {
	criteria := q.Search.criteria(r.keys)
	if len(criteria) == 0 {
		return nil, false, nil
	}
	rarest, n, err := r.rarest(ctx, criteria)
	if err != nil || n > candidateLimit {
		return nil, false, err
	}
	ids, err := r.idsOf(ctx, rarest)
	if err != nil {
		return nil, false, err
	}
	places, err = r.placesOf(ctx, q.Sort, ids)
	if err != nil {
		return nil, false, err
	}
	slices.SortFunc(places, func(a, b mark) int { return a.compare(b) })
	if q.Reverse {
		slices.Reverse(places)
	}
	return places, true, nil
}

// rarest is the criterion that the fewest devices meet.
func (r *Registry) rarest(ctx context.Context, criteria []criterion) (c criterion, n int64, err error) {
	pipe := r.client.Pipeline()
	counts := make([][]*redis.IntCmd, len(criteria))
	for i := range criteria {
		r.eachRange(&criteria[i], func(index, from, to string) {
			counts[i] = append(counts[i], pipe.ZLexCount(ctx, index, from, to))
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return c, 0, unavailable(err)
	}
	for i := range counts {
		sum := int64(0)
		for _, count := range counts[i] {
			sum += count.Val()
		}
		if i == 0 || sum < n {
			c, n = criteria[i], sum
		}
	}
	return c, n, nil
}

// eachRange visits the ranges of a criterion in every partition. No text has a byte of 255.
func (r *Registry) eachRange(c *criterion, visit func(index, from, to string)) {
	for p := range r.keys.Count() {
		for _, prefix := range c.prefixes {
			visit(c.index(p), "["+prefix, "("+prefix+"\xff")
		}
	}
}

// idsOf are the devices that meet a criterion, each once.
func (r *Registry) idsOf(ctx context.Context, c criterion) ([]DeviceID, error) {
	pipe := r.client.Pipeline()
	var replies []*redis.StringSliceCmd
	r.eachRange(&c, func(index, from, to string) {
		replies = append(replies, pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: index, ByLex: true, Start: from, Stop: to, Count: candidateLimit + 1}))
	})
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unavailable(err)
	}
	var ids []DeviceID
	for _, reply := range replies {
		for _, member := range reply.Val() {
			ids = append(ids, idOf(member))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// placesOf finds where devices stand in a list of that order. One that is gone meanwhile is left out.
func (r *Registry) placesOf(ctx context.Context, sort Sort, ids []DeviceID) ([]mark, error) {
	places := make([]mark, 0, len(ids))
	if sort == ByID || sort == "" {
		for _, id := range ids {
			places = append(places, mark{id: string(id)})
		}
		return places, nil
	}
	pipe := r.client.Pipeline()
	replies := make([]*redis.FloatCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.ZScore(ctx, r.keys.order(sort, r.keys.Partition(id)), string(id))
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i, reply := range replies {
		score, err := reply.Result()
		if err == nil {
			places = append(places, mark{score: int64(score), id: string(ids[i])})
		} else if err != redis.Nil {
			return nil, unavailable(err)
		}
	}
	return places, nil
}

// order is the index that is in the order of a list.
func (k Keyspace) order(sort Sort, p int) string {
	switch sort {
	case ByCreated:
		return k.created(p)
	case ByModified:
		return k.modified(p)
	}
	return k.devices(p)
}

// mark is where a thing stands in a list: by its score, which is 0 in the order of ids, then by its id.
type mark struct {
	score int64
	id    string
}

func (a mark) compare(b mark) int {
	if a.score != b.score {
		return int(min(1, max(-1, a.score-b.score)))
	}
	return strings.Compare(a.id, b.id)
}

// cursor spells a place for who asks for the next page.
func (a mark) cursor(sort Sort) string {
	if sort == ByID || sort == "" {
		return a.id
	}
	return strconv.FormatInt(a.score, 10) + " " + a.id
}

// placeAt is cursor's inverse.
func placeAt(sort Sort, cursor string) (mark, bool) {
	if sort == ByID || sort == "" {
		return mark{id: cursor}, true
	}
	score, id, ok := strings.Cut(cursor, " ")
	n, err := strconv.ParseInt(score, 10, 64)
	return mark{score: n, id: id}, ok && err == nil
}
