package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints rows in columns as they come, a screenful at a time, so that a
// long list starts at once.
type table struct {
	w     *tabwriter.Writer
	empty string // what to say when there was no row
	head  []string
	rows  int
}

const tableBlock = 200

func newTable(w io.Writer, empty string, head ...string) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), empty: empty, head: head}
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		fmt.Fprintln(t.w, strings.Join(t.head, "\t"))
	}
	t.rows++
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	if t.rows%tableBlock == 0 {
		return t.w.Flush()
	}
	return nil
}

func (t *table) end() error {
	if t.rows == 0 {
		fmt.Fprintln(t.w, t.empty)
	}
	return t.w.Flush()
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
