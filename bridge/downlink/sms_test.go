package downlink

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/due"
)

// seedSchedule are the offsets of WIRE.md in seconds, and the limit.
var seedSchedule = []int{
	0, 60, 120, 180, 240, 300, 900, 1500, 2100, 2700, 3300, 3900, 7500, 11100, 14700, 18300, 21900, 25500, 29100, 32700, 36300, 39900, 43500, 47100,
	61500, 75900, 90300, 104700, 119100, 133500, 147900, 162300,
}

func scheduleText(offsets []int, limit int) string {
	words := make([]string, len(offsets))
	for i, o := range offsets {
		words[i] = fmt.Sprint(o * 1000)
	}
	return strings.Join(words, ",") + fmt.Sprintf(";%d", limit*1000)
}

// texts is a bench that sends SMS.
type texts struct {
	*bench
	set *due.Set
}

func newTexts(t testing.TB, server *redistest.Server) *texts {
	b := newBench(t, server, func(c *Config) {
		c.Schedule = scheduleText(seedSchedule, 172800)
		c.SMS = func(text string, data []byte) (int, error) { return 1 + max(len(text)/160, len(data)/140), nil }
	})
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: server.Client(), Keys: auth.Keyspace{}})
	if err != nil {
		t.Fatal(err)
	}
	no := false
	for _, d := range []auth.Device{{ID: imei, Unsigned: true, MSISDN: "31612345678"}, {ID: other, Unsigned: true, MSISDN: "31612345679", SMS: &no}} {
		if _, err := registry.PutDevice(t.Context(), d, auth.Upsert); err != nil {
			t.Fatal(err)
		}
	}
	return &texts{b, b.SMSDue(30 * time.Second)}
}

func text(words string, more ...func(*Draft)) Draft {
	d := Draft{Device: imei, Channel: SMS, Text: words, Priority: DefaultPriority}
	for _, m := range more {
		m(&d)
	}
	return d
}

// claims are what is due now.
func (b *texts) claims() []due.Claim {
	b.t.Helper()
	batch := b.set.Claim(b.t.Context(), due.Ask{N: 10})[0]
	if batch.Err != nil {
		b.t.Fatal(batch.Err)
	}
	return batch.Claims
}

// begin begins the one attempt that is due.
func (b *texts) begin(want int) SMSAttempt {
	b.t.Helper()
	claims := b.claims()
	if len(claims) != 1 {
		b.t.Fatalf("%d are due", len(claims))
	}
	a, ok, err := b.BeginSMS(b.t.Context(), claims[0])
	if err != nil || !ok || a.Number != want {
		b.t.Fatalf("begin: %+v, %v, %v; want attempt %d", a, ok, err, want)
	}
	return a
}

// none holds that no attempt is begun now.
func (b *texts) none() {
	b.t.Helper()
	for _, c := range b.claims() {
		if a, ok, err := b.BeginSMS(b.t.Context(), c); ok || err != nil {
			b.t.Fatalf("begun: %+v, %v", a, err)
		}
	}
}

func (b *texts) end(a SMSAttempt, o SMSOutcome) {
	b.t.Helper()
	if ok, err := b.EndSMS(b.t.Context(), a.ID, a.Number, o); err != nil || !ok {
		b.t.Fatalf("end of attempt %d: %v, %v", a.Number, ok, err)
	}
}

func (b *texts) receipt(id string, r SMSReceipt, want bool) {
	b.t.Helper()
	if r.Parts == 0 {
		r.Part, r.Parts = 1, 1
	}
	if ok, err := b.Receipt(b.t.Context(), id, r); err != nil || ok != want {
		b.t.Fatalf("receipt %+v: %v, %v; want %v", r, ok, err, want)
	}
}

var (
	accepted    = SMSOutcome{End: SMSAccepted, Text: "accepted", Receipts: true}
	delivered   = SMSReceipt{Number: 1, State: "DELIVERED", Text: "delivered"}
	undelivered = SMSReceipt{Number: 1, State: "UNDELIVERED", Final: true, Text: "absent subscriber"}
)

// The seed: "After a total of 48 hours … will report the SMS as FAILED", after 32 attempts at WIRE.md's instants.
func TestSMSFailsBySchedule(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		d := b.create(text("hello"))
		start := b.clock.now()
		var at []int
		for n := range seedSchedule {
			a := b.begin(n + 1)
			if a.MSISDN != "31612345678" || a.Kind != SMSText || a.Content != "hello" {
				t.Fatalf("attempt %+v", a)
			}
			at = append(at, int(b.clock.now().Sub(start).Round(time.Second)/time.Second))
			step := time.Duration(append(seedSchedule, 172800)[n+1]-seedSchedule[n]) * time.Second
			if late := step - a.Validity; late < -time.Second || late > time.Second {
				t.Errorf("attempt %d: %s until the next, want %s", a.Number, a.Validity, step)
			}
			b.end(a, accepted)
			b.receipt(d.ID, SMSReceipt{Number: a.Number, State: "EXPIRED", Final: true, Text: "expired"}, true)
			b.none()
			following := start.Add(time.Duration(seedSchedule[n])*time.Second + step)
			b.clock.pass(following.Add(-time.Second).Sub(b.clock.now()))
			b.none()
			b.looked()
			b.is(d.ID, Executing)
			b.clock.pass(following.Add(50 * time.Millisecond).Sub(b.clock.now()))
		}
		if !slices.Equal(at, seedSchedule) {
			t.Errorf("attempts at %v", at)
		}
		b.none()
		b.looked()
		if got := b.is(d.ID, Failed); got.Attempts != 32 || !strings.Contains(got.Cause, "48h") {
			t.Errorf("%+v", got)
		}
		b.receipt(d.ID, SMSReceipt{Number: 32, State: "DELIVERED", Text: "at last"}, true)
		b.is(d.ID, Failed)
	})
}

func TestSMSOutcomes(t *testing.T) {
	tests := map[string]struct {
		do   func(b *texts, id string)
		want State
		sms  string
		n    int // attempts
	}{
		"delivered":   {func(b *texts, id string) { b.end(b.begin(1), accepted); b.receipt(id, delivered, true) }, Succeeded, "over", 1},
		"no receipts": {func(b *texts, _ string) { b.end(b.begin(1), SMSOutcome{End: SMSAccepted, Text: "ok"}) }, Succeeded, "over", 1},
		"awaited":     {func(b *texts, _ string) { b.end(b.begin(1), accepted) }, Executing, "accepted", 1},
		"permanent":   {func(b *texts, _ string) { b.end(b.begin(1), SMSOutcome{End: SMSPermanent, Text: "no"}) }, Failed, "over", 1},
		"temporary":   {func(b *texts, _ string) { b.end(b.begin(1), SMSOutcome{End: SMSTemporary, Text: "no"}) }, Executing, "refused", 1},
		"unknown":     {func(b *texts, _ string) { b.end(b.begin(1), SMSOutcome{End: SMSUnknown, Text: "?"}); b.none() }, Executing, "unknown", 1},
		"unsent":      {func(b *texts, _ string) { b.end(b.begin(1), SMSOutcome{End: SMSUnsent, Text: "away"}) }, Executing, "due", 0},
		"throttled": {func(b *texts, _ string) {
			b.end(b.begin(1), SMSOutcome{End: SMSThrottled, Text: "slow", Pause: time.Second})
			b.none()
		}, Executing, "due", 0},
		"undelivered": {func(b *texts, id string) { b.end(b.begin(1), accepted); b.receipt(id, undelivered, true); b.none() }, Executing, "undelivered", 1},
		"on its way": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, SMSReceipt{Number: 1, State: "ENROUTE"}, true)
		}, Executing, "accepted", 1},
		"rejected": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, SMSReceipt{Number: 1, State: "REJECTED", Final: true, Permanent: true}, true)
		}, Failed, "over", 1},
		"early": {func(b *texts, id string) {
			a := b.begin(1)
			b.receipt(id, delivered, true)
			_, _ = b.EndSMS(b.t.Context(), id, a.Number, accepted)
		}, Succeeded, "over", 1},
		"early, no": {func(b *texts, id string) { a := b.begin(1); b.receipt(id, undelivered, true); b.end(a, accepted) }, Executing, "undelivered", 1},
		"doubled": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, undelivered, true)
			b.receipt(id, undelivered, false)
		}, Executing, "undelivered", 1},
		"after all": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, undelivered, true)
			b.receipt(id, delivered, true)
		}, Succeeded, "over", 1},
		"late answer": {func(b *texts, _ string) {
			a := b.begin(1)
			b.end(a, SMSOutcome{End: SMSUnknown, Text: "?"})
			b.end(a, accepted)
		}, Executing, "accepted", 1},
		"told twice": {func(b *texts, _ string) {
			a := b.begin(1)
			b.end(a, accepted)
			if ok, _ := b.EndSMS(b.t.Context(), a.ID, 1, accepted); ok {
				b.t.Error("it counts twice")
			}
		}, Executing, "accepted", 1},
		"of the first": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.clock.pass(time.Minute)
			b.end(b.begin(2), accepted)
			b.receipt(id, undelivered, true)
		}, Executing, "accepted", 2},
		"first, after": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.clock.pass(time.Minute)
			b.end(b.begin(2), accepted)
			b.receipt(id, delivered, true)
			b.clock.pass(time.Hour)
			b.none()
		}, Succeeded, "over", 2},
		"none such": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, SMSReceipt{Number: 2, State: "DELIVERED"}, false)
		}, Executing, "accepted", 1},
		"half of it": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, SMSReceipt{Number: 1, Part: 2, Parts: 2, State: "DELIVERED"}, true)
		}, Executing, "accepted", 1},
		"both halves": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			b.receipt(id, SMSReceipt{Number: 1, Part: 2, Parts: 2, State: "DELIVERED"}, true)
			b.receipt(id, SMSReceipt{Number: 1, Part: 1, Parts: 2, State: "DELIVERED"}, true)
		}, Succeeded, "over", 1},
		"crashed": {func(b *texts, _ string) { // and what was submitted is not again, until its time
			b.begin(1)
			b.clock.pass(31 * time.Second)
			b.none()
			b.none()
		}, Executing, "unknown", 1},
		"asked again": {func(b *texts, id string) { // the answer to begin was lost
			c := b.claims()[0]
			first, _, _ := b.BeginSMS(b.t.Context(), c)
			again, ok, err := b.BeginSMS(b.t.Context(), c)
			if err != nil || !ok || again.Number != 1 || first.Content != again.Content {
				b.t.Errorf("asked again: %+v, %v, %v", again, ok, err)
			}
			b.end(again, accepted)
		}, Executing, "accepted", 1},
		"late node": {func(b *texts, _ string) { // attempts that a node was too late for come once, not all at once
			b.end(b.begin(1), accepted)
			b.clock.pass(241 * time.Second)
			b.end(b.begin(2), accepted)
			b.clock.pass(30 * time.Second)
			b.none()
		}, Executing, "accepted", 2},
		"cancelled": {func(b *texts, id string) {
			b.end(b.begin(1), accepted)
			if err := b.Cancel(b.t.Context(), id, "test"); err != nil {
				b.t.Error(err)
			}
			b.clock.pass(time.Hour)
			b.none()
		}, Cancelled, "over", 1},
		"under way": {func(b *texts, id string) {
			a := b.begin(1)
			if err := b.Cancel(b.t.Context(), id, "test"); !errors.Is(err, ErrHanded) {
				b.t.Error(err)
			}
			b.end(a, accepted)
		}, Executing, "accepted", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, s *redistest.Server) {
				b := newTexts(t, s)
				d := b.create(text("hello"))
				test.do(b, d.ID)
				got := b.is(d.ID, test.want)
				if got.SMS.State != test.sms || got.Attempts != test.n {
					t.Errorf("%s after %d attempts: %s", got.SMS.State, got.Attempts, got.Cause)
				}
				if faults, err := b.Check(t.Context()); err != nil || len(faults) > 0 {
					t.Errorf("faults %v, %v", faults, err)
				}
			})
		})
	}
}

func TestSMSRefused(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		for field, d := range map[string]Draft{
			"text: an SMS has one":    text(""),
			"text: an SMS has":        text("x", func(d *Draft) { d.Data = []byte{1} }),
			"text: only":              text("x", func(d *Draft) { d.Channel = Any }),
			"data: only":              {Device: imei, Channel: HTTP, Data: []byte{1}},
			"wake: an SMS needs none": text("x", func(d *Draft) { d.Wake = true }),
			"ack: ":                   text("x", func(d *Draft) { d.Ack = true }),
			"text: it is not":         text("\xff"),
			"text: it is 13 SMS":      text(strings.Repeat("x", 2000)),
			"pack: it is":             text("", func(d *Draft) { d.Pack = fmt.Appendf(nil, `[{"n":"n","vs":"%s"}]`, strings.Repeat("x", 1700)) }),
		} {
			if _, _, err := b.Create(t.Context(), d); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
				t.Errorf("want %q: %v", field, err)
			}
		}
		barred := text("x", func(d *Draft) { d.Device = other })
		if _, _, err := b.Create(t.Context(), barred); !errors.Is(err, ErrNoSMS) || !strings.Contains(err.Error(), "sms: false") {
			t.Error(err)
		}
		wake := draft(1, func(d *Draft) { d.Device, d.Wake = other, true })
		if _, _, err := b.Create(t.Context(), wake); !errors.Is(err, ErrNoSMS) {
			t.Error(err)
		}
		b.none()
		off := newBench(t, s)
		for _, d := range []Draft{text("x"), draft(1, func(d *Draft) { d.Wake = true })} {
			if _, _, err := off.Create(t.Context(), d); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "--sms off") {
				t.Error(err)
			}
		}
	})
}

func TestSMSPackIsAcknowledged(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		d := b.create(draft(1, func(d *Draft) { d.Channel, d.Ack = SMS, true }))
		a := b.begin(1)
		if a.Kind != SMSPack || !strings.Contains(a.Content, d.ID) {
			t.Errorf("sent %+v", a)
		}
		b.end(a, accepted)
		b.receipt(d.ID, delivered, true)
		if got := b.is(d.ID, Executing); !got.Taken {
			t.Errorf("%+v", got)
		}
		b.clock.pass(11 * time.Minute)
		b.looked()
		b.end(b.begin(2), accepted) // it was not acknowledged: the schedule goes on
		if ok, err := b.Acknowledge(t.Context(), imei, d.ID); err != nil || !ok {
			t.Errorf("acknowledge: %v, %v", ok, err)
		}
		b.is(d.ID, Succeeded)
		b.clock.pass(time.Hour)
		b.none()
	})
}

func TestWakeUp(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		wake := func(d *Draft) { d.Channel, d.Wake = HTTP, true }
		b := newTexts(t, s)
		first, second := b.create(draft(1, wake)), b.create(draft(2, wake))
		a := b.begin(1) // of the first only
		if a.ID != first.ID || a.Kind != SMSWake {
			t.Errorf("%+v", a)
		}
		b.end(a, accepted)
		// Somebody takes it along although the SMS was not: it is one more contact.
		h := b.hand(HTTP, first.ID)
		b.clock.pass(20 * time.Second)
		b.none()
		b.done(h, true)
		b.is(first.ID, Succeeded)
		a = b.begin(1)
		if a.ID != second.ID {
			t.Errorf("%+v", a)
		}
		b.end(a, SMSOutcome{End: SMSPermanent, Text: "no such subscriber"})
		if got := b.is(second.ID, Executing); !strings.Contains(got.Cause, "no such subscriber") || got.SMS.State != "over" {
			t.Errorf("%+v", got) // it may come by itself
		}
		b.clock.pass(time.Hour)
		b.none()
		b.done(b.hand(HTTP, second.ID), true)
		third := b.create(draft(3, wake))
		b.end(b.begin(1), accepted)
		b.receipt(third.ID, delivered, true) // the phone heard; no more SMS
		b.clock.pass(time.Hour)
		b.none()
		b.is(third.ID, Executing)
		next := b.is(third.ID, Executing).SMS.Next
		steps, err := b.Timeline(t.Context(), third.ID)
		var what []string
		for _, s := range steps {
			what = append(what, s.What)
		}
		if got := strings.Join(what, " "); err != nil || !next.IsZero() || got != "queued executing accepted delivered" {
			t.Errorf("timeline %s, next %s, %v", got, next, err)
		}
		if faults, err := b.Check(t.Context()); err != nil || len(faults) > 0 {
			t.Errorf("faults %v, %v", faults, err)
		}
	})
}

// Between two attempts the timeline says why there was another.
func TestNothingIsSentTwiceInSilence(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		d := b.create(text("x"))
		for n, o := range []SMSOutcome{accepted, {End: SMSTemporary, Text: "no"}, {End: SMSUnknown, Text: "?"}, accepted} {
			b.end(b.begin(n+1), o)
			b.clock.pass(61 * time.Second)
		}
		b.begin(5)
		steps, err := b.Timeline(t.Context(), d.ID)
		var what []string
		for _, s := range steps {
			if s.What != "executing" {
				what = append(what, s.What)
			}
		}
		if got := strings.Join(what, " "); err != nil || got != "queued accepted unknown temporary unknown accepted unknown" {
			t.Errorf("timeline %s, %v", got, err)
		}
	})
}

func TestTimelineEndsWithItsDownlink(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		d := b.create(text("x"))
		b.end(b.begin(1), SMSOutcome{End: SMSPermanent, Text: "no"})
		b.clock.pass(8 * 24 * time.Hour)
		b.looked()
		if _, err := b.Get(t.Context(), d.ID); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		keys := s.Client().Keys(t.Context(), "m2m:{0}:*"+d.ID+"*").Val()
		if n := s.Client().HLen(t.Context(), "m2m:{0}:due:sms:data").Val(); len(keys) > 0 || n > 0 {
			t.Errorf("left over: %v, and %d due", keys, n)
		}
	})
}

// An outcome that is told once more is of its own attempt, never of the one after it.
func TestOutcomeToldLate(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, none := range []SMSOutcome{{End: SMSUnsent, Text: "away", Pause: time.Second}, {End: SMSThrottled, Text: "slow", Pause: time.Second}} {
			b := newTexts(t, s)
			d := b.create(text("x"))
			a := b.begin(1)
			b.end(a, none)
			b.clock.pass(1100 * time.Millisecond)
			second := b.begin(2)
			if ok, err := b.EndSMS(t.Context(), a.ID, a.Number, none); ok || err != nil {
				t.Errorf("told again: %v, %v", ok, err)
			}
			b.clock.pass(1100 * time.Millisecond)
			b.none()
			b.end(second, accepted)
			if got := b.is(d.ID, Executing); got.Attempts != 1 || !strings.Contains(got.Cause, "attempt 1 by SMS") {
				t.Errorf("%+v", got)
			}
			b.receipt(d.ID, SMSReceipt{Number: 2, State: "DELIVERED"}, true)
			b.is(d.ID, Succeeded)
		}
	})
}

// Neither its time nor a gateway that is gone ends an attempt under way: its claim does.
func TestSubmittingHasItsTime(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		first := b.create(text("x", func(d *Draft) { d.TTL = 2 * time.Second }))
		second := b.create(text("y"))
		b.begin(1)
		b.clock.pass(10 * time.Second)
		b.looked()
		b.is(first.ID, Executing)
		b.is(second.ID, Queued)
		if faults, err := b.Check(t.Context()); err != nil || len(faults) > 0 {
			t.Errorf("faults %v, %v", faults, err)
		}
		b.clock.pass(21 * time.Second) // nobody claims it any more: there is no gateway
		b.looked()
		b.looked()
		if got := b.is(first.ID, Expired); got.SMS.State != "over" {
			t.Errorf("%+v", got)
		}
		b.begin(1)
		b.clock.pass(31 * time.Second)
		b.looked()
		if got := b.is(second.ID, Executing); got.SMS.State != "unknown" || !strings.Contains(got.Cause, "nobody knows") {
			t.Errorf("%+v", got)
		}
		if err := b.Cancel(t.Context(), second.ID, "test"); err != nil {
			t.Error(err)
		}
	})
}

// A device that is disabled is not called, and is when it is enabled again.
func TestDisabledDeviceIsNotCalled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), Keys: auth.Keyspace{}})
		if err != nil {
			t.Fatal(err)
		}
		set := func(disabled bool) {
			d := auth.Device{ID: imei, Unsigned: true, MSISDN: "31612345678", Disabled: disabled}
			if _, err := registry.PutDevice(t.Context(), d, auth.Replace); err != nil {
				t.Fatal(err)
			}
		}
		set(true)
		d := b.create(text("x"))
		b.none()
		if got := b.is(d.ID, Executing); got.Attempts != 0 || !strings.Contains(got.Cause, "disabled") {
			t.Errorf("%+v", got)
		}
		set(false)
		b.clock.pass(61 * time.Second)
		b.end(b.begin(1), accepted)
	})
}

// A receipt of an attempt under way leaves it its claim.
func TestReceiptWhileSubmitting(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, r := range []SMSReceipt{{Number: 1, State: "ENROUTE"}, {Number: 1, Part: 1, Parts: 2, State: "DELIVERED"}, undelivered} {
			b := newTexts(t, s)
			d := b.create(text("x"))
			b.begin(1)
			b.receipt(d.ID, r, true)
			if faults, err := b.Check(t.Context()); err != nil || len(faults) > 0 {
				t.Errorf("faults %v, %v", faults, err)
			}
			b.clock.pass(31 * time.Second)
			b.looked()
			want := "unknown"
			if r.Final {
				want = "undelivered"
			}
			if got := b.is(d.ID, Executing); got.SMS.State != want {
				t.Errorf("%s after %s", got.SMS.State, r.State)
			}
			if err := b.Cancel(t.Context(), d.ID, "test"); err != nil {
				t.Error(err)
			}
		}
	})
}

// What was none is none once, however often it is told, and nothing of it can be acknowledged or arrive.
func TestNoAttemptIsNone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		throttled := SMSOutcome{End: SMSThrottled, Text: "slow"}
		d := b.create(text("x"))
		a := b.begin(1)
		b.end(a, throttled)
		if ok, err := b.Acknowledge(t.Context(), imei, d.ID); ok || err != nil {
			t.Errorf("acknowledged: %v, %v", ok, err)
		}
		if err := b.Cancel(t.Context(), d.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.EndSMS(t.Context(), a.ID, a.Number, throttled); err != nil {
			t.Fatal(err)
		}
		if got := b.is(d.ID, Cancelled); got.Attempts != 0 || strings.Contains(got.Cause, "arrive") {
			t.Errorf("%+v", got)
		}
		d = b.create(text("y"))
		b.end(b.begin(1), SMSOutcome{End: SMSUnknown, Text: "?"})
		b.clock.pass(61 * time.Second)
		b.end(b.begin(2), throttled)
		if err := b.Cancel(t.Context(), d.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if got := b.is(d.ID, Cancelled); got.Attempts != 1 || !strings.Contains(got.Cause, "attempt 1, which may still arrive") {
			t.Errorf("%+v", got)
		}
	})
}

// A list says when it could not read one, and does not leave it out.
func TestListOfDamaged(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newTexts(t, s)
		b.create(draft(1))
		second := b.create(draft(2))
		if err := s.Client().Set(t.Context(), "m2m:{0}:downlink:"+second.ID, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if page, _, err := b.List(t.Context(), Query{}); err == nil {
			t.Errorf("%d, and no error", len(page))
		}
	})
}
