package sms

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestParseTimeOfDay(t *testing.T) {
	for text, want := range map[string]TimeOfDay{
		"06:00/10m": {6 * time.Hour, 10 * time.Minute}, "23:59:30/24h": {24*time.Hour - 30*time.Second, 24 * time.Hour}, "00:00/1s": {0, time.Second},
	} {
		if got, err := ParseTimeOfDay(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "06:00", "06:00/", "24:00/1m", "6/1m", "06:00/0s", "06:00/25h", "06:00/-1m", "06:00/10", "06:00/1m/1m"} {
		var d TimeOfDay
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "such as 06:00/10m") {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
}

func TestDays(t *testing.T) {
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Skip("no time zones here: ", err)
	}
	morning, late := TimeOfDay{6 * time.Hour, 10 * time.Minute}, TimeOfDay{23*time.Hour + 55*time.Minute, 10 * time.Minute}
	for _, c := range []struct {
		name        string
		days        Days
		t           string
		from, until string
	}{
		{"later today", Days{[]TimeOfDay{morning}, nil}, "2026-03-01T05:00:00Z", "2026-03-01T06:00:00Z", "2026-03-01T06:10:00Z"},
		{"now", Days{[]TimeOfDay{morning}, nil}, "2026-03-01T06:09:59Z", "2026-03-01T06:00:00Z", "2026-03-01T06:10:00Z"},
		{"its end is none of it", Days{[]TimeOfDay{morning}, nil}, "2026-03-01T06:10:00Z", "2026-03-02T06:00:00Z", "2026-03-02T06:10:00Z"},
		{"over midnight", Days{[]TimeOfDay{morning, late}, nil}, "2026-03-01T00:02:00Z", "2026-02-28T23:55:00Z", "2026-03-01T00:05:00Z"},
		{"the earlier of two", Days{[]TimeOfDay{late, morning}, nil}, "2026-03-01T00:05:00Z", "2026-03-01T06:00:00Z", "2026-03-01T06:10:00Z"},
		{"by the clock there", Days{[]TimeOfDay{morning}, amsterdam}, "2026-03-28T12:00:00Z", "2026-03-29T04:00:00Z", "2026-03-29T04:10:00Z"},
		{"all day", Days{[]TimeOfDay{{0, 24 * time.Hour}}, nil}, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"},
	} {
		from, until, ok := c.days.Next(at(t, c.t))
		if !ok || !from.Equal(at(t, c.from)) || !until.Equal(at(t, c.until)) {
			t.Errorf("%s: %s to %s, %v", c.name, from, until, ok)
		}
	}
	if _, _, ok := (Days{}).Next(wake); ok {
		t.Error("a device without times listens")
	}
}

func TestHears(t *testing.T) {
	c := Cycle{First: wake, Every: time.Hour, For: time.Minute}
	for _, x := range []struct {
		after, held, heard time.Duration
		ok                 bool
	}{
		{0, time.Second, 0, true}, // awake
		{59 * time.Second, time.Second, 59 * time.Second, true},
		{time.Minute, time.Minute, time.Hour, false},       // asleep, and gone before it wakes
		{time.Minute, 59 * time.Minute, time.Hour, false},  // gone the moment it wakes
		{time.Minute, 59*time.Minute + 1, time.Hour, true}, // held until it wakes
		{-30 * time.Minute, time.Hour, 0, true},            // before the first waking named
	} {
		heard, ok := Hears(c, wake.Add(x.after), wake.Add(x.after+x.held))
		if ok != x.ok || ok && !heard.Equal(wake.Add(x.heard)) {
			t.Errorf("after %s, held %s: %s, %v", x.after, x.held, heard, ok)
		}
	}
	if _, ok := Hears(Cycle{}, wake, wake.Add(time.Hour)); ok {
		t.Error("a device that never wakes hears")
	}
	if heard, ok := Hears(Cycle{First: wake, Every: time.Hour, For: time.Hour}, wake.Add(7), wake.Add(8)); !ok || !heard.Equal(wake.Add(7)) {
		t.Error("a device that never sleeps hears at ", heard)
	}
}

func TestCycleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Cycle{First: wake, Every: time.Duration(rapid.Int64Range(2, int64(24*time.Hour)).Draw(t, "every"))}
		c.For = time.Duration(rapid.Int64Range(1, int64(c.Every)-1).Draw(t, "for"))
		now := wake.Add(time.Duration(rapid.Int64Range(-int64(72*time.Hour), int64(72*time.Hour)).Draw(t, "now")))
		from, until, ok := c.Next(now)
		if !ok || until.Sub(from) != c.For || !until.After(now) || from.Sub(now) > c.Every-c.For || from.Sub(wake)%c.Every != 0 {
			t.Fatalf("%s to %s at %s of %v", from, until, now, c)
		}
	})
}
