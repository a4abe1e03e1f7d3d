package session

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"m2mbridge/broker"
)

// form is what the field form of a record says when subs, cursors and inflight
// are as here. A record in another form is a newer program's.
const form = "1"

var errForm = errors.New("what is kept cannot be read")

// parseID reads <ms>-<seq>.
func parseID(s string) (broker.ID, error) {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok {
		return broker.ID{}, errForm
	}
	m, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return broker.ID{}, errForm
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return broker.ID{}, errForm
	}
	return broker.ID{MS: m, Seq: n}, nil
}

// formatCursors writes cursors as <stream>=<id>/<number>, with /<id> of Sent
// where that is greater, and a space between two.
func formatCursors(list []broker.Cursor) string {
	var b []byte
	for i, c := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(c.Stream), 10)
		b = append(append(b, '='), c.At.ID.String()...)
		b = append(append(b, '/'), formatNumber(c.At.N)...)
		if c.At.ID.Less(c.Sent) {
			b = append(append(b, '/'), c.Sent.String()...)
		}
	}
	return string(b)
}

func parseCursors(s string) ([]broker.Cursor, error) {
	var list []broker.Cursor
	for word := range strings.FieldsSeq(s) {
		c, err := parseCursor(word)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func parseCursor(word string) (c broker.Cursor, err error) {
	stream, rest, _ := strings.Cut(word, "=")
	n, err := strconv.Atoi(stream)
	if err != nil {
		return c, errForm
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 2 && len(parts) != 3 {
		return c, errForm
	}
	c.Stream = broker.Stream(n)
	if c.At.ID, err = parseID(parts[0]); err != nil {
		return c, err
	}
	if c.At.N, err = parseNumber(parts[1]); err != nil || len(parts) == 2 {
		return c, err
	}
	c.Sent, err = parseID(parts[2])
	return c, err
}

// formatInFlight writes messages in flight as <packet id>=<stream>/<id>.
func formatInFlight(list []broker.InFlight) string {
	var b []byte
	for i, f := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, uint64(f.PacketID), 10)
		b = strconv.AppendInt(append(b, '='), int64(f.Stream), 10)
		b = append(append(b, '/'), f.ID.String()...)
	}
	return string(b)
}

func parseInFlight(s string) ([]broker.InFlight, error) {
	var list []broker.InFlight
	for word := range strings.FieldsSeq(s) {
		packet, rest, _ := strings.Cut(word, "=")
		stream, id, _ := strings.Cut(rest, "/")
		p, err := strconv.ParseUint(packet, 10, 16)
		if err != nil {
			return nil, errForm
		}
		n, err := strconv.Atoi(stream)
		if err != nil {
			return nil, errForm
		}
		at, err := parseID(id)
		if err != nil {
			return nil, err
		}
		list = append(list, broker.InFlight{PacketID: uint16(p), Stream: broker.Stream(n), ID: at})
	}
	return list, nil
}

func formatSubs(list []broker.SavedSubscription) (string, error) {
	if list == nil {
		list = []broker.SavedSubscription{}
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func parseSubs(s string) ([]broker.SavedSubscription, error) {
	var list []broker.SavedSubscription
	if err := json.Unmarshal([]byte(s), &list); err != nil {
		return nil, errForm
	}
	return list, nil
}

// formatWarned writes what was warned of as <stream>=<state>, in order.
func formatWarned(warned map[broker.Stream]string) string {
	var words []string
	for s, state := range warned {
		words = append(words, strconv.Itoa(int(s))+"="+state)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// parseWarned passes over what it cannot read: at worst one is warned again.
func parseWarned(s string) map[broker.Stream]string {
	warned := map[broker.Stream]string{}
	for word := range strings.FieldsSeq(s) {
		stream, state, _ := strings.Cut(word, "=")
		if n, err := strconv.Atoi(stream); err == nil {
			warned[broker.Stream(n)] = state
		}
	}
	return warned
}
