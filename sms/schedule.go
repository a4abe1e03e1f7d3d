package sms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultPhases and DefaultLimit are the back-off of the seed document, KPN Things' page on connecting M2M devices: attempts at 0,
// every minute of the first 5, every 10 of the next hour, every hour of the next 12, every 4 of the next 36, and FAILED after 48 h.
// The steps add to 49 h 05 min; the limit wins: 32 attempts, the last at 45 h 05 min.
const (
	DefaultPhases = "5m/1m,1h/10m,12h/1h,36h/4h"
	DefaultLimit  = 48 * time.Hour
)

// Bounds of a schedule. Each attempt costs money, so a slip of the pen should not make a million of them.
const (
	MaxAttempts = 1000
	MaxLimit    = 31 * 24 * time.Hour
	MinStep     = 2 * time.Second // a validity, which has whole seconds, must be shorter than the step
)

// Phase is a stretch of a schedule: for For, an attempt at the end of every Every.
type Phase struct{ For, Every time.Duration }

func (p Phase) String() string { return shortDuration(p.For) + "/" + shortDuration(p.Every) }

// Schedule says when an SMS is tried again: at 0, then phase by phase, each beginning where the one before ended; and when it is
// given up. The zero Schedule makes no attempt; use [DefaultSchedule], [ParseSchedule] or [NewSchedule]. It is not changed by its
// methods, and may be used by many at once.
type Schedule struct {
	phases  []Phase
	limit   time.Duration
	offsets []time.Duration // of the attempts, from the first; all below limit
}

// DefaultSchedule is [DefaultPhases] with [DefaultLimit].
func DefaultSchedule() Schedule {
	s, err := ParseSchedule(DefaultPhases, DefaultLimit)
	if err != nil {
		panic(err) // the constants are tested
	}
	return s
}

// ParseSchedule reads phases such as 5m/1m,1h/10m: for 5 minutes every minute, then for an hour every 10 minutes. The durations are
// Go's, of whole seconds. limit is when the SMS is given up, counted from the first attempt: an attempt that would be due then or
// later is not made. An error names the phase at fault.
func ParseSchedule(phases string, limit time.Duration) (Schedule, error) {
	var parsed []Phase
	for i, text := range strings.Split(phases, ",") {
		p, err := parsePhase(text)
		if err != nil {
			return Schedule{}, fmt.Errorf("phase %d of the schedule, %q: %w", i+1, text, err)
		}
		parsed = append(parsed, p)
	}
	return NewSchedule(parsed, limit)
}

func parsePhase(text string) (p Phase, err error) {
	length, every, ok := strings.Cut(text, "/")
	if !ok {
		return p, errors.New("it is not of the form LENGTH/STEP, such as 1h/10m")
	}
	if p.For, err = parseUnsigned(length); err != nil {
		return p, err
	}
	p.Every, err = parseUnsigned(every)
	return p, err
}

func parseUnsigned(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || strings.ContainsAny(text, "+-") {
		return 0, fmt.Errorf("%q is no duration such as 90s, 10m or 12h", text)
	}
	return d, nil
}

// NewSchedule is [ParseSchedule] of phases that are read already.
func NewSchedule(phases []Phase, limit time.Duration) (Schedule, error) {
	if limit < MinStep || limit > MaxLimit || limit%time.Second != 0 {
		return Schedule{}, fmt.Errorf("the limit of the schedule, %s, is not %s to %s in whole seconds", shortDuration(limit), shortDuration(MinStep), shortDuration(MaxLimit))
	}
	s := Schedule{phases: slices.Clone(phases), limit: limit, offsets: []time.Duration{0}}
	var begins time.Duration
	for i, p := range phases {
		if err := p.check(); err != nil {
			return Schedule{}, fmt.Errorf("phase %d of the schedule, %q: %w", i+1, p, err)
		}
		for at := begins + p.Every; at <= begins+p.For && at < limit; at += p.Every {
			if len(s.offsets) == MaxAttempts {
				return Schedule{}, fmt.Errorf("phase %d of the schedule, %q: it makes more than %d attempts in all", i+1, p, MaxAttempts)
			}
			s.offsets = append(s.offsets, at)
		}
		begins = min(begins+p.For, limit) // what follows the limit is never reached, and adds to no overflow
	}
	return s, nil
}

func (p Phase) check() error {
	switch {
	case p.Every < MinStep || p.Every%time.Second != 0:
		return fmt.Errorf("the step %s is not %s or more in whole seconds", shortDuration(p.Every), shortDuration(MinStep))
	case p.For > MaxLimit:
		return fmt.Errorf("its length %s is over %s", shortDuration(p.For), shortDuration(MaxLimit))
	case p.For < p.Every || p.For%p.Every != 0:
		return fmt.Errorf("its length %s is no multiple of the step %s", shortDuration(p.For), shortDuration(p.Every))
	}
	return nil
}

// String is what [ParseSchedule] reads back to the same phases; the limit is not in it.
func (s Schedule) String() string {
	texts := make([]string, len(s.phases))
	for i, p := range s.phases {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// Limit is how long after the first attempt the SMS is given up.
func (s Schedule) Limit() time.Duration { return s.limit }

// Phases are those it was made of.
func (s Schedule) Phases() []Phase { return slices.Clone(s.phases) }

// Offsets are the attempts' times from the first, which is at 0.
func (s Schedule) Offsets() []time.Duration { return slices.Clone(s.offsets) }

// Attempts is how many there are, at most.
func (s Schedule) Attempts() int { return len(s.offsets) }

// Instants are the attempts' times when the first is made at first and none is late.
func (s Schedule) Instants(first time.Time) []time.Time {
	at := make([]time.Time, len(s.offsets))
	for i, o := range s.offsets {
		at[i] = first.Add(o)
	}
	return at
}

// Next is when to try again, asked at now, after an attempt: n is which attempt of the schedule that is, from 2. There is none left
// when ok is false: at is then the limit, when the SMS is given up (it may be past), and n is 0.
//
// An attempt made late, because bridge or gateway were down, is not followed at once by another: those of which less than half the
// step before them is left at now are passed over: the next is at least half its step away.
func (s Schedule) Next(first, now time.Time) (at time.Time, n int, ok bool) {
	elapsed := now.Sub(first)
	for k := 1; k < len(s.offsets); k++ {
		if step := s.offsets[k] - s.offsets[k-1]; s.offsets[k] >= elapsed+step/2 {
			return first.Add(s.offsets[k]), k + 1, true
		}
	}
	return first.Add(s.limit), 0, false
}

// Margin by which an SMSC is to give up before the next attempt.
const (
	marginPart = 10 // a tenth of the step
	maxMargin  = 5 * time.Minute
)

// Validity is how long the SMSC may keep an attempt made at at, when the next is at next (or the SMS is given up then): shorter than
// the step, so that the SMSC does not bring an old attempt beside the new one, nor any after the SMS was reported FAILED, and so that
// its receipt can be here before; but no shorter than needed, for a device that wakes meanwhile hears it. That is a tenth of the step
// less, and 5 minutes less where a tenth is more: 54 s of a minute, 9 min of 10, 55 min of an hour, 3 h 55 min of 4 h. It is of whole
// seconds, as SMPP's relative time is (SMPP 3.4 §7.1.1), and never below 1 s: there 0 would mean the SMSC's own default.
func Validity(at, next time.Time) time.Duration {
	step := next.Sub(at)
	v := step - min(step/marginPart, maxMargin)
	return max(v.Truncate(time.Second), time.Second)
}

// shortDuration is "48h" where Go says "48h0m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
