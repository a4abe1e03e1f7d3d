package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// table prints rows in columns as they come, a screenful at a time, so that a
// long list starts at once. On a terminal the widest cells are cut so that a row
// is a line; what other programs read is whole.
type table struct {
	w     io.Writer
	empty string // what to say when there was no row
	width int    // of the terminal; 0: it is none
	head  []string
	block [][]string
	rows  int
	err   error // of the writes before
}

const (
	tableBlock = 200
	columnGap  = 2
	leastCell  = 8 // a column is not cut below
)

func newTable(w io.Writer, empty string, head ...string) *table {
	return &table{w: w, empty: empty, width: terminalWidth(w), head: head}
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		t.block = append(t.block, t.head)
	}
	t.rows++
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.block = append(t.block, cells)
	if t.rows%tableBlock == 0 {
		t.flush()
	}
	return t.err
}

func (t *table) end() error {
	if t.rows == 0 {
		_, err := fmt.Fprintln(t.w, t.empty)
		return err
	}
	t.flush()
	return t.err
}

// flush writes the block, its columns as wide as they need be.
func (t *table) flush() {
	widths := widthsOf(t.block)
	if t.width > 0 {
		fit(widths, t.width)
	}
	var b strings.Builder
	for _, cells := range t.block {
		b.WriteString(lineOf(cells, widths) + "\n")
	}
	t.block = nil
	if _, err := io.WriteString(t.w, b.String()); err != nil {
		t.err = err
	}
}

func lineOf(cells []string, widths []int) string {
	var b strings.Builder
	for i, c := range cells {
		c = clip(c, widths[i])
		b.WriteString(c + strings.Repeat(" ", widths[i]+columnGap-utf8.RuneCountInString(c)))
	}
	return strings.TrimRight(b.String(), " ")
}

func widthsOf(rows [][]string) (widths []int) {
	for _, cells := range rows {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	return widths
}

// fit takes from the widest columns, a letter at a time, until all fit or none
// can give more.
func fit(widths []int, width int) {
	total := -columnGap
	for _, w := range widths {
		total += w + columnGap
	}
	for ; total > width; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= leastCell {
			return
		}
		widths[widest]--
	}
}

// clip cuts a cell that is too long.
func clip(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// printable keeps what a terminal would obey, and tabs, out of a cell.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '.'
		}
		return r
	}, s)
}

// joinLabels writes labels as they are given, name=value, in order.
func joinLabels(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, ",")
}

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func second(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
