package fleet

import (
	"encoding/binary"
	"fmt"
	"io"
)

// First bytes of MQTT 3.1.1 packets [MQTT-2.2.1], with the flags a client may send.
const (
	packetConnect    = 0x10
	packetConnack    = 0x20
	packetPublish    = 0x30
	packetPuback     = 0x40
	packetSubscribe  = 0x82
	packetSuback     = 0x90
	packetDisconnect = 0xe0

	flagDup  = 0x08
	flagQoS1 = 0x02
)

// RefusedError is a CONNACK or SUBACK that says no.
type RefusedError struct {
	Packet string
	Code   byte
}

func (e RefusedError) Error() string { return fmt.Sprintf("%s refused: %#02x", e.Packet, e.Code) }

// Login is what an MQTT client connects with.
type Login struct {
	ClientID, Username, Password string
	Keep                         bool // ask for the session of last time (clean session 0)
}

// appendConnect appends a CONNECT without a will [MQTT-3.1]. It promises a packet an hour and a half at the latest: no run is
// silent for so long, and so nobody has to send PINGREQs.
func appendConnect(dst []byte, l Login) []byte {
	var flags byte
	payload := appendString(nil, l.ClientID)
	if !l.Keep {
		flags |= 0x02
	}
	if l.Username != "" {
		flags |= 0x80
		payload = appendString(payload, l.Username)
	}
	if l.Password != "" {
		flags |= 0x40
		payload = appendString(payload, l.Password)
	}
	dst = appendLength(append(dst, packetConnect), 10+len(payload))
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', 4, flags, 3600>>8, 3600&0xff)
	return append(dst, payload...)
}

// appendPublish appends a PUBLISH of QoS 1 [MQTT-3.3].
func appendPublish(dst []byte, topic string, id uint16, dup bool, payload []byte) []byte {
	first := byte(packetPublish | flagQoS1)
	if dup {
		first |= flagDup
	}
	dst = appendLength(append(dst, first), 2+len(topic)+2+len(payload))
	dst = binary.BigEndian.AppendUint16(appendString(dst, topic), id)
	return append(dst, payload...)
}

// appendSubscribe appends a SUBSCRIBE for one filter [MQTT-3.8].
func appendSubscribe(dst []byte, id uint16, filter string, qos byte) []byte {
	dst = appendLength(append(dst, packetSubscribe), 2+2+len(filter)+1)
	dst = appendString(binary.BigEndian.AppendUint16(dst, id), filter)
	return append(dst, qos)
}

func appendPuback(dst []byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, packetPuback, 2), id)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendLength appends a remaining length [MQTT-2.2.3].
func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// packetReader cuts a connection's bytes into packets, many to a read.
type packetReader struct {
	from       io.Reader
	buf        []byte
	start, end int
}

func newPacketReader(from io.Reader, size int) *packetReader {
	return &packetReader{from: from, buf: make([]byte, size)}
}

// next returns a packet's first byte and what follows its length, valid until the next call.
func (r *packetReader) next() (first byte, rest []byte, err error) {
	for {
		first, rest, ok, err := r.cut()
		if ok || err != nil {
			return first, rest, err
		}
		if err := r.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// buffered says whether a whole packet is there already.
func (r *packetReader) buffered() bool {
	start := r.start
	_, _, ok, _ := r.cut()
	r.start = start
	return ok
}

// cut takes a whole packet from the buffer; ok is false if there is none yet.
func (r *packetReader) cut() (first byte, rest []byte, ok bool, err error) {
	have := r.buf[r.start:r.end]
	if len(have) < 2 {
		return 0, nil, false, nil
	}
	length, n := binary.Uvarint(have[1:min(len(have), 5)])
	switch {
	case n < 0, n == 0 && len(have) >= 5, length > 1<<20:
		return 0, nil, false, fmt.Errorf("remaining length: %w", errProtocol)
	case n == 0, len(have) < 1+n+int(length):
		return 0, nil, false, nil
	}
	end := 1 + n + int(length)
	r.start += end
	return have[0], have[1+n : end], true, nil
}

// fill reads once, after making room for a packet that does not fit.
func (r *packetReader) fill() error {
	copy(r.buf, r.buf[r.start:r.end])
	r.start, r.end = 0, r.end-r.start
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.from.Read(r.buf[r.end:])
	r.end += n
	if n == 0 && err != nil {
		return fmt.Errorf("read packet: %w", err)
	}
	return nil
}
