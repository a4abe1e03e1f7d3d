package gsm7

// carriageReturn fills a last octet that would else be read as one more '@' (3GPP TS 23.038 §6.1.2.3.1, for USSD, whose
// length is in octets as sm_length is).
const carriageReturn = 0x0d

// Pack puts septets into octets, eight into seven, behind fill bits that are zero: those which make a header of octets end
// at a septet (3GPP TS 23.040 §9.2.3.24). Where seven bits would be left over they are a carriage return.
func Pack(septets []byte, fill int) []byte {
	bits := fill + 7*len(septets)
	out := make([]byte, (bits+7)/8)
	at := fill
	for _, s := range septets {
		put(out, at, s)
		at += 7
	}
	if len(out)*8-at == 7 {
		put(out, at, carriageReturn)
	}
	return out
}

// put writes a septet from a bit on, the lowest first.
func put(out []byte, at int, septet byte) {
	v := uint16(septet&0x7f) << (at % 8)
	out[at/8] |= byte(v)
	if v > 0xff {
		out[at/8+1] |= byte(v >> 8)
	}
}

// Unpack gives the septets behind fill bits. A carriage return that fills the last octet is left out.
func Unpack(octets []byte, fill int) []byte {
	n := max(len(octets)*8-fill, 0) / 7
	out := make([]byte, n)
	for i := range out {
		at := fill + 7*i
		v := uint16(octets[at/8])
		if at/8+1 < len(octets) {
			v |= uint16(octets[at/8+1]) << 8
		}
		out[i] = byte(v>>(at%8)) & 0x7f
	}
	if n > 0 && fill+7*n == len(octets)*8 && out[n-1] == carriageReturn {
		out = out[:n-1]
	}
	return out
}
