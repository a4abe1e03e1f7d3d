package api

import (
	"encoding/hex"
	"strconv"
	"strings"

	"m2mbridge/auth"
)

// idSet remembers on which line each device of an import was, in about thirty
// bytes each.
type idSet struct {
	imeis map[uint64]uint32
	uuids map[[16]byte]uint32
}

// maxRows bounds what an import remembers.
const maxRows = 2_000_000

func newIDSet() *idSet {
	return &idSet{imeis: map[uint64]uint32{}, uuids: map[[16]byte]uint32{}}
}

func (s *idSet) len() int { return len(s.imeis) + len(s.uuids) }

// add gives the line that the device was on before; 0: none.
func (s *idSet) add(id auth.DeviceID, line int) (before int) {
	if id.Type() == auth.TypeIMEI {
		n, _ := strconv.ParseUint(id.Value(), 10, 64) // 15 digits: the id was parsed
		return addTo(s.imeis, n, line)
	}
	var uuid [16]byte
	_, _ = hex.Decode(uuid[:], []byte(strings.ReplaceAll(id.Value(), "-", ""))) // 32 digits, likewise
	return addTo(s.uuids, uuid, line)
}

func addTo[K comparable](m map[K]uint32, key K, line int) int {
	if before, ok := m[key]; ok {
		return int(before)
	}
	m[key] = uint32(line)
	return 0
}
