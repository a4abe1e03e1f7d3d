package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCursorGoesRoundTrip(t *testing.T) {
	for _, want := range []cursor{
		{uplinks: {{5, 1}}},
		{uplinks: {{5, 1}, {6, 0}}},
		{rejects: {{5, 1}, {6, 0}}},
		{uplinks: {{1700000000000, 0}}, rejects: {{0, 0}}, events: {{3, 18446744073709551615}}},
	} {
		n := 0
		for _, positions := range want {
			n = len(positions)
		}
		got, err := parseCursor(want.String(), n)
		if err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		for k := range want { // a bare id stands for every kind
			if !cmp.Equal(got[k], want[k], cmp.AllowUnexported(streamID{})) {
				t.Errorf("%s: %s gives %v, want %v", want, k, got[k], want[k])
			}
		}
	}
}

func TestCursorIsAStreamIDForOneStream(t *testing.T) {
	if got := (cursor{events: {{1700000000000, 7}}}).String(); got != "1700000000000-7" {
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
	} {
		if _, err := parseCursor(c.text, 2); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
