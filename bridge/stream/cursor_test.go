package stream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCursorGoesRoundTrip(t *testing.T) {
	for _, want := range []Cursor{
		{Uplinks: {{5, 1}}},
		{Uplinks: {{5, 1}, {6, 0}}},
		{Rejects: {{5, 1}, {6, 0}}},
		{Uplinks: {{1700000000000, 0}}, Rejects: {{0, 0}}, Events: {{3, 18446744073709551615}}},
	} {
		n := 0
		for _, positions := range want {
			n = len(positions)
		}
		got, err := ParseCursor(want.String(), n)
		if err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		for k := range want { // a bare id stands for every kind
			if !cmp.Equal(got[k], want[k]) {
				t.Errorf("%s: %s gives %v, want %v", want, k, got[k], want[k])
			}
		}
	}
}

func TestCursorIsAStreamIDForOneStream(t *testing.T) {
	if got := (Cursor{Events: {{1700000000000, 7}}}).String(); got != "1700000000000-7" {
		t.Errorf("got %s", got)
	}
}

func TestParseCursor(t *testing.T) {
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{"1700000000000-0", true},
		{"1700000000000", true},
		{"0", true},
		{"u1-0_2-0", true},
		{"u1-0_2-0.e3-0_4-0", true},
		{"u1-0", false}, // of a bridge with one partition
		{"u1-0_2-0.u1-0_2-0", false},
		{"x1-0_2-0", false},
		{"-", false},
		{"$", false},
		{"1-", false},
		{"1-2-3", false},
		{"-1", false},
		{"99999999999999999999-0", false},
		{"18446744073709551615-0", false}, // behind it Redis takes no range
		{"u1-0_2-0.", false},
		{" 1-0", false},
		{"2026-01-31T08:00:00Z", true},
		{"2026-01-31T08:00:00.5+01:00", true},
		{"2026-01-31T08:00:00", false}, // where?
		{"2026-01-31", false},
	} {
		if _, err := ParseCursor(c.text, 2); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

// Behind an instant is what was stored in its millisecond, and nothing before.
func TestCursorOfAnInstant(t *testing.T) {
	for text, want := range map[string]ID{
		"2023-11-14T22:13:20Z":          {1700000000000 - 1, 18446744073709551615},
		"2023-11-14T23:13:20+01:00":     {1700000000000 - 1, 18446744073709551615},
		"2023-11-14T22:13:20.0019999Z":  {1700000000000, 18446744073709551615},
		"1970-01-01T00:00:00Z":          {},
		"1969-12-31T23:59:59.999+00:00": {},
	} {
		got, err := ParseCursor(text, 2)
		if err != nil || len(got) != 3 || len(got[Events]) != 2 || got[Events][1] != want {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestPrev(t *testing.T) {
	for of, want := range map[ID]ID{{}: {}, {0, 1}: {}, {5, 3}: {5, 2}, {5, 0}: {4, 18446744073709551615}} {
		if got := of.Prev(); got != want || of != (ID{}) && !got.Less(of) || got.Compare(of) > 0 {
			t.Errorf("before %v: %v", of, got)
		}
	}
}
