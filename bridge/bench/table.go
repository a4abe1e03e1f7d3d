//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	job       string
	ours      float64
	reference float64 // 0: there is none
	ratio     float64 // 0: there is none
	unit      unit
	goal      goal
}

// goal is a bound on the ratio, or on our own number where there is no ratio; the zero goal is none.
type goal struct {
	limit   float64
	atLeast bool
}

func atLeast(x float64) goal { return goal{x, true} }
func atMost(x float64) goal  { return goal{x, false} }

func (g goal) met(x float64) bool {
	if g.atLeast {
		return x >= g.limit
	}
	return x <= g.limit
}

// unit prints a number of its kind.
type unit func(float64) string

func perSecond(x float64) string { return fmt.Sprintf("%.0f /s", x) }
func number(x float64) string    { return fmt.Sprintf("%.2f", x) }
func bytesOf(x float64) string {
	if x >= 1<<20 {
		return fmt.Sprintf("%.1f MB", x/(1<<20))
	}
	return fmt.Sprintf("%.1f KB", x/(1<<10))
}

// duration takes nanoseconds.
func duration(x float64) string {
	switch d := time.Duration(x); {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", x/1e6)
	case d >= 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", x/1e3)
	}
	return fmt.Sprintf("%.0f ns", x)
}

// table collects rows and notes, and prints them as they come.
type table struct {
	o       options
	machine string
	rows    []row
	notes   []string
}

func newTable(o options, machine string) *table { return &table{o: o, machine: machine} }

// columns of the terminal's table.
const columns = "%-62s %12s %12s %7s %8s  %s\n"

func (t *table) head(w io.Writer) {
	fmt.Fprintln(w, t.machine)
	fmt.Fprintln(w, t.how())
	fmt.Fprintf(w, "\n"+columns, "job", "ours", "reference", "ratio", "goal", "")
}

// how says how it is measured, without which the numbers say nothing.
func (t *table) how() string {
	return fmt.Sprintf("%d rounds of %s after %s of warm-up, ours and the reference in turn; medians, the ratio's of the rounds' own ratios.\n"+
		"Generator and servers share the processors. CPU is user and system time of all server processes, Redis's included.",
		t.o.rounds, t.o.measure, t.o.warm)
}

func (t *table) add(w io.Writer, rows ...row) {
	for _, r := range rows {
		t.rows = append(t.rows, r)
		c := r.cells()
		fmt.Fprintf(w, columns, c[0], c[1], c[2], c[3], c[4], c[5])
	}
}

func (t *table) note(w io.Writer, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.notes = append(t.notes, text)
	fmt.Fprintf(w, "    %s\n", text)
}

func (r row) cells() [6]string {
	c := [6]string{r.job, r.unit(r.ours), "", "", "", ""}
	if r.reference != 0 {
		c[2] = r.unit(r.reference)
	}
	value := r.ours
	if r.ratio != 0 {
		value = r.ratio
		c[3] = fmt.Sprintf("%.2f", r.ratio)
	}
	if r.goal == (goal{}) {
		return c
	}
	c[4] = r.goalText()
	c[5] = "met"
	if !r.goal.met(value) {
		c[5] = fmt.Sprintf("MISSED by %.2g %%", math.Abs(value/r.goal.limit-1)*100)
	}
	return c
}

func (r row) goalText() string {
	sign := "≤ "
	if r.goal.atLeast {
		sign = "≥ "
	}
	if r.ratio != 0 {
		return sign + fmt.Sprintf("%.2f", r.goal.limit)
	}
	return sign + r.unit(r.goal.limit)
}

// foot sums up.
func (t *table) foot(w io.Writer) {
	met, goals := 0, 0
	for _, r := range t.rows {
		if r.goal == (goal{}) {
			continue
		}
		goals++
		if !strings.HasPrefix(r.cells()[5], "MISSED") {
			met++
		}
	}
	fmt.Fprintf(w, "\n%d of %d goals met\n", met, goals)
}

// markdown is the same for a file.
func (t *table) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n\n%s\n\n| job | ours | reference | ratio | goal | |\n|---|---:|---:|---:|---:|---|\n", t.machine, t.how())
	for _, r := range t.rows {
		fmt.Fprintf(&s, "| %s |\n", strings.Join(cellsOf(r), " | "))
	}
	s.WriteString("\n")
	for _, n := range t.notes {
		fmt.Fprintf(&s, "- %s\n", n)
	}
	t.foot(&s)
	return s.String()
}

func cellsOf(r row) []string {
	c := r.cells()
	return c[:]
}
