package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// headerLen is the octets of a header (SMPP 3.4 §3.2).
const headerLen = 16

// DefaultLimit is the longest PDU, in octets, that Read should take where nothing else is known: all that an ESME meets
// fits, a message_payload of 64000 octets included.
const DefaultLimit = 64 << 10

// ErrLength is of a command_length that no PDU has, or that is above the limit. Where the next PDU begins is not known
// then: the connection is of no use any more.
var ErrLength = errors.New("command_length is out of bounds")

// Frame is a PDU of which only the header has been looked at.
type Frame struct {
	Command  Command
	Status   Status
	Sequence uint32
	Body     []byte // the mandatory and optional parameters
}

// Read reads one frame of at most limit octets, for which it allocates no sooner than the length has been checked. The
// error is io.EOF if r ended between two frames, io.ErrUnexpectedEOF within one, or wraps ErrLength.
func Read(r io.Reader, limit int) (Frame, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{
		Command:  Command(binary.BigEndian.Uint32(head[4:])),
		Status:   Status(binary.BigEndian.Uint32(head[8:])),
		Sequence: binary.BigEndian.Uint32(head[12:]),
	}
	length := binary.BigEndian.Uint32(head[0:])
	if length < headerLen || int64(length) > int64(limit) {
		return f, fmt.Errorf("%w: %d octets, of %s", ErrLength, length, f.Command)
	}
	if length == headerLen {
		return f, nil
	}
	f.Body = make([]byte, length-headerLen)
	if _, err := io.ReadFull(r, f.Body); err != nil {
		return f, unexpected(err)
	}
	return f, nil
}

// unexpected is of an end within a frame.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
