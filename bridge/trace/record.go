package trace

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"m2mbridge/auth"
)

// A record is what is kept of one event: of a whole message with its verdict, of
// one delivery, or of one note. It is made into steps when it is read.
//
//	0     its length
//	1     recordMessage …
//	2     how many steps it makes
//	3     flags of a message, or the kind of a note
//	4-11  number of its first step
//	12-19 when, Unix µs
//	20-   numbers (uvarint) and texts (a byte of length before each)
const (
	recordMessage = iota + 1
	recordDelivered
	recordNote

	recordHead = 20
	maxRecord  = blockBytes - blockHead
	maxDetail  = 120 // bytes of a text that is cut
	maxWord    = 24  // of a reason, an outcome, a stream id
)

const (
	flagToken = 1 << iota
	flagMQTT
	flagUnsigned
	flagRefused
)

// notes are the kinds of notes by their byte.
var notes = [...]Kind{Connection, Downlink, SMS}

func appendHead(b []byte, kind, flags byte, steps int, at time.Time) []byte {
	b = append(b, 0, kind, byte(steps), flags)
	b = binary.LittleEndian.AppendUint64(b, 0)
	return binary.LittleEndian.AppendUint64(b, uint64(at.UnixMicro()))
}

// seal writes what is known last: the length, and the number of the first step.
func seal(rec []byte, n uint64) {
	rec[0] = byte(len(rec))
	binary.LittleEndian.PutUint64(rec[4:], n)
}

func appendText(b []byte, s string, limit int) []byte {
	if len(s) > limit {
		s = s[:limit]
		for r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1; r, size = utf8.DecodeLastRuneInString(s) {
			s = s[:len(s)-1]
		}
	}
	return append(append(b, byte(len(s))), s...)
}

func appendMessage(b []byte, m *Message) []byte {
	flags, steps := byte(0), 2
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{{m.Token, flagToken}, {m.Via == "mqtt", flagMQTT}, {m.Unsigned, flagUnsigned}, {m.Reason != "", flagRefused}} {
		if f.on {
			flags |= f.bit
		}
	}
	if m.Records > 0 {
		steps++
	}
	if m.ID != "" {
		steps++
	}
	b = appendHead(b, recordMessage, flags, steps, m.At)
	b = binary.AppendUvarint(b, uint64(max(m.Took, 0)/time.Microsecond))
	b = binary.AppendUvarint(b, uint64(m.Bytes))
	b = appendRemote(b, m.Remote)
	b = appendText(b, m.Outcome, maxWord)
	b = append(b, byte(m.Secret))
	b = binary.AppendUvarint(b, uint64(m.Records))
	b = binary.AppendUvarint(b, uint64(m.Measurements))
	b = appendText(b, m.ID, 2*maxWord)
	if m.Reason != "" {
		b = appendText(appendText(b, m.Reason, maxWord), m.Detail, maxDetail)
	}
	return b
}

// appendRemote keeps an address in binary; 0 for what is none.
func appendRemote(b []byte, remote string) []byte {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return append(b, 0)
	}
	if a := ap.Addr().Unmap(); a.Is4() {
		ip := a.As4()
		b = append(append(b, 4), ip[:]...)
	} else {
		ip := a.As16()
		b = append(append(b, 16), ip[:]...)
	}
	return binary.LittleEndian.AppendUint16(b, ap.Port())
}

func appendDelivered(b []byte, d *Delivery, at time.Time) []byte {
	b = appendHead(b, recordDelivered, 0, 1, at)
	b = appendID(b, d.MS, d.Seq)
	b = binary.AppendUvarint(b, uint64(d.Subscribers))
	if strings.HasPrefix(d.Topic, topUplinks) { // the device's own, there is no other
		return append(b, 0)
	}
	return appendText(b, d.Topic, maxDetail)
}

// appendID is appendText of a stream id.
func appendID(b []byte, ms, seq uint64) []byte {
	from := len(b)
	b = strconv.AppendUint(append(b, 0), ms, 10)
	b = strconv.AppendUint(append(b, '-'), seq, 10)
	b[from] = byte(len(b) - from - 1)
	return b
}

const topUplinks = "uplinks/"

func uplinksTopic(id auth.DeviceID) string { return topUplinks + id.Type() + "/" + id.Value() }

func appendNote(b []byte, kind byte, text string, at time.Time) []byte {
	return appendText(appendHead(b, recordNote, kind, 1, at), text, maxDetail)
}

// reader takes a record's body apart. It was written here: what does not fit
// gives zeros.
type reader struct{ b []byte }

func (r *reader) bytes(n int) []byte {
	n = min(n, len(r.b))
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) number() int {
	n, size := binary.Uvarint(r.b)
	r.bytes(max(size, 0))
	return int(n)
}

func (r *reader) text() string { return string(r.bytes(int(r.byte()))) }

func (r *reader) remote() string {
	addr, ok := netip.AddrFromSlice(r.bytes(int(r.byte())))
	if !ok {
		return ""
	}
	port := uint16(r.byte()) | uint16(r.byte())<<8
	return netip.AddrPortFrom(addr, port).String()
}
