package fanout

import (
	"context"
	"slices"

	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// tops are the first levels of topics, in the order of their streams' numbers.
// Presence is read from the events: one entry is a message of either, and to
// the broker those are of two streams.
var tops = [...]string{string(stream.Uplinks), string(stream.Rejects), string(stream.Events), presenceTop}

const presenceTop = "presence"

// kindOf is the kind of the stream that a first level's messages are made from.
func kindOf(top string) stream.Kind {
	if top == presenceTop {
		return stream.Events
	}
	return stream.Kind(top)
}

// numberOf is the broker's number of the stream of a first level's messages.
func (f *Fanout) numberOf(top string, partition int) broker.Stream {
	return broker.Stream(slices.Index(tops[:], top)*f.cfg.Keys.Count() + partition)
}

// number is that of the messages that bear the name of their stream.
func (f *Fanout) number(k stream.Kind, partition int) broker.Stream {
	return f.numberOf(string(k), partition)
}

func (f *Fanout) log(k stream.Kind, partition int) *log { return f.logs[f.number(k, partition)] }

// Of gives the streams of a topic's first level.
func (f *Fanout) Of(first string) []broker.Stream {
	if !slices.Contains(tops[:], first) {
		return nil
	}
	all := make([]broker.Stream, f.cfg.Keys.Count())
	for p := range all {
		all[p] = f.numberOf(first, p)
	}
	return all
}

// Name is the stream's, with its partition where there are several.
func (f *Fanout) Name(s broker.Stream) string {
	l := f.logs[s]
	return stream.Name(stream.Kind(l.top), l.partition, f.cfg.Keys.Count())
}

// End is behind the newest message that Deliver was given or is about to be.
func (f *Fanout) End(s broker.Stream) broker.Position { return place(f.logs[s].position()) }

// Newest is the id up to which a partition's uplinks were handed on, or are about
// to be (uplink.Config.Newest).
func (f *Fanout) Newest(partition int) string {
	return f.log(stream.Uplinks, partition).position().ID.String()
}

// Recent gives messages from memory.
func (f *Fanout) Recent(s broker.Stream, after broker.ID, buf []*broker.Message) (list []*broker.Message, end broker.Position, ok bool) {
	list, at, ok := f.logs[s].messages(stream.ID(after), buf)
	return list, place(at), ok
}

// Entries gives entries from memory, as Recent does messages, while somebody
// wants their kind.
func (f *Fanout) Entries(k stream.Kind, partition int, after stream.ID, buf []stream.Entry) (list []stream.Entry, end stream.Position, ok bool) {
	return f.log(k, partition).entries(after, buf)
}

// Page reads messages from Redis.
func (f *Fanout) Page(ctx context.Context, s broker.Stream, after broker.Position, limit int) (broker.Page, error) {
	l := f.logs[s]
	from := stream.Position{ID: stream.ID(after.ID), N: after.N}
	p, err := f.reader.Page(ctx, l.kind, l.partition, from, limit)
	f.reads.report(err)
	if err != nil {
		return broker.Page{Next: after}, err
	}
	page, prev := broker.Page{Next: place(p.Next), Full: p.Full}, from.ID
	if g := p.Gap; g != nil {
		prev = g.To
		page.Gap = &broker.Gap{From: broker.ID(g.From), To: broker.ID(g.To), Count: g.Count}
	}
	page.Messages = stored(l, prev, p.Entries).msgs
	return page, nil
}

// Get reads single messages from Redis.
func (f *Fanout) Get(ctx context.Context, s broker.Stream, ids []broker.ID) ([]*broker.Message, error) {
	l, want := f.logs[s], make([]stream.ID, len(ids))
	for i, id := range ids {
		want[i] = stream.ID(id)
	}
	entries, err := f.reader.Get(ctx, l.kind, l.partition, want)
	f.reads.report(err)
	if err != nil {
		return nil, err
	}
	msgs := stored(l, stream.ID{}, entries).msgs
	for _, m := range msgs {
		m.Prev = broker.ID{} // they need not follow each other
	}
	return msgs, nil
}

// Start reads where a client wants to start. Of streams that a cursor does not
// name it gets what comes from now on.
func (f *Fanout) Start(after string) (func(broker.Stream) broker.Position, error) {
	c, err := stream.ParseCursor(after, f.cfg.Keys.Count())
	if err != nil {
		return nil, err
	}
	return func(s broker.Stream) broker.Position {
		l := f.logs[s]
		if positions, ok := c[l.kind]; ok {
			return place(stream.At(positions[l.partition]))
		}
		return f.End(s)
	}, nil
}

// place is a position as the broker has it.
func place(p stream.Position) broker.Position { return broker.Position{ID: broker.ID(p.ID), N: p.N} }
