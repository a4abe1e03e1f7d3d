//go:build linux

package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 3: {9, 3, 1}, 2.5: {4, 1, 3, 2}, 7: {7}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v", values, got)
		}
	}
}

// The ratio is the median of the rounds' ratios: a slow spell that takes both sides leaves it as it is.
func TestPairsRow(t *testing.T) {
	round := func(messages float64) sample { return sample{messages: messages, elapsed: time.Second} }
	p := pairs{
		ours:      []sample{round(70), round(7), round(80)},
		reference: []sample{round(100), round(10), round(100)},
	}
	r := p.row("x", perSecond, rateOf, atLeast(0.7))
	if r.ours != 70 || r.reference != 100 || r.ratio != 0.7 {
		t.Errorf("%v, %v, ratio %v", r.ours, r.reference, r.ratio)
	}
	if c := r.cells(); c[3] != "0.70" || c[4] != "≥ 0.70" || c[5] != "met" {
		t.Errorf("%v", c)
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		r    row
		want string
	}{
		{row{ratio: 0.5, goal: atLeast(1), unit: number}, "MISSED by 50 %"},
		{row{ratio: 2.7, goal: atMost(1.8), unit: number}, "MISSED by 50 %"},
		{row{ours: 10 << 10, goal: atMost(20 << 10), unit: bytesOf}, "met"},
		{row{ours: 25e6, goal: atMost(20e6), unit: duration}, "MISSED by 25 %"},
		{row{ours: 1, reference: 2, ratio: 0.5, unit: number}, ""},
	} {
		if got := c.r.cells()[5]; got != c.want {
			t.Errorf("%+v: %q, not %q", c.r, got, c.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	tab := newTable(options{rounds: 5}, "a machine")
	tab.add(io.Discard, row{job: "j", unit: perSecond, ours: 1, reference: 2, ratio: 0.5, goal: atLeast(0.7)})
	tab.note(io.Discard, "a %s", "note")
	got := tab.markdown()
	for _, want := range []string{"a machine", "| j | 1 /s | 2 /s | 0.50 | ≥ 0.70 | MISSED by 29 % |", "- a note", "0 of 1 goals met"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"999 ns": duration(999), "12.5 µs": duration(12500), "1.5 ms": duration(1.5e6), "90 s": duration(9e10),
		"19.5 KB": bytesOf(19.5 * 1024), "25.0 MB": bytesOf(25 << 20), "12 /s": perSecond(12.4),
	} {
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestChosen(t *testing.T) {
	for only, want := range map[string]string{
		"mqtt": "mqtt", "deliver": "deliver0 deliver1 deliver1-one deliver1-many", "idle,http": "http idle", "aof": "aof-http aof-mqtt",
	} {
		some, err := chosen(only)
		var names []string
		for _, j := range some {
			names = append(names, j.name)
		}
		if got := strings.Join(names, " "); got != want || err != nil {
			t.Errorf("%s chooses %s, error %v", only, got, err)
		}
	}
	if _, err := chosen("http,nothing"); err == nil {
		t.Error("a job that is not there is chosen")
	}
}
