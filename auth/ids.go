package auth

import (
	"fmt"
	"strings"
)

// The types of devices there are.
const (
	TypeIMEI = "IMEI"    // M2M devices: 15 digits
	TypeUUID = "DVNUUID" // internet devices: a lower-case UUID
)

const (
	scheme  = "urn:dev:"
	imeiLen = 15
	uuidLen = 36
	idLen   = len(TypeUUID) + 1 + uuidLen // the longest
)

// DeviceID is TYPE:value in its canonical spelling: IMEI:356726104408422, or DVNUUID: and a lower-case UUID.
// ParseDeviceID and ParseBaseName make one; others are not checked again.
type DeviceID string

// Type is what stands before the colon.
func (id DeviceID) Type() string { t, _, _ := strings.Cut(string(id), ":"); return t }

// Value is what stands after the colon.
func (id DeviceID) Value() string { _, v, _ := strings.Cut(string(id), ":"); return v }

// BaseName is the canonical base name, urn:dev:TYPE:value: with its last colon.
func (id DeviceID) BaseName() string { return scheme + string(id) + ":" }

// ParseDeviceID reads TYPE:value; the case of the type and of a UUID does not matter. An IMEI's check digit is not
// looked at: the network does not either, and KPN's own examples are free.
func ParseDeviceID(s string) (DeviceID, error) {
	id, rest, ok := cutDevice(s)
	if !ok || rest != "" {
		return "", fmt.Errorf("%w device id: want IMEI:<15 digits> or DVNUUID:<uuid>", ErrInvalid)
	}
	return id, nil
}

// ParseBaseName reads urn:dev:TYPE:value[:rest]. Scheme and type match in any case, the last colon may be missing; rest
// is what stands after the colon, a slice of bn.
func ParseBaseName(bn []byte) (id DeviceID, rest []byte, err error) {
	if len(bn) < len(scheme) || !equalFold(bn[:len(scheme)], scheme) {
		return "", nil, errBaseName()
	}
	id, tail, ok := cutDevice(bn[len(scheme):])
	if !ok || len(tail) > 0 && tail[0] != ':' {
		return "", nil, errBaseName()
	}
	return id, afterColon(tail), nil
}

// SameDevice reports whether bn, the base name of a later record, is the device's own or begins with it; rest is what
// follows its colon. The colon may be missing only at the end of bn.
func SameDevice(id DeviceID, bn []byte) (rest []byte, ok bool) {
	n := len(scheme) + len(id)
	if len(bn) < n || !equalFold(bn[:len(scheme)], scheme) || !equalFold(bn[len(scheme):n], string(id)) {
		return nil, false
	}
	tail := bn[n:]
	if len(tail) > 0 && tail[0] != ':' {
		return nil, false
	}
	return afterColon(tail), true
}

// NameEscapes reports whether a name would turn a base name that lacks its last colon into another device's: RFC 8428
// §4.5.1 joins the two as they stand, so that urn:dev:IMEI:35672610440842 and 2:a name a device that neither does alone.
func NameEscapes(bn, name []byte) bool {
	return len(bn) > 0 && bn[len(bn)-1] != ':' && len(name) > 0 && isDigit(name[0])
}

func afterColon(tail []byte) []byte {
	if len(tail) == 0 {
		return tail
	}
	return tail[1:]
}

// cutDevice reads TYPE:value at the start of s and gives what follows it. Its only allocation is the id.
func cutDevice[T string | []byte](s T) (id DeviceID, tail T, ok bool) {
	var buf [idLen]byte
	n := 0
	switch {
	case hasType(s, TypeIMEI):
		n = copy(buf[:], TypeIMEI+":")
		s = s[n:]
		if len(s) < imeiLen || !appendIMEI(buf[n:], s) {
			return "", s, false
		}
		return DeviceID(buf[:n+imeiLen]), s[imeiLen:], true
	case hasType(s, TypeUUID):
		n = copy(buf[:], TypeUUID+":")
		s = s[n:]
		if len(s) < uuidLen || !appendUUID(buf[n:], s) {
			return "", s, false
		}
		return DeviceID(buf[:n+uuidLen]), s[uuidLen:], true
	}
	return "", s, false
}

func hasType[T string | []byte](s T, name string) bool {
	return len(s) > len(name) && s[len(name)] == ':' && equalFold(s[:len(name)], name)
}

func appendIMEI[T string | []byte](dst []byte, s T) bool {
	for i := range imeiLen {
		if !isDigit(s[i]) {
			return false
		}
		dst[i] = s[i]
	}
	return true
}

func appendUUID[T string | []byte](dst []byte, s T) bool {
	for i := range uuidLen {
		c := lower(s[i])
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
		dst[i] = c
	}
	return true
}

// equalFold compares in ASCII only: Unicode folding would take the Kelvin sign for a k.
func equalFold[T string | []byte](s T, want string) bool {
	if len(s) != len(want) {
		return false
	}
	for i := range len(want) {
		if lower(s[i]) != lower(want[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func errBaseName() error {
	return fmt.Errorf("%w base name: want urn:dev: with IMEI:<15 digits>: or DVNUUID:<uuid>: behind it", ErrInvalid)
}
