package gsm7

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTable(t *testing.T) {
	if n := utf8.RuneCountInString(basic); n != 128 {
		t.Fatalf("the alphabet has %d characters", n)
	}
	for text, want := range map[string]string{
		"@": "00", "£": "01", "$": "02", "\n": "0a", "\r": "0d", "_": "11", "Ω": "15", " ": "20", "¤": "24", "¡": "40",
		"A": "41", "§": "5f", "¿": "60", "a": "61", "à": "7f", "É": "1f", "Æ": "1c",
		"{": "1b28", "}": "1b29", "[": "1b3c", "]": "1b3e", "~": "1b3d", `\`: "1b2f", "|": "1b40", "^": "1b14", "€": "1b65", "\f": "1b0a",
		`[{"n":"a"}]`: "1b3c1b28226e223a22612" + "21b291b3e",
	} {
		got, ok := Encode(text)
		if !ok || hex.EncodeToString(got) != want {
			t.Errorf("%q: %x, want %s", text, got, want)
		}
		if back := Decode(got); back != text {
			t.Errorf("%q came back as %q", text, back)
		}
	}
}

func TestNotInAlphabet(t *testing.T) {
	for _, text := range []string{"ç", "`", "日", "a\x00", "\x1b", "\xff", "\ufffd", "😀", "\t"} {
		if got, ok := Encode(text); ok {
			t.Errorf("%q: %x", text, got)
		}
	}
}

func TestDecodeOdd(t *testing.T) {
	for in, want := range map[string]string{"1b": " ", "411b": "A ", "1b1b": " ", "1b41": "A", "80": "\ufffd", "1b65": "€", "1b1b65": " e"} {
		septets, _ := hex.DecodeString(in)
		if got := Decode(septets); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// The octets are those that any phone shows for the text.
func TestPack(t *testing.T) {
	septets, _ := Encode("hellohello")
	if got := hex.EncodeToString(Pack(septets, 0)); got != "e8329bfd4697d9ec37" {
		t.Errorf("packed: %s", got)
	}
	septets, _ = Encode("1234567") // seven bits are left over
	packed := Pack(septets, 0)
	if packed[6]>>1 != carriageReturn || !bytes.Equal(Unpack(packed, 0), septets) {
		t.Errorf("packed: %x", packed)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("hello", 0)
	f.Add(`[{"bn":"IMEI:356726104408422:","n":"temp","v":21.5}]`, 1)
	f.Add("@@@@@@@", 0)
	f.Add("€^~\\|\r", 6)
	f.Add("日本", 0)
	f.Fuzz(func(t *testing.T, text string, fill int) {
		septets, ok := Encode(text)
		if !ok {
			return
		}
		if got := Decode(septets); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
		if slices.ContainsFunc(septets, func(s byte) bool { return s > 127 }) {
			t.Fatalf("%q: %x", text, septets)
		}
		if fill < 0 || fill > 6 {
			return
		}
		// A carriage return at the end may be taken for the filling, and a '@' may come of it where bits are left over.
		back := Unpack(Pack(septets, fill), fill)
		if strings.TrimRight(Decode(back), "\r@") != strings.TrimRight(text, "\r@") {
			t.Fatalf("%q packed and unpacked: %q", text, Decode(back))
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x1b, 0x65, 0x1b}, 3)
	f.Fuzz(func(t *testing.T, octets []byte, fill int) {
		if text := Decode(octets); !utf8.ValidString(text) {
			t.Fatalf("%x: %q", octets, text)
		}
		if fill >= 0 && fill < 7 {
			Decode(Unpack(octets, fill))
		}
	})
}
