package broker

import (
	"cmp"
	"context"
	"math"
	"strconv"
	"time"
)

// Stream is the number of a stream that messages come from, from 0 on. The
// [Source] says what it is; here it only tells one from another.
type Stream int

// ID is a message's place in its stream. It orders the messages of one stream,
// and says nothing across two. The zero ID is before every message.
type ID struct{ MS, Seq uint64 }

// Compare is negative where a comes before b.
func (a ID) Compare(b ID) int { return cmp.Or(cmp.Compare(a.MS, b.MS), cmp.Compare(a.Seq, b.Seq)) }

// Less reports whether a comes before b.
func (a ID) Less(b ID) bool { return a.MS < b.MS || a.MS == b.MS && a.Seq < b.Seq }

// Prev is the greatest ID below a, which need not be a message's.
func (a ID) Prev() ID {
	switch {
	case a.Seq > 0:
		return ID{a.MS, a.Seq - 1}
	case a.MS > 0:
		return ID{a.MS - 1, math.MaxUint64}
	}
	return ID{}
}

// String is the ID as Redis writes it, <ms>-<seq>.
func (a ID) String() string {
	return strconv.FormatUint(a.MS, 10) + "-" + strconv.FormatUint(a.Seq, 10)
}

// Unknown is the N of a position whose number is not known.
const Unknown = -1

// Position is how far a stream was read: up to ID, and up to the N-th entry
// that was ever added to it. The zero Position is before the first.
type Position struct {
	ID ID
	N  int64 // or Unknown
}

// Page is what follows a position in a stream.
type Page struct {
	Messages []*Message
	// Next is the position behind the page: behind entries that make no message
	// too. It is the position asked for where nothing follows.
	Next Position
	Full bool // more follows, perhaps
	Gap  *Gap // entries that were trimmed before the first of the page
}

// Gap is entries of a stream that a subscriber has missed.
type Gap struct {
	From  ID    // it had everything up to here
	To    ID    // it missed what lies behind From, up to here
	Count int64 // how many entries; Unknown
}

// Source is the streams behind what is delivered. Deliver gives a subscriber
// what is new; one that was away or slow reads the rest from here.
type Source interface {
	// Of gives the streams whose entries become messages below a topic's first
	// level, such as "uplinks"; none where there is no such stream.
	Of(top string) []Stream
	// Name is the stream's, for people.
	Name(Stream) string
	// End is behind the newest message that Deliver was given or is about to be.
	End(Stream) Position
	// Recent appends to buf, up to its capacity, the messages behind a position,
	// from memory, and gives End as it was at that moment. It is not ok, and
	// gives none, when not all messages from there on are in memory. It does not
	// wait.
	Recent(s Stream, after ID, buf []*Message) (list []*Message, end Position, ok bool)
	// Page reads about limit entries behind a position from the store.
	Page(ctx context.Context, s Stream, after Position, limit int) (Page, error)
	// Get reads the messages of these ids, in their order, without those that
	// are not there any more.
	Get(ctx context.Context, s Stream, ids []ID) ([]*Message, error)
	// Start reads where a client wants to start: a stream id, a cursor over
	// several streams, or an instant (RFC 3339).
	Start(after string) (func(Stream) Position, error)
}

// SessionKey names an app's session: no other app reaches it, whatever client
// id it gives.
type SessionKey struct{ App, ClientID string }

// Saved is what of an app's session is kept outside of this process, from
// where any node can go on with it.
type Saved struct {
	Key        SessionKey
	AppCreated time.Time // of the app: a later one of the same name is another
	// Owner is the token of the connection that has the session; a new one with
	// each Open.
	Owner   string
	Version byte   // MQTT's, 4 or 5
	Remote  string // host:port of the client
	// Expiry is how long the session is kept when its connection is gone; 0: it
	// ends with it.
	Expiry time.Duration

	// Seq numbers what this owner saves: what is older than what is kept is not kept.
	Seq int64

	// Subscriptions of the session; nil: those that are kept already.
	Subscriptions []SavedSubscription
	Cursors       []Cursor
	InFlight      []InFlight // sent and not acknowledged; empty: Cursor.At says all

	// Detached: the connection is gone.
	Detached bool
}

// SavedSubscription is one topic filter of a session.
type SavedSubscription struct {
	Filter            string        `json:"filter"`
	QoS               byte          `json:"qos"`
	ID                int           `json:"id,omitempty"` // subscription identifier; 0: none
	RetainAsPublished bool          `json:"rap,omitempty"`
	Since             map[Stream]ID `json:"since,omitempty"` // it gets what is behind; missing: everything behind the cursor
}

// Cursor is how far a session has read one stream.
type Cursor struct {
	Stream Stream
	At     Position // everything up to here is acknowledged, or not for the session
	// Sent is, where it is greater, how far messages were sent: of those up to
	// here only the ones in flight are to be sent again.
	Sent ID
}

// InFlight is a message that was sent and not acknowledged.
type InFlight struct {
	PacketID uint16
	Stream   Stream
	ID       ID
}

// Keeper keeps sessions. Its errors are ErrTaken and ErrRemoved where it knows
// that the session is this connection's no more, ErrSessions for one too many,
// else it cannot say.
type Keeper interface {
	// Open makes a session this connection's: s.Owner, which must be new. The
	// connection that had it loses it. With clean, what was kept is forgotten.
	// found is what was kept, its subscriptions, cursors and what is in flight;
	// not ok where there was nothing. limit is how many sessions an app may have.
	Open(ctx context.Context, s Saved, clean bool, limit int) (found Saved, ok bool, err error)
	// Save keeps sessions as they are, each error at its place in the result. A
	// detached one without Expiry is forgotten.
	Save(ctx context.Context, list []Saved) []error
}

// ShareKey names a shared subscription: the same name and filter of two apps
// are two, and so are those of an app that was removed and of another of its name.
type ShareKey struct {
	App        string
	AppCreated int64 // Unix ms; 0 for the admin
	Name       string
	Filter     string
}

// Member is a session as a member of a shared subscription.
type Member struct {
	Key  SessionKey
	Keep time.Duration // how long it is one without being renewed
}

// Share is the shared subscriptions of all nodes: each has for a stream one
// position, and claims on messages that some node has taken and that are not
// acknowledged. A claim that its node does not renew goes to another.
type Share interface {
	// Join makes sessions members, or renews them, in each of the streams. Where
	// there was none the subscription begins at start. It gives where it is in each.
	Join(ctx context.Context, k ShareKey, streams []Stream, members []Member, start func(Stream) Position) ([]Position, error)
	// Leave ends a membership; with the last one the subscription ends.
	Leave(ctx context.Context, k ShareKey, streams []Stream, member SessionKey) error
	// Claim moves the subscription from a position to another, and claims those
	// of the messages between them that are for it. Where it is not at from any
	// more nothing is done: it is not ok, and gives where it is.
	Claim(ctx context.Context, k ShareKey, s Stream, from, to Position, ids []ID) (at Position, ok bool, err error)
	// Settle ends claims: acknowledged.
	Settle(ctx context.Context, k ShareKey, s Stream, ids []ID) error
	// Renew prolongs claims, and makes again those that were forgotten.
	Renew(ctx context.Context, k ShareKey, s Stream, ids []ID) error
	// Release lets claims go at once, for any node to take.
	Release(ctx context.Context, k ShareKey, s Stream, ids []ID) error
	// Reclaim claims up to limit messages whose claims were released or not renewed.
	Reclaim(ctx context.Context, k ShareKey, s Stream, limit int) ([]ID, error)
}
