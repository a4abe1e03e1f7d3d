package sms

import (
	"strings"
	"testing"
)

func TestParts(t *testing.T) {
	for _, test := range []struct {
		text string
		data int
		want int
	}{
		{strings.Repeat("a", 160), 0, 1}, {strings.Repeat("a", 161), 0, 2}, {strings.Repeat("a", 306), 0, 2}, {strings.Repeat("a", 307), 0, 3},
		{strings.Repeat("[", 80), 0, 1}, {strings.Repeat("[", 81), 0, 2}, // two septets each
		{strings.Repeat("ж", 70), 0, 1}, {strings.Repeat("ж", 71), 0, 2}, {strings.Repeat("😀", 35), 0, 1}, {strings.Repeat("😀", 36), 0, 2},
		{"", 140, 1}, {"", 141, 2}, {"", 268, 2}, {"", 269, 3},
	} {
		if got, err := Parts(test.text, make([]byte, test.data)); err != nil || got != test.want {
			t.Errorf("%.4q… of %d, %d octets: %d, %v; want %d", test.text, len(test.text), test.data, got, err, test.want)
		}
	}
	if _, err := Parts("", nil); err == nil {
		t.Error("nothing is something")
	}
}
