package rehearse

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/sms"
)

func play2days(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(c)
	if err != nil {
		t.Fatal(err)
	}
	sum, failed := 0, 0
	for _, n := range r.Delivered {
		sum += n
	}
	for _, k := range r.Kinds {
		failed += k.Failed
	}
	if sum != r.Total() || failed != r.Failed || r.Total()+r.Failed+r.Waiting != r.Devices || r.AtOnce > r.Total() || r.Submits < r.Devices {
		t.Errorf("it does not add up: %+v", r)
	}
	return r
}

// A device that wakes within a step of the schedule is reached, whenever it wakes; and only one that does not wake in two days, or in
// the moments between two attempts, is given up.
func TestTwoDays(t *testing.T) {
	r := play2days(t, Config{Schedule: sms.DefaultSchedule(), Devices: 3000, Seed: "m2mbridge", For: 48 * time.Hour})
	if r.Waiting != 0 || r.Quantile(1) >= 48*time.Hour || r.Quantile(0) != 0 {
		t.Errorf("waiting %d, latency %s to %s", r.Waiting, r.Quantile(0), r.Quantile(1))
	}
	for _, k := range r.Kinds {
		percent := 100 * k.Delivered / max(k.Devices, 1)
		switch {
		case k.Devices == 0:
			t.Errorf("no device of %s", k.Name)
		case k.Every > 0 && k.Every <= 24*time.Hour && percent < 97:
			t.Errorf("%s: %d %% delivered", k.Name, percent)
		case k.Every == 0 && k.Delivered > 0:
			t.Errorf("%s: %d delivered", k.Name, k.Delivered)
		case k.Every > 48*time.Hour && (percent < 15 || percent > 45): // two days of seven
			t.Errorf("%s: %d %% delivered", k.Name, percent)
		}
	}
	if on := r.Kinds[0]; on.Delivered != on.Devices || r.Delivered[0] < on.Devices {
		t.Errorf("always on: %d of %d", on.Delivered, on.Devices)
	}
}

func TestSameSeedSameOutcome(t *testing.T) {
	c := Config{Schedule: sms.DefaultSchedule(), Devices: 500, Seed: "a", For: 48 * time.Hour}
	first := play2days(t, c)
	if d := cmp.Diff(first, play2days(t, c)); d != "" {
		t.Error(d)
	}
	c.Seed = "b"
	if cmp.Equal(first, play2days(t, c)) {
		t.Error("another seed is the same")
	}
}

// Virtual time may end before the schedule does.
func TestTimeEnds(t *testing.T) {
	r := play2days(t, Config{Schedule: sms.DefaultSchedule(), Devices: 500, Seed: "a", For: time.Hour})
	if r.Waiting == 0 || r.Failed != 0 || r.Quantile(1) > time.Hour || len(r.Delivered) != 32 {
		t.Errorf("%+v", r)
	}
	for attempt, n := range r.Delivered[11:] {
		if n > 0 {
			t.Errorf("attempt %d is made after the hour", attempt+12)
		}
	}
	if _, err := Run(Config{}); err == nil {
		t.Error("nothing is played")
	}
	if (&Report{}).Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
