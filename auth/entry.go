package auth

import "encoding/binary"

// entry is one record in a chunk of the cache: its length (2 bytes), a byte of state (bit 0: asked for; the rest: the
// length of the key), the key, the text.
type entry []byte

const (
	entryHead = 3
	referred  = 1
)

func entryAt(chunk []byte, offset int) entry {
	n := int(binary.LittleEndian.Uint16(chunk[offset:]))
	return chunk[offset : offset+n : offset+n]
}

func writeEntry(e entry, key, text []byte) {
	binary.LittleEndian.PutUint16(e, uint16(len(e)))
	e[2] = byte(len(key)) << 1
	copy(e[entryHead:], key)
	copy(e[entryHead+len(key):], text)
}

func (e entry) keyLen() int    { return int(e[2] >> 1) }
func (e entry) key() []byte    { return e[entryHead : entryHead+e.keyLen()] }
func (e entry) text() []byte   { return e[entryHead+e.keyLen():] }
func (e entry) refer()         { e[2] |= referred }
func (e entry) forgive()       { e[2] &^= referred }
func (e entry) referred() bool { return e[2]&referred != 0 }

// packedID is a device id in 7 bytes (an IMEI) or 16 (a UUID).
type packedID struct {
	b [16]byte
	n uint8
}

func (p *packedID) bytes() []byte { return p.b[:p.n] }

// pack reports whether id is in its canonical spelling; nothing else can be packed.
func (p *packedID) pack(id DeviceID) bool {
	switch {
	case len(id) == len(TypeIMEI)+1+imeiLen && id[:len(TypeIMEI)+1] == TypeIMEI+":":
		return p.packIMEI(string(id[len(TypeIMEI)+1:]))
	case len(id) == idLen && id[:len(TypeUUID)+1] == TypeUUID+":":
		return p.packUUID(string(id[len(TypeUUID)+1:]))
	}
	return false
}

func (p *packedID) packIMEI(digits string) bool {
	var n uint64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return false
		}
		n = n*10 + uint64(digits[i]-'0')
	}
	binary.LittleEndian.PutUint64(p.b[:], n)
	p.n = 7 // 10^15 < 2^56
	return true
}

func (p *packedID) packUUID(s string) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
			continue
		}
		v, ok := unhex(s[i])
		if !ok || s[i] != lower(s[i]) {
			return false
		}
		p.b[n/2] = p.b[n/2]<<4 | v
		n++
	}
	p.n = 16
	return true
}
