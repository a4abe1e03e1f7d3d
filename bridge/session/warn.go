package session

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/broker"
)

// States of a reader on one stream that are warned of.
const (
	stateBehind  = "behind"  // what it has not read is about to be trimmed
	stateTrimmed = "trimmed" // some of it is

	warnAbove  = 0.8 // of what trimming leaves
	rearmBelow = 0.6
)

// used is the share of what trimming leaves that lies behind a cursor.
func (w *Watch) used(l StreamLag) float64 {
	length, age := w.bounds(l.Kind)
	used := 0.0
	if length > 0 && l.Entries != broker.Unknown {
		used = float64(l.Entries) / float64(length)
	}
	if age > 0 {
		used = max(used, float64(l.Age)/float64(age))
	}
	return used
}

// bounds are how many entries of a kind are kept, and how long; 0: no bound.
func (w *Watch) bounds(kind string) (length int64, age time.Duration) {
	switch kind {
	case kindUplinks:
		return w.cfg.UplinksMax, w.cfg.UplinksAge
	case kindRejects:
		return w.cfg.RejectsMax, 0
	}
	return w.cfg.EventsMax, 0
}

// change is what was found to be new of a reader.
type change struct {
	*reader
	warned map[broker.Stream]string
	news   []StreamLag // what is to be told
}

// step moves a reader's state on one stream. It tells of a state once, until
// the reader has come well back: a warning, which is an entry itself, cannot
// bring about the next.
func (c *change) step(l StreamLag, used float64) {
	was := c.warned[l.stream]
	switch {
	case l.lost > 0 && was != stateTrimmed:
		c.warned[l.stream] = stateTrimmed
		c.news = append(c.news, l)
	case l.lost > 0:
	case used > warnAbove && was == "":
		c.warned[l.stream] = stateBehind
		c.news = append(c.news, l)
	case used < rearmBelow && was != "":
		delete(c.warned, l.stream)
	}
}

// tell notes the new states, each on one node, which then writes the events.
func (w *Watch) tell(ctx context.Context, now time.Time, changes []change) error {
	calls := make([]call, len(changes))
	for i, c := range changes {
		calls[i] = call{[]string{c.key}, []any{c.reader.warned, formatWarned(c.warned)}}
	}
	for i, reply := range runAll(ctx, w.cfg.Client, w.warn, calls) {
		n, err := reply.Int()
		if err != nil {
			return fmt.Errorf("note warnings: %w", unavailable(err))
		}
		if n == 0 {
			continue // another node tells
		}
		if err := w.write(ctx, now, &changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// write adds the events of a change. Should Redis take none, the next pass
// warns again.
func (w *Watch) write(ctx context.Context, now time.Time, c *change) error {
	for _, l := range c.news {
		if err := w.writeOne(ctx, now, c, l); err != nil {
			undo := call{[]string{c.key}, []any{formatWarned(c.warned), c.reader.warned}}
			_ = runAll(ctx, w.cfg.Client, w.warn, []call{undo}) // where this fails too, the warning is lost
			return fmt.Errorf("write warning of %.200q: %w", c.id, unavailable(err))
		}
		w.metrics.warnings.Inc()
	}
	return nil
}

func (w *Watch) writeOne(ctx context.Context, now time.Time, c *change, l StreamLag) error {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	return w.cfg.Client.XAdd(ctx, &redis.XAddArgs{
		Stream: w.reading.keys.Key(l.Partition, kindEvents), MaxLen: w.cfg.EventsMax, Approx: w.cfg.EventsMax > 0,
		Values: []any{
			"device", "", "app", c.app, "at", now.UnixMilli(), "kind", "session", "id", c.id,
			"state", c.warned[l.stream], "cause", w.cause(l),
		},
	}).Err()
}

// cause says how far behind it is, and how far it may be.
func (w *Watch) cause(l StreamLag) string {
	text := w.reading.keys.nameStream(l.stream) + ": "
	if l.lost > 0 {
		text += fmt.Sprintf("%d entries were trimmed before they were read; ", l.lost)
	}
	text += l.describe() + "; entries are trimmed at "
	length, age := w.bounds(l.Kind)
	switch {
	case length == 0 && age == 0:
		return text + "no limit of ours"
	case length > 0 && age > 0:
		return text + fmt.Sprintf("%d entries or %s", length, age)
	case age > 0:
		return text + age.String()
	}
	return text + fmt.Sprintf("%d entries", length)
}
