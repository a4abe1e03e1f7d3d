package sms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var wake = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The seconds of all attempts that the seed's steps make.
var seedOffsets = []int{
	0, 60, 120, 180, 240, 300, 900, 1500, 2100, 2700, 3300, 3900, 7500, 11100, 14700, 18300, 21900, 25500,
	29100, 32700, 36300, 39900, 43500, 47100, 61500, 75900, 90300, 104700, 119100, 133500, 147900, 162300,
}

func TestDefaultScheduleIsTheSeeds(t *testing.T) {
	s := DefaultSchedule()
	if s.String() != "5m/1m,1h/10m,12h/1h,36h/4h" || s.Limit() != 48*time.Hour || s.Attempts() != 32 {
		t.Fatalf("%s, limit %s, %d attempts", s, s.Limit(), s.Attempts())
	}
	var got []int
	for _, o := range s.Offsets() {
		got = append(got, int(o/time.Second))
	}
	if !slices.Equal(got, seedOffsets) {
		t.Errorf("offsets %v", got)
	}
	// Nobody late: from each attempt to the next, then to the limit.
	now := wake
	for k, want := range s.Instants(wake)[1:] {
		at, n, ok := s.Next(wake, now)
		if !at.Equal(want) || n != k+2 || !ok {
			t.Errorf("after attempt %d: %s, %d, %v; want %s", k+1, at, n, ok, want)
		}
		now = at
	}
	if at, n, ok := s.Next(wake, now); ok || n != 0 || !at.Equal(wake.Add(48*time.Hour)) {
		t.Errorf("after the last: %s, %d, %v", at, n, ok)
	}
}

func TestNextAfterALateAttempt(t *testing.T) {
	s := DefaultSchedule()
	for _, c := range []struct {
		late string // after the first attempt
		next int    // seconds after it; 172800 is the limit
		n    int
	}{
		{"-1h", 60, 2}, // a clock that went back
		{"30s", 60, 2}, {"31s", 120, 3}, {"5m", 900, 7}, {"10m", 900, 7}, {"10m1s", 1500, 8},
		{"19h", 75900, 26}, {"19h5m1s", 90300, 27}, {"43h5m", 162300, 32}, {"43h5m1s", 172800, 0}, {"48h", 172800, 0}, {"90h", 172800, 0},
	} {
		d, err := time.ParseDuration(c.late)
		if err != nil {
			t.Fatal(err)
		}
		at, n, ok := s.Next(wake, wake.Add(d))
		if !at.Equal(wake.Add(time.Duration(c.next)*time.Second)) || n != c.n || ok != (c.n > 0) {
			t.Errorf("%s late: %s after the first, %d, %v", c.late, at.Sub(wake), n, ok)
		}
	}
	var zero Schedule
	if at, n, ok := zero.Next(wake, wake); ok || n != 0 || !at.Equal(wake) || zero.Attempts() != 0 {
		t.Errorf("the zero schedule: %s, %d, %v", at, n, ok)
	}
}

func TestValidity(t *testing.T) {
	for step, want := range map[string]string{
		"2s": "1s", "10s": "9s", "1m": "54s", "90s": "1m21s", "10m": "9m0s", "1h": "55m0s", "4h": "3h55m0s", "2h55m": "2h50m0s", "1s": "1s", "0s": "1s", "-1h": "1s",
	} {
		d, err := time.ParseDuration(step)
		if err != nil {
			t.Fatal(err)
		}
		if got := Validity(wake, wake.Add(d)); got.String() != want {
			t.Errorf("step %s: %s, want %s", step, got, want)
		}
	}
}

func TestParseScheduleRefuses(t *testing.T) {
	for _, c := range []struct{ text, limit, says string }{
		{"", "48h", `phase 1 of the schedule, "": it is not of the form`},
		{"5m", "48h", `phase 1 of the schedule, "5m": it is not of the form LENGTH/STEP, such as 1h/10m`},
		{"5m/1m,", "48h", `phase 2 of the schedule, ""`},
		{"5m/1m,,1h/10m", "48h", `phase 2 of the schedule, ""`},
		{"5m/1m, 1h/10m", "48h", `phase 2 of the schedule, " 1h/10m": " 1h" is no duration`},
		{"5m/1m,1h/ten", "48h", `"ten" is no duration such as 90s, 10m or 12h`},
		{"5m/1m/1s", "48h", `"1m/1s" is no duration`},
		{"5/1", "48h", `"5" is no duration`},
		{"-5m/1m", "48h", `"-5m" is no duration`},
		{"5m/+1m", "48h", `"+1m" is no duration`},
		{"5m/1m,1h/0s", "48h", `phase 2 of the schedule, "1h/0s": the step 0s is not 2s or more`},
		{"5m/1500ms", "48h", `the step 1.5s is not`},
		{"5m/1s", "48h", `the step 1s is not`},
		{"0s/1m", "48h", `phase 1 of the schedule, "0s/1m": its length 0s is no multiple of the step 1m`},
		{"5m/1m,1h/7m", "48h", `phase 2 of the schedule, "1h/7m": its length 1h is no multiple of the step 7m`},
		{"1m/5m", "48h", `no multiple`},
		{"2562047h/1h", "48h", `its length 2562047h is over 744h`},
		{"1h/2s", "48h", `phase 1 of the schedule, "1h/2s": it makes more than 1000 attempts in all`},
		{"5m/1m", "0s", `the limit of the schedule, 0s, is not 2s to 744h in whole seconds`},
		{"5m/1m", "745h", `745h, is not`},
		{"5m/1m", "-48h", `-48h, is not`},
		{"5m/1m", "1m30.5s", `1m30.5s, is not`},
	} {
		limit, err := time.ParseDuration(c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSchedule(c.text, limit); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q, %s: %v, want %s", c.text, c.limit, err, c.says)
		}
	}
	// What lies behind the limit is cut, and does not count.
	s, err := ParseSchedule("5m/1m,744h/1h,744h/2s,744h/2s", 2*time.Hour+5*time.Minute)
	if err != nil || fmt.Sprint(s.Offsets()) != "[0s 1m0s 2m0s 3m0s 4m0s 5m0s 1h5m0s]" {
		t.Errorf("%v, %v", s.Offsets(), err)
	}
}

// anySchedule draws phases and a limit that ParseSchedule takes.
func anySchedule(t *rapid.T) Schedule {
	var phases []Phase
	for i := range rapid.IntRange(1, 5).Draw(t, "phases") {
		every := time.Duration(rapid.IntRange(2, 4*3600).Draw(t, fmt.Sprint("step ", i))) * time.Second
		phases = append(phases, Phase{For: every * time.Duration(rapid.IntRange(1, 20).Draw(t, fmt.Sprint("steps ", i))), Every: every})
	}
	limit := time.Duration(rapid.IntRange(2, 48*3600).Draw(t, "limit")) * time.Second
	s, err := NewSchedule(phases, limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScheduleRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySchedule(t)
		back, err := ParseSchedule(s.String(), s.Limit())
		if err != nil || !slices.Equal(back.Phases(), s.Phases()) || !slices.Equal(back.Offsets(), s.Offsets()) || back.Limit() != s.Limit() {
			t.Fatalf("%s became %s: %v", s, back, err)
		}
	})
}

func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySchedule(t)
		offsets := s.Offsets()
		if offsets[0] != 0 || !slices.IsSorted(offsets) || len(slices.Compact(slices.Clone(offsets))) != len(offsets) || offsets[len(offsets)-1] >= s.Limit() {
			t.Fatalf("%s within %s: %v", s, s.Limit(), offsets)
		}
		now := wake.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(s.Limit()+time.Hour)).Draw(t, "now")))
		at, n, ok := s.Next(wake, now)
		if !ok {
			if n != 0 || !at.Equal(wake.Add(s.Limit())) {
				t.Fatalf("none left: %s, %d", at, n)
			}
			return
		}
		step := offsets[n-1] - offsets[n-2]
		switch v := Validity(now, at); {
		case n < 2 || !at.Equal(wake.Add(offsets[n-1])):
			t.Fatalf("attempt %d at %s", n, at)
		case at.Sub(now) < step/2:
			t.Fatalf("%s to attempt %d, half a step is %s", at.Sub(now), n, step/2)
		case n > 2 && wake.Add(offsets[n-2]).Sub(now) >= (offsets[n-2]-offsets[n-3])/2:
			t.Fatalf("attempt %d is passed over at %s", n-1, now)
		case v < time.Second || v%time.Second != 0 || at.Sub(now) >= 2*time.Second && v >= at.Sub(now):
			t.Fatalf("validity %s of %s", v, at.Sub(now))
		}
		// Time goes on, and so do attempts.
		later := now.Add(time.Duration(rapid.Int64Range(0, int64(s.Limit())).Draw(t, "later")))
		if then, _, _ := s.Next(wake, later); then.Before(at) {
			t.Fatalf("%s at %s, %s at %s", at, now, then, later)
		}
	})
}

// A worker that is late by chance makes no more attempts than the schedule has, and none at or after the limit.
func TestLateAttemptsAreNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySchedule(t)
		made, last := 1, wake
		for due, n, ok := s.Next(wake, wake); ok; due, n, ok = s.Next(wake, last) {
			late := time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "late"))
			made++
			if n < made || !due.After(last) {
				t.Fatalf("attempt %d as the schedule's %d, at %s after %s", made, n, due, last)
			}
			last = due.Add(late)
		}
		if made > s.Attempts() {
			t.Fatalf("%d attempts of %d", made, s.Attempts())
		}
	})
}
