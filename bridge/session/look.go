package session

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"m2mbridge/broker"
)

// findings is what a pass over all sessions has found.
type findings struct {
	connected, away int
	entries         int64         // most entries of one stream not read
	age             time.Duration // of the oldest entry not read
	used            float64       // most of what trimming leaves
}

// reader is a session or a shared subscription, as lag is concerned.
type reader struct {
	app     string
	id      string // for people: <app>/<client id>, <app>/$share/<name>/<filter>
	key     string // of its hash
	warned  string
	cursors []broker.Cursor
}

// readerPage is how many readers are looked at together.
const readerPage = 500

// look measures how far sessions and shared subscriptions are behind.
func (w *Watch) look(ctx context.Context) error {
	v, err := look(ctx, w.cfg.Client, w.reading.keys)
	if err != nil {
		return err
	}
	f := &findings{}
	if err := w.lookAtSessions(ctx, v, f); err != nil {
		return err
	}
	created := map[string]string{} // of the apps seen so far
	for p := range w.reading.keys.Count() {
		if err := w.lookAtShares(ctx, v, p, created, f); err != nil {
			return err
		}
	}
	w.metrics.show(f)
	return nil
}

func (w *Watch) lookAtSessions(ctx context.Context, v *view, f *findings) error {
	created := map[string]string{} // of the apps seen so far
	for q := (Query{Limit: readerPage}); ; {
		names, more, err := w.reading.namesAfter(ctx, q)
		if err != nil {
			return fmt.Errorf("read sessions: %w", err)
		}
		records, err := w.read(ctx, names, w.recordOf,
			fieldAppCreated, fieldConnected, fieldSeen, fieldWarned, fieldForm, fieldCursors)
		if err != nil {
			return err
		}
		if err := w.forgetOlder(ctx, names, records, created); err != nil {
			return err
		}
		var readers []reader
		for i, name := range names {
			if r := records[i]; r[0] != "" { // else it was forgotten just now
				f.count(isConnected(r[1], r[2], v.now))
				readers = append(readers, reader{appOf(name), name, w.recordOf(name), r[3], readable(r[4], r[5])})
			}
		}
		if err := w.judge(ctx, v, readers, f); err != nil || !more {
			return err
		}
		q.After = names[len(names)-1]
	}
}

// readable are the cursors of a record in a form that is known.
func readable(has, text string) []broker.Cursor {
	if has != form {
		return nil
	}
	cursors, err := parseCursors(text)
	if err != nil {
		return nil // who opens the session is told
	}
	return cursors
}

func (f *findings) count(connected bool) {
	if connected {
		f.connected++
	} else {
		f.away++
	}
}

// lookAtShares does the same for a partition's shared subscriptions, and
// forgets those that have ended, and those of apps that are gone.
func (w *Watch) lookAtShares(ctx context.Context, v *view, p int, created map[string]string, f *findings) error {
	for cursor := uint64(0); ; {
		names, next, err := w.shareNames(ctx, p, cursor)
		if err != nil {
			return err
		}
		readers, err := w.shareReaders(ctx, p, names, created)
		if err != nil {
			return err
		}
		if err := w.judge(ctx, v, readers, f); err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// shareReaders reads those of the shared subscriptions that there are, and
// forgets the others.
func (w *Watch) shareReaders(ctx context.Context, p int, names []string, created map[string]string) ([]reader, error) {
	key := func(name string) string { return w.reading.keys.shareOf(p, name).hash }
	records, err := w.read(ctx, names, key, "at", "n", fieldWarned)
	if err != nil {
		return nil, err
	}
	var ended, orphans []string
	var readers []reader
	for i, text := range names {
		name := parseShareName(text)
		orphan, err := w.isOrphan(ctx, name, created)
		if err != nil {
			return nil, err
		}
		r, ok := w.shareReader(p, name, records[i])
		switch {
		case orphan:
			orphans = append(orphans, text)
		case ok:
			readers = append(readers, r)
		default:
			ended = append(ended, text)
		}
	}
	if err := w.pruneShares(ctx, p, ended, false); err != nil {
		return nil, err
	}
	return readers, w.pruneShares(ctx, p, orphans, true)
}

func (w *Watch) shareNames(ctx context.Context, p int, cursor uint64) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	names, next, err := w.cfg.Client.SScan(ctx, w.reading.keys.shares(p), cursor, "", readerPage).Result()
	if err != nil {
		return nil, 0, fmt.Errorf("read shared subscriptions: %w", unavailable(err))
	}
	return names, next, nil
}

// shareReader reads a shared subscription; not ok where there is none.
func (w *Watch) shareReader(p int, name shareName, fields []string) (reader, bool) {
	stream, known := w.reading.keys.streamOf(p, name.kind)
	at, err := parsePosition([]any{fields[0], fields[1]})
	if !known || err != nil {
		return reader{}, false
	}
	return reader{
		app: name.app, id: name.app + "/$share/" + name.filter, key: w.reading.keys.shareOf(p, name.text).hash, warned: fields[2],
		cursors: []broker.Cursor{{Stream: stream, At: at}},
	}, true
}

// shareName is a shared subscription's name in the index.
type shareName struct {
	text               string
	kind, app, created string
	filter             string // <name>/<filter>
}

func parseShareName(text string) shareName {
	n := shareName{text: text}
	var rest string
	n.kind, rest, _ = strings.Cut(text, ":")
	n.app, rest, _ = strings.Cut(rest, "/")
	n.created, n.filter, _ = strings.Cut(rest, "/")
	return n
}

// judge measures readers, and warns of those that have come too far behind.
func (w *Watch) judge(ctx context.Context, v *view, readers []reader, f *findings) error {
	cursors := make([][]broker.Cursor, len(readers))
	for i := range readers {
		cursors[i] = readers[i].cursors
	}
	lags, err := w.reading.lags(ctx, v, cursors)
	if err != nil {
		return err
	}
	var changes []change
	for i := range readers {
		c := change{reader: &readers[i], warned: parseWarned(readers[i].warned)}
		before := maps.Clone(c.warned)
		for _, l := range lags[i] {
			f.note(l, w.used(l))
			c.step(l, w.used(l))
		}
		if !maps.Equal(before, c.warned) {
			changes = append(changes, c)
		}
	}
	return w.tell(ctx, v.now, changes)
}

func (f *findings) note(l StreamLag, used float64) {
	f.entries, f.age, f.used = max(f.entries, l.Entries), max(f.age, l.Age), max(f.used, used)
}
