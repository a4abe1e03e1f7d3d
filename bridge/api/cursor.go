package api

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// streamID is the id of a stream's entry, <ms>-<seq>. The zero one is before
// every entry.
type streamID struct{ ms, seq uint64 }

func (id streamID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func (id streamID) compare(other streamID) int {
	return cmp.Or(cmp.Compare(id.ms, other.ms), cmp.Compare(id.seq, other.seq))
}

// parseStreamID reads <ms>-<seq>, or <ms> alone for <ms>-0 as Redis does.
func parseStreamID(s string) (streamID, error) {
	msText, seqText, hasSeq := strings.Cut(s, "-")
	ms, err := strconv.ParseUint(msText, 10, 64)
	if err != nil || ms > math.MaxInt64 {
		return streamID{}, errNoCursor
	}
	var seq uint64
	if hasSeq {
		if seq, err = strconv.ParseUint(seqText, 10, 64); err != nil {
			return streamID{}, errNoCursor
		}
	}
	return streamID{ms, seq}, nil
}

var errNoCursor = errors.New("want a stream id such as 1700000000000-0, or a cursor of an earlier answer")

// cursor is how far a client has read: one position per partition, for each
// kind of stream it follows. A kind that is missing starts where the client
// asked to start.
type cursor map[kind][]streamID

// String is the stream id itself where only one stream is followed. Otherwise
// each kind has a section, its first letter and its positions: ids of different
// streams do not order each other, so that one id could skip entries.
func (c cursor) String() string {
	if len(c) == 1 {
		for _, positions := range c {
			if len(positions) == 1 {
				return positions[0].String()
			}
		}
	}
	var b strings.Builder
	for _, k := range kinds {
		positions, ok := c[k]
		if !ok {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteByte(k.letter())
		for i, p := range positions {
			if i > 0 {
				b.WriteByte('_')
			}
			b.WriteString(p.String())
		}
	}
	return b.String()
}

// parseCursor reads what String wrote, or a bare stream id, which then is the
// position in every stream.
func parseCursor(s string, partitions int) (cursor, error) {
	c := cursor{}
	if id, err := parseStreamID(s); err == nil {
		for _, k := range kinds {
			c[k] = repeat(id, partitions)
		}
		return c, nil
	}
	for section := range strings.SplitSeq(s, ".") {
		k, positions, err := parseSection(section, partitions)
		if err != nil {
			return nil, err
		}
		if _, twice := c[k]; twice {
			return nil, errNoCursor
		}
		c[k] = positions
	}
	return c, nil
}

func parseSection(section string, partitions int) (kind, []streamID, error) {
	for _, k := range kinds {
		if section == "" || section[0] != k.letter() {
			continue
		}
		words := strings.Split(section[1:], "_")
		if len(words) != partitions {
			return "", nil, fmt.Errorf("the cursor is for %d partitions, this bridge has %d", len(words), partitions)
		}
		positions := make([]streamID, len(words))
		for i, word := range words {
			id, err := parseStreamID(word)
			if err != nil {
				return "", nil, err
			}
			positions[i] = id
		}
		return k, positions, nil
	}
	return "", nil, errNoCursor
}

func repeat(id streamID, n int) []streamID {
	all := make([]streamID, n)
	for i := range all {
		all[i] = id
	}
	return all
}
