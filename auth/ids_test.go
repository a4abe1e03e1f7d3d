package auth

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestParseDeviceID(t *testing.T) {
	for in, want := range map[string]DeviceID{
		"IMEI:356726104408422":                         imei,
		"imei:356726104408422":                         imei,
		"IMEI:000000000000000":                         "IMEI:000000000000000", // no check digit is asked for
		string(uuid):                                   uuid,
		"dvnuuid:0F8FAD5B-D9CB-469F-A165-70867728950E": uuid,

		"": "", "IMEI": "", "IMEI:": "", ":356726104408422": "", "IMEI:35672610440842": "", "IMEI:3567261044084220": "",
		"IMEI:35672610440842x": "", " IMEI:356726104408422": "", "IMEI:356726104408422 ": "", "IMEI:356726104408422:": "",
		"IMEI:３５６７２６１０４４０８４２２": "", "DEVEUI:0123456789ABCDEF": "", "\u0131mei:356726104408422": "",
		"DVNUUID:0f8fad5bd9cb469fa16570867728950e": "", "DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950g": "",
		"DVNUUID:{f8fad5b-d9cb-469f-a165-7086772895}": "", "DVNUUID:0f8fad5b-d9cb-469f-a165_70867728950e": "",
	} {
		got, err := ParseDeviceID(in)
		if got != want || errors.Is(err, ErrInvalid) != (want == "") {
			t.Errorf("ParseDeviceID(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if imei.Type() != "IMEI" || imei.Value() != "356726104408422" || imei.BaseName() != "urn:dev:IMEI:356726104408422:" {
		t.Errorf("parts of %s: %s %s %s", imei, imei.Type(), imei.Value(), imei.BaseName())
	}
}

// The cases named bn-foreign are those of the project's vectors of packs.
func TestParseBaseName(t *testing.T) {
	for _, c := range []struct {
		name, bn string
		id       DeviceID
		rest     string
	}{
		{"OK", "urn:dev:IMEI:356726104408422:", imei, ""},
		{"OK without the last colon", "urn:dev:IMEI:356726104408422", imei, ""},
		{"OK with rest", "urn:dev:IMEI:356726104408422:room/1:", imei, "room/1:"},
		{"OK uuid", "urn:dev:DVNUUID:0F8FAD5B-D9CB-469F-A165-70867728950E:", uuid, ""},
		{"bn-foreign-1", "urn:dev:imei:356726104408422:", imei, ""},
		{"bn-foreign-3", "URN:DEV:IMEI:356726104408422:", imei, ""},
		{"bn-foreign-5", "urn:dev:IMEI: 356726104408422:", "", ""},
		{"bn-foreign-7", "urn:dev:IMEI:356726104408422:../999999999999999:", imei, "../999999999999999:"},
		{"bn-foreign-9", "urn:dev:IMEI:356726104408422/#", "", ""},
		{"bn-foreign-11", "urn:dev:IMEI:*:", "", ""},
		{"bn-foreign-13", "urn:dev:IMEI::", "", ""},
		{"bn-foreign-15", "urn:dev:IMEI:0356726104408422:", "", ""},
		{"empty", "", "", ""},
		{"scheme only", "urn:dev:", "", ""},
		{"another scheme", "urn:oid:IMEI:356726104408422:", "", ""},
		{"space first", " urn:dev:IMEI:356726104408422:", "", ""},
		{"space last", "urn:dev:IMEI:356726104408422 ", "", ""},
		{"newline last", "urn:dev:IMEI:356726104408422\n", "", ""},
		{"NUL last", "urn:dev:IMEI:356726104408422\x00", "", ""},
		{"plus sign", "urn:dev:IMEI:+56726104408422:", "", ""},
		{"no type", "urn:dev:356726104408422:", "", ""},
		{"another type", "urn:dev:DEVEUI:0123456789ABCDEF:", "", ""},
		{"type joined", "urn:dev:IMEI356726104408422:", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, rest, err := ParseBaseName([]byte(c.bn))
			if id != c.id || string(rest) != c.rest || errors.Is(err, ErrInvalid) != (c.id == "") {
				t.Errorf("got %q, %q, %v; want %q, %q", id, rest, err, c.id, c.rest)
			}
			if err != nil {
				return
			}
			if rest, ok := SameDevice(id, []byte(c.bn)); !ok || string(rest) != c.rest {
				t.Errorf("same device: %q, %v", rest, ok)
			}
		})
	}
}

func TestSameDevice(t *testing.T) {
	for bn, want := range map[string]bool{
		"urn:dev:IMEI:356726104408422:":       true,
		"urn:dev:IMEI:356726104408422":        true,
		"Urn:Dev:imei:356726104408422:child:": true,
		"urn:dev:IMEI:356726104408423:":       false,
		"urn:dev:IMEI:3567261044084221:":      false,
		"urn:dev:IMEI:356726104408422child":   false,
		"urn:dev:IMEI:35672610440842":         false,
		"IMEI:356726104408422:":               false,
		"":                                    false,
	} {
		if _, ok := SameDevice(imei, []byte(bn)); ok != want {
			t.Errorf("SameDevice(%q) = %v", bn, ok)
		}
	}
}

// The vector n-escape: the base name without its colon and the name 1:a make another IMEI.
func TestNameEscapes(t *testing.T) {
	const open, closed = "urn:dev:IMEI:356726104408422", "urn:dev:IMEI:356726104408422:"
	for _, c := range []struct {
		bn, name string
		want     bool
	}{
		{open, "1:a", true}, {open, "a", false}, {open, "", false}, {closed, "1:a", false}, {"", "1", false},
	} {
		if got := NameEscapes([]byte(c.bn), []byte(c.name)); got != c.want {
			t.Errorf("NameEscapes(%q, %q) = %v", c.bn, c.name, got)
		}
	}
}

func TestBaseNameAllocatesTheIDOnly(t *testing.T) {
	for _, id := range []DeviceID{imei, uuid} {
		bn := []byte(id.BaseName())
		if n := testing.AllocsPerRun(100, func() { _, _, _ = ParseBaseName(bn) }); n > 1 {
			t.Errorf("ParseBaseName of %s: %v allocations", id, n)
		}
		if n := testing.AllocsPerRun(100, func() { SameDevice(id, bn) }); n > 0 {
			t.Errorf("SameDevice of %s: %v allocations", id, n)
		}
	}
}

func TestPartition(t *testing.T) {
	if p := (Keyspace{}).Partition(imei); p != 0 {
		t.Errorf("partition of one = %d", p)
	}
	k := Keyspace{Partitions: 16}
	seen := map[int]int{}
	for i := range 1600 {
		seen[k.Partition(benchID(i))]++
	}
	if len(seen) != 16 {
		t.Errorf("devices in %d of 16 partitions", len(seen))
	}
	// FNV-1a 64 of the id, as other programs that use the keys compute it.
	if got := k.Partition(imei); got != 9 {
		t.Errorf("partition of %s = %d", imei, got)
	}
	if got := k.Key(3, "uplinks"); got != "m2m:{3}:uplinks" {
		t.Errorf("key = %s", got)
	}
}

func FuzzBaseName(f *testing.F) {
	for _, bn := range []string{
		"urn:dev:IMEI:356726104408422:", "URN:DEV:dvnuuid:0F8FAD5B-D9CB-469F-A165-70867728950E", "urn:dev:IMEI:*:",
		"urn:dev:IMEI:356726104408422/#", "urn:dev:IMEI:356726104408422:x", "urn:dev:IMEI:\x00",
	} {
		f.Add([]byte(bn))
	}
	f.Fuzz(func(t *testing.T, bn []byte) {
		id, rest, err := ParseBaseName(bn)
		if err != nil {
			if id != "" || rest != nil {
				t.Fatalf("%q and %q with %v", id, rest, err)
			}
			return
		}
		if again, err := ParseDeviceID(string(id)); again != id || err != nil {
			t.Fatalf("id %q is not canonical: %q, %v", id, again, err)
		}
		if strings.ContainsAny(string(id), "/#+* \x00\r\n") {
			t.Fatalf("id %q", id)
		}
		var p packedID
		if !p.pack(id) {
			t.Fatalf("id %q cannot be packed", id)
		}
		if same, ok := SameDevice(id, bn); !ok || !bytes.Equal(same, rest) {
			t.Fatalf("same device: %q, %v; rest %q", same, ok, rest)
		}
		if canonical := id.BaseName() + string(rest); !bytes.EqualFold([]byte(canonical), bn) && canonical != string(bn)+":" &&
			!strings.EqualFold(canonical, string(bn)+":") {
			t.Fatalf("%q reads as %q", bn, canonical)
		}
	})
}
