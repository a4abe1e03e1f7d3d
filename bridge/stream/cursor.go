package stream

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Cursor is how far a client has read: one position per partition, for each
// kind of stream it follows. A kind that is missing starts where the client
// asked to start.
type Cursor map[Kind][]ID

// String is the stream id itself where only one stream is followed. Otherwise
// each kind has a section, its first letter and its positions: ids of different
// streams do not order each other, so that one id could skip entries.
func (c Cursor) String() string {
	if len(c) == 1 {
		for _, positions := range c {
			if len(positions) == 1 {
				return positions[0].String()
			}
		}
	}
	var b strings.Builder
	for _, k := range Kinds() {
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

// ParseCursor reads what String wrote; a bare stream id, which then is the
// position in every stream; or an instant (RFC 3339), behind which is what was
// stored in its millisecond or later.
func ParseCursor(s string, partitions int) (Cursor, error) {
	if id, err := parseStart(s); err == nil {
		return everywhere(id, partitions), nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return everywhere(ID{MS: uint64(max(at.UnixMilli(), 0))}.Prev(), partitions), nil
	}
	c := Cursor{}
	for section := range strings.SplitSeq(s, ".") {
		k, positions, err := parseSection(section, partitions)
		if err != nil {
			return nil, err
		}
		if _, twice := c[k]; twice {
			return nil, ErrStart
		}
		c[k] = positions
	}
	return c, nil
}

func parseSection(section string, partitions int) (Kind, []ID, error) {
	for _, k := range Kinds() {
		if section == "" || section[0] != k.letter() {
			continue
		}
		words := strings.Split(section[1:], "_")
		positions := make([]ID, len(words))
		for i, word := range words {
			id, err := parseStart(word)
			if err != nil {
				return "", nil, err
			}
			positions[i] = id
		}
		if len(words) != partitions {
			return "", nil, fmt.Errorf("the cursor is for %d partitions, this bridge has %d", len(words), partitions)
		}
		return k, positions, nil
	}
	return "", nil, ErrStart
}

// parseStart takes no id so great that no instant is behind it.
func parseStart(s string) (ID, error) {
	id, err := ParseID(s)
	if err == nil && id.MS > math.MaxInt64 {
		err = ErrStart
	}
	return id, err
}

func everywhere(id ID, partitions int) Cursor {
	c := Cursor{}
	for _, k := range Kinds() {
		positions := make([]ID, partitions)
		for i := range positions {
			positions[i] = id
		}
		c[k] = positions
	}
	return c
}
