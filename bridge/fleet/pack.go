package fleet

import (
	"strconv"
	"time"
)

// Pack appends the body of a device's message number seq, sent at at. Two numbers must never give the same bytes: the same
// bytes are the same uplink.
type Pack func(dst []byte, id string, seq uint64, at time.Time) []byte

// Reference is the pack that speed is measured with: the form of KPN's own example, 8 records in 302 bytes, whatever the
// number and time.
func Reference(dst []byte, id string, seq uint64, at time.Time) []byte {
	dst = appendBase(dst, id, at)
	dst = append(dst, `},{"n":"temperature","u":"Cel","v":`...)
	dst = appendFixed(dst, 10+seq%20, seq%10, 1)
	dst = append(dst, `},{"n":"humidity","u":"%RH","v":`...)
	dst = appendFixed(dst, 30+seq%60, seq%10, 1)
	dst = append(dst, `},{"n":"pressure","u":"Pa","v":`...)
	dst = strconv.AppendUint(dst, 100000+seq%3000, 10)
	dst = append(dst, `},{"n":"battery","u":"V","v":`...)
	dst = appendFixed(dst, 3, seq%10, 1)
	dst = append(dst, `},{"n":"lat","u":"lat","v":`...)
	dst = appendFixed(dst, 52, seq%100_000, 5)
	dst = append(dst, `},{"n":"lon","u":"lon","v":`...)
	dst = appendFixed(dst, 5, seq%100_000, 5)
	dst = append(dst, `},{"n":"sequence","v":`...)
	dst = strconv.AppendUint(dst, 1_000_000+seq%9_000_000, 10)
	return append(dst, `}]`...)
}

// Varied gives each device a kind, chosen by its id, so that a fleet sends what real ones do: base fields in a record of their
// own or in the first measurement, with and without a time, every kind of value, heartbeats.
func Varied(dst []byte, id string, seq uint64, at time.Time) []byte {
	switch kindOf(id) {
	case 0:
		return Reference(dst, id, seq, at)
	case 1:
		return tracker(dst, id, seq, at)
	case 2:
		return meter(dst, id, seq, at)
	default:
		return button(dst, id, seq)
	}
}

// kindOf spreads ids over four kinds; the last digit alone is a check digit and would do it unevenly.
func kindOf(id string) int {
	sum := 0
	for i := range len(id) {
		sum += int(id[i])
	}
	return sum % 4
}

// tracker has its base fields inside the first measurement, and strings.
func tracker(dst []byte, id string, seq uint64, at time.Time) []byte {
	dst = appendBase(dst, id, at)
	dst = append(dst, `,"n":"lat","u":"lat","v":`...)
	dst = appendFixed(dst, 51+seq%2, seq*37%100_000, 5)
	dst = append(dst, `},{"n":"lon","u":"lon","v":`...)
	dst = appendFixed(dst, 4+seq%3, seq*53%100_000, 5)
	dst = append(dst, `},{"n":"speed","u":"m/s","v":`...)
	dst = appendFixed(dst, seq%34, seq%10, 1)
	dst = append(dst, `},{"n":"trip","vs":"`...)
	dst = strconv.AppendUint(dst, seq, 10)
	return append(dst, `"},{"n":"moving","vb":true}]`...)
}

// meter sends readings of the last half hour with relative times, a sum, and bytes.
func meter(dst []byte, id string, seq uint64, at time.Time) []byte {
	dst = appendBase(dst, id, at)
	dst = append(dst, `,"bu":"J"},{"n":"energy","v":`...)
	dst = strconv.AppendUint(dst, seq*3600, 10)
	dst = append(dst, `,"t":-1800},{"n":"energy","v":`...)
	dst = strconv.AppendUint(dst, seq*3600+1800, 10)
	dst = append(dst, `,"t":-900},{"n":"energy","s":`...)
	dst = strconv.AppendUint(dst, seq*3600+3600, 10)
	return append(dst, `},{"n":"status","vd":"AAECAw"}]`...)
}

// button keeps no clock, and every eighth message is a heartbeat. Packs without a time are new every time, whatever their bytes.
func button(dst []byte, id string, seq uint64) []byte {
	dst = append(dst, `[{"bn":"urn:dev:`...)
	dst = append(dst, id...)
	if seq%8 == 7 {
		return append(dst, `:"}]`...)
	}
	dst = append(dst, `:","n":"pressed","vb":true},{"n":"count","v":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	return append(dst, `}]`...)
}

// appendBase appends the opening record up to its last field, with at in seconds and milliseconds.
func appendBase(dst []byte, id string, at time.Time) []byte {
	dst = append(dst, `[{"bn":"urn:dev:`...)
	dst = append(dst, id...)
	dst = append(dst, `:","bt":`...)
	ms := at.UnixMilli()
	return appendFixed(dst, uint64(ms/1000), uint64(ms%1000), 3)
}

// appendFixed appends whole.part with part in just so many digits.
func appendFixed(dst []byte, whole, part uint64, digits int) []byte {
	dst = append(strconv.AppendUint(dst, whole, 10), '.')
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	for i := at + digits - 1; part > 0 && i >= at; i-- {
		dst[i] = byte('0' + part%10)
		part /= 10
	}
	return dst
}
