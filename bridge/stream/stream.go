// Package stream reads the streams of uplinks, rejects and events from Redis:
// where each ends, and pages behind a position, with word of what was trimmed
// before it could be read. It neither writes entries nor knows what they say,
// to whom, or over which protocol.
package stream

import (
	"slices"
	"strconv"
	"time"

	"m2mbridge/auth"
)

// Kind is one sort of stream. There is a stream of each kind in each partition.
type Kind string

// The kinds.
const (
	Uplinks Kind = "uplinks"
	Rejects Kind = "rejects"
	Events  Kind = "events"
)

// Kinds are all kinds, in the order of a cursor's sections.
func Kinds() [3]Kind { return [...]Kind{Uplinks, Rejects, Events} }

// Index is the kind's place among Kinds.
func (k Kind) Index() int {
	kinds := Kinds()
	return slices.Index(kinds[:], k)
}

// One is the kind's name for a single entry, such as "uplink".
func (k Kind) One() string { return string(k[:len(k)-1]) }

func (k Kind) letter() byte { return k[0] }

// Key is where a partition's stream of a kind is.
func Key(ks auth.Keyspace, k Kind, partition int) string { return ks.Key(partition, string(k)) }

// Unknown is the N of a position or an entry whose number is not known.
const Unknown = -1

// Position is how far a stream was read: up to ID, and up to the N-th entry
// that was ever added to it. The zero Position is before the first entry that
// ever was: whoever is there misses what is trimmed. With the zero ID and N
// Unknown it is before the first that there is.
type Position struct {
	ID ID
	N  int64 // or Unknown
}

// At is the position at an id of which nothing else is known. At the zero ID it
// asks for all there is.
func At(id ID) Position { return Position{id, Unknown} }

// Behind is the position after one more entry.
func (p Position) Behind(id ID) Position {
	if p.N == Unknown {
		return Position{id, Unknown}
	}
	return Position{id, p.N + 1}
}

// Entry is one entry of a stream.
type Entry struct {
	Kind      Kind
	Partition int
	ID        ID
	N         int64 // it is the N-th that was ever added to its stream; Unknown
	Fields    Fields
}

// Fields are names and values in turn.
type Fields []string

// Text is the value of a field, "" where there is none.
func (f Fields) Text(name string) string {
	for i := 0; i+1 < len(f); i += 2 {
		if f[i] == name {
			return f[i+1]
		}
	}
	return ""
}

// At is the receipt that an entry tells; where it does not, the time in its id.
func (e *Entry) At() time.Time {
	ms, err := strconv.ParseInt(e.Fields.Text("at"), 10, 64)
	if err != nil {
		ms = int64(e.ID.MS)
	}
	return time.UnixMilli(ms).UTC()
}

// Page is what follows a position in a stream.
type Page struct {
	Entries []Entry
	// Next is the position behind the page; where nothing follows, the one asked
	// for, its number brought up to date.
	Next Position
	Full bool // more may follow at once
	Gap  *Gap // entries that were trimmed before the first of the page
}

// Gap is entries that were trimmed before they were read.
type Gap struct {
	From  ID    // all was read up to here
	To    ID    // what lies behind From is gone, up to here
	Count int64 // how many entries; Unknown
}

// Name is a stream's for people, with its partition where there are several.
func Name(k Kind, partition, partitions int) string {
	if partitions == 1 {
		return string(k)
	}
	return string(k) + ":" + strconv.Itoa(partition)
}
