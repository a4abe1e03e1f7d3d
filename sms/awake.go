package sms

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Awake tells when a device listens to the network, for reckoning which attempts of a [Schedule] reach it.
type Awake interface {
	// Next is the first stretch of listening that ends after t, from (before or after t) to, not including, until. ok is false if
	// there is none.
	Next(t time.Time) (from, until time.Time, ok bool)
}

// Hears is when a device gets an SMS that was submitted at at and that the SMSC holds until until: at once if it listens, else when it
// next does, if that is before until. An SMSC keeps a message for its validity and brings it when the network tells that the device is
// there again (3GPP TS 23.040 §3.2.6, Messages-Waiting).
func Hears(a Awake, at, until time.Time) (heard time.Time, ok bool) {
	from, _, ok := a.Next(at)
	if !ok {
		return time.Time{}, false
	}
	if from.Before(at) {
		from = at
	}
	return from, from.Before(until)
}

// Cycle is a device that sleeps and wakes evenly: it listens for For at First and every Every before and after.
type Cycle struct {
	First      time.Time
	Every, For time.Duration // Every 0: never; For no shorter than Every: always
}

// Next is of [Awake].
func (c Cycle) Next(t time.Time) (from, until time.Time, ok bool) {
	switch {
	case c.Every <= 0 || c.For <= 0:
		return from, until, false
	case c.For >= c.Every:
		return t, t.Add(c.Every), true
	}
	phase := t.Sub(c.First) % c.Every // since the latest waking
	if phase < 0 {
		phase += c.Every
	}
	from = t.Add(-phase)
	if phase >= c.For {
		from = from.Add(c.Every)
	}
	return from, from.Add(c.For), true
}

// TimeOfDay is a stretch of each day: from At after midnight by the clock on the wall, for For.
type TimeOfDay struct{ At, For time.Duration }

// ParseTimeOfDay reads 06:00/10m, or 06:00:30/10m: ten minutes from six o'clock. The stretch is 1 s to 24 h long.
func ParseTimeOfDay(text string) (TimeOfDay, error) {
	clock, length, _ := strings.Cut(text, "/")
	at, err := time.Parse("15:04:05", clock)
	if err != nil {
		at, err = time.Parse("15:04", clock)
	}
	d, errLength := parseUnsigned(length)
	if errors.Join(err, errLength) != nil || d < time.Second || d > 24*time.Hour {
		return TimeOfDay{}, fmt.Errorf("%q is no time of day and for how long, such as 06:00/10m", text)
	}
	return TimeOfDay{At: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second, For: d}, nil
}

// UnmarshalText is [ParseTimeOfDay], so that a flag may be one.
func (d *TimeOfDay) UnmarshalText(text []byte) (err error) {
	*d, err = ParseTimeOfDay(string(text))
	return err
}

// Days is a device that listens at times of day, each day by the clock of a zone, nil being UTC. Where the clock is put forward, a
// time that does not exist is one hour off.
type Days struct {
	Times []TimeOfDay
	Zone  *time.Location
}

// Next is of [Awake].
func (d Days) Next(t time.Time) (from, until time.Time, ok bool) {
	zone := d.Zone
	if zone == nil {
		zone = time.UTC
	}
	t = t.In(zone)
	for day := -2; day <= 2; day++ { // a stretch may reach over midnight, and a day of changing clocks is longer or shorter
		for _, w := range d.Times {
			begins := time.Date(t.Year(), t.Month(), t.Day()+day, 0, 0, int(w.At/time.Second), 0, zone)
			if ends := begins.Add(w.For); ends.After(t) && (!ok || begins.Before(from)) {
				from, until, ok = begins, ends, true
			}
		}
	}
	return from, until, ok
}
