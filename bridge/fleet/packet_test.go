package fleet

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"
)

// Packets cut at any place come out whole; those that have come are known to be there.
func TestPacketReader(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	var wire []byte
	for id := range uint16(20) {
		wire = appendPuback(wire, id+1)
		wire = appendPublish(wire, "t", id+1, false, long)
	}
	whole := newPacketReader(bytes.NewReader(wire), 1<<16)
	bytewise := newPacketReader(iotest.OneByteReader(bytes.NewReader(wire)), 16)
	for i := range 40 {
		first, rest, err := whole.next()
		again, bytewiseRest, bytewiseErr := bytewise.next()
		if err != nil || bytewiseErr != nil || first != again || !bytes.Equal(rest, bytewiseRest) {
			t.Fatalf("packet %d: %x %x %v and %x %x %v", i, first, rest, err, again, bytewiseRest, bytewiseErr)
		}
		if want := []byte{packetPuback, packetPublish | flagQoS1}[i%2]; first != want {
			t.Fatalf("packet %d is %x, not %x", i, first, want)
		}
		if whole.buffered() != (i < 39) || bytewise.buffered() {
			t.Fatalf("after packet %d: %v, %v", i, whole.buffered(), bytewise.buffered())
		}
	}
	if _, _, err := whole.next(); err == nil {
		t.Error("no error at the end")
	}
}

func TestPacketReaderRefusesLengths(t *testing.T) {
	for _, wire := range [][]byte{{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, {0x30, 0xff, 0xff, 0xff, 0x7f}} {
		if _, _, err := newPacketReader(bytes.NewReader(wire), 64).next(); !errors.Is(err, errProtocol) {
			t.Errorf("%x: %v", wire, err)
		}
	}
}
