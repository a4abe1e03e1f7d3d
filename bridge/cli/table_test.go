package cli

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTableFits(t *testing.T) {
	long := strings.Repeat("é", 60)
	for _, width := range []int{0, 40, 80, 1} {
		var b strings.Builder
		table := newTable(&b, "none", "ID", "NAME", "SEEN")
		table.width = width
		for range tableBlock + 1 { // more than a block
			if err := table.row("IMEI:356726104408422", long, "now"); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.end(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			n := utf8.RuneCountInString(line)
			switch {
			case width == 0 && strings.HasPrefix(line, "IMEI") && line != "IMEI:356726104408422  "+long+"  now":
				t.Errorf("cut without a terminal: %s", line)
			case width == 40 && n > 40, width == 80 && n > 80:
				t.Errorf("%d letters in %d: %s", n, width, line)
			case width == 80 && strings.HasPrefix(line, "IMEI") && (!strings.Contains(line, "…") || !strings.HasPrefix(line, "IMEI:356726104408422  ") || !strings.HasSuffix(line, "…  now")):
				t.Errorf("cut in the wrong place: %s", line)
			case width == 1 && n > 2*leastCell+len("SEEN")+2*columnGap:
				t.Errorf("not cut as far as it can be: %s", line)
			}
		}
	}
	var b strings.Builder
	if err := newTable(&b, "none", "ID").end(); err != nil || b.String() != "none\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
