package stream

import (
	"math"

	"github.com/redis/go-redis/v9"
)

// extent is what Redis says of a stream at one moment.
type extent struct {
	last   ID    // of the newest entry ever, be it gone
	oldest ID    // of the oldest entry there is, if any
	length int64 // entries there are
	added  int64 // entries ever added; Unknown
}

// trimmed is how many entries are gone; Unknown. An entry deleted from within
// counts as one: the bridge deletes none.
func (e *extent) trimmed() int64 {
	if e.added == Unknown {
		return Unknown
	}
	return e.added - e.length
}

// follow is the page where the entry at the position is there. It is not ok
// where more must be known: it is not there, or nothing follows and this is the
// moment to learn the position's number.
func (a *Ask) follow(found []redis.XMessage) (Page, bool) {
	if len(found) == 0 {
		return Page{}, false
	}
	if first, _ := ParseID(found[0].ID); first != a.After.ID || len(found) == 1 && a.After.N == Unknown {
		return Page{}, false
	}
	return a.page(a.After, found[1:]), true
}

// judge is the page where the entry at the position was trimmed, or never was.
func (a *Ask) judge(e *extent, rest []redis.XMessage) Page {
	if len(rest) == 0 {
		return a.end(e)
	}
	if first, _ := ParseID(rest[0].ID); e.oldest.Less(first) { // all behind the position is there
		return a.page(Position{a.After.ID, a.number(e, rest)}, rest)
	}
	p := a.page(Position{a.After.ID, e.trimmed()}, rest)
	first, _ := ParseID(rest[0].ID)
	p.Gap = a.gap(e, first.Prev())
	return p
}

// number is how many entries were added up to the position, when rest is behind
// it and nothing there was trimmed.
func (a *Ask) number(e *extent, rest []redis.XMessage) int64 {
	switch n := int64(len(rest)); {
	case e.added == Unknown:
		return a.After.N
	case len(rest) < a.Limit:
		return e.added - n
	case a.After.N+n > e.added: // counted before Redis lost entries
		return Unknown
	}
	return a.After.N
}

// end is the page where nothing is behind the position.
func (a *Ask) end(e *extent) Page {
	if e.length == 0 && a.After.ID.Less(e.last) { // all that was is gone
		return Page{Next: Position{e.last, e.added}, Gap: a.gap(e, e.last)}
	}
	next := Position{a.After.ID, e.added}
	if a.After.N == Unknown && e.last.Less(a.After.ID) {
		next.N = Unknown // in the future: entries may yet come before it
	}
	return Page{Next: next}
}

// gap is what was trimmed between the position and to; nil where nothing was.
// Where it cannot be known there is one: a gap told too often is a look too
// many, one not told is data lost.
func (a *Ask) gap(e *extent, to ID) *Gap {
	g := &Gap{From: a.After.ID, To: to, Count: Unknown}
	t := e.trimmed()
	if a.After.ID == (ID{}) && (a.After.N == Unknown || t == Unknown) { // asked for what there is, perhaps
		return nil
	}
	if t != Unknown && a.After.N != Unknown {
		g.Count = t - a.After.N
	}
	// Below zero the position was counted before Redis lost entries.
	if t == 0 || g.Count != Unknown && g.Count <= 0 {
		return nil
	}
	return g
}

// page counts entries up from a position. What has no id cannot be from Redis,
// and is passed over.
func (a *Ask) page(from Position, found []redis.XMessage) Page {
	p := Page{Next: from, Full: len(found) >= a.Limit, Entries: make([]Entry, 0, len(found))}
	for _, m := range found {
		id, err := ParseID(m.ID)
		if err != nil {
			continue
		}
		p.Next = p.Next.Behind(id)
		p.Entries = append(p.Entries, Entry{a.Kind, a.Partition, id, p.Next.N, fields(m.Values)})
	}
	return p
}

// Entries are messages of Redis as entries that follow a position.
func Entries(k Kind, partition int, after Position, found []redis.XMessage) Page {
	a := Ask{Kind: k, Partition: partition, Limit: math.MaxInt}
	return a.page(after, found)
}

// fields lays a message's values out flat.
func fields(values map[string]any) Fields {
	f := make(Fields, 0, 2*len(values))
	for name, v := range values {
		text, _ := v.(string)
		f = append(f, name, text)
	}
	return f
}
