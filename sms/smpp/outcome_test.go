package smpp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

func TestOutcomes(t *testing.T) {
	ok := func(c *smpptest.Conn, p pdu.PDU) { smpptest.Serve(c, p) }
	refuse := func(s Status, body pdu.Body) smpptest.Handler {
		return func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, s, body) }
	}
	for name, c := range map[string]struct {
		submit smpptest.Handler
		check  func(ids []string, err error) bool
		after  time.Duration // when Submit returns
	}{
		"OK":                {ok, accepts("1"), 0},
		"OKWithoutBody":     {refuse(pdu.StatusOK, nil), accepts(""), 0},
		"Refused":           {refuse(0x0b, &pdu.MessageResp{}), refuses(0x0b), 0},
		"RefusedNoBody":     {refuse(0x0b, nil), refuses(0x0b), 0},
		"RefusedWithAnID":   {refuse(0x45, &pdu.MessageResp{MessageID: "7"}), refuses(0x45), 0},
		"RefusedByVendor":   {refuse(0x412, nil), refuses(0x412), 0},
		"GenericNack":       {nack(pdu.StatusInvCmdID), refuses(pdu.StatusInvCmdID), 0},
		"GenericNackOfNone": {nackOfNone, isUnknown(ErrNoAnswer), 10 * time.Second},
		"Silence":           {func(*smpptest.Conn, pdu.PDU) {}, isUnknown(ErrNoAnswer), 10 * time.Second},
		"ConnectionLost":    {func(c *smpptest.Conn, _ pdu.PDU) { c.Close() }, isUnknown(nil), 0},
		"AnswerThenLost":    {func(c *smpptest.Conn, p pdu.PDU) { ok(c, p); c.Raw(nil) }, accepts("1"), 0},
		"HalfAnAnswer":      {func(c *smpptest.Conn, _ pdu.PDU) { c.Raw([]byte{0, 0, 0, 18, 0x80, 0, 0, 4, 0}); c.Raw(nil) }, isUnknown(nil), 0},
		"HalfAndSilence":    {func(c *smpptest.Conn, _ pdu.PDU) { c.Raw([]byte{0, 0, 0, 18, 0x80, 0, 0, 4, 0}) }, isUnknown(ErrNoAnswer), 10 * time.Second},
		"Oversize":          {func(c *smpptest.Conn, _ pdu.PDU) { c.Raw(slices.Repeat([]byte{0xff}, 16)) }, isUnknown(pdu.ErrLength), 0},
		"TooShort":          {func(c *smpptest.Conn, _ pdu.PDU) { c.Raw(make([]byte, 16)) }, isUnknown(pdu.ErrLength), 0},
		"OfAnotherSequence": {ofAnotherSequence, isUnknown(ErrNoAnswer), 10 * time.Second},
		"OfAnotherCommand":  {func(c *smpptest.Conn, p pdu.PDU) { ofAnotherCommand(c, p); ok(c, p) }, accepts("1"), 0},
		"Twice":             {func(c *smpptest.Conn, p pdu.PDU) { ok(c, p); ok(c, p) }, accepts("1"), 0},
		"RefusedThenOK":     {func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, 0x0b, nil); ok(c, p) }, refuses(0x0b), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := smpptest.New(t, onSubmit(c.submit))
				client := run(t, inMemory(s)).bound(t)
				began := time.Now()
				ids, err := client.Submit(t.Context(), wake())
				if !c.check(ids, err) {
					t.Errorf("ids %q, error %v", ids, err)
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("took %s, want %s", took, c.after)
				}
				if errors.Is(err, ErrNotSent) {
					t.Error("the SMSC has it")
				}
			})
		})
	}
}

func accepts(want ...string) func([]string, error) bool {
	return func(ids []string, err error) bool { return err == nil && slices.Equal(ids, want) }
}

func refuses(s Status) func([]string, error) bool {
	return func(ids []string, err error) bool {
		var refused *StatusError
		return ids == nil && errors.As(err, &refused) && refused.Status == s && !errors.Is(err, ErrUnknown)
	}
}

func isUnknown(why error) func([]string, error) bool {
	return func(ids []string, err error) bool {
		return ids == nil && errors.Is(err, ErrUnknown) && (why == nil || errors.Is(err, why))
	}
}

func nack(s Status) smpptest.Handler {
	return func(c *smpptest.Conn, p pdu.PDU) {
		c.Send(pdu.PDU{Command: pdu.GenericNack, Status: s, Sequence: p.Sequence})
	}
}

func nackOfNone(c *smpptest.Conn, _ pdu.PDU) {
	c.Send(pdu.PDU{Command: pdu.GenericNack, Status: pdu.StatusInvCmdLen})
}

func ofAnotherSequence(c *smpptest.Conn, p pdu.PDU) {
	p.Sequence += 7
	c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: "7"})
}

func ofAnotherCommand(c *smpptest.Conn, p pdu.PDU) {
	p.Command = pdu.EnquireLink
	c.Answer(p, pdu.StatusOK, nil)
}

func TestNotSent(t *testing.T) {
	t.Run("NotBound", func(t *testing.T) {
		s := smpptest.New(t, nil)
		client, err := New(inMemory(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Submit(t.Context(), wake()); !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrNotBound) {
			t.Errorf("%v", err)
		}
	})
	t.Run("Invalid", func(t *testing.T) {
		s := smpptest.New(t, nil)
		client, _ := New(inMemory(s))
		for name, change := range map[string]func(*Submit){
			"NoDestination":   func(m *Submit) { m.Destination = "" },
			"LettersInIt":     func(m *Submit) { m.Destination = "31-612345678" },
			"LongDestination": func(m *Submit) { m.Destination = "1234567890123456" },
			"LongSource":      func(m *Submit) { m.Source = "TwelveLetter" },
			"Nothing":         func(m *Submit) { m.Text = "" },
			"Both":            func(m *Submit) { m.Data = []byte("x") },
			"NotUTF8":         func(m *Submit) { m.Text = "a\xff" },
			"256Parts":        func(m *Submit) { m.Text, m.Data = "", make([]byte, 255*partOctets+1) },
			"Validity":        func(m *Submit) { m.ValidityPeriod = 31 * 24 * time.Hour },
			"NegativeOne":     func(m *Submit) { m.ValidityPeriod = -1 },
		} {
			m := wake()
			change(&m)
			if _, err := client.Submit(t.Context(), m); !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("WindowFull", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			got := 0
			s := smpptest.New(t, onSubmit(func(*smpptest.Conn, pdu.PDU) { got++ }))
			cfg := inMemory(s)
			cfg.Window = 2
			client := run(t, cfg).bound(t)
			for range cfg.Window {
				go func() { _, _ = client.Submit(t.Context(), wake()) }()
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := client.Submit(ctx, wake()); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			client.stop()
			if got != cfg.Window {
				t.Errorf("the SMSC has %d", got)
			}
		})
	})
	t.Run("ContextEnded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := run(t, inMemory(smpptest.New(t, nil))).bound(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := client.Submit(ctx, wake()); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	})
}

func TestPartial(t *testing.T) {
	// nth answers the first submits, and does f with the one after.
	nth := func(n int, f smpptest.Handler) smpptest.Handler {
		return func(c *smpptest.Conn, p pdu.PDU) {
			if n--; n < 0 {
				f(c, p)
				return
			}
			smpptest.Serve(c, p)
		}
	}
	refuse := func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, 0x45, nil) }
	silent := func(*smpptest.Conn, pdu.PDU) {}
	for name, c := range map[string]struct {
		submit smpptest.Handler
		ids    []string
		is     func(error) bool
	}{
		"FirstRefused":  {nth(0, refuse), nil, func(err error) bool { return refuses(0x45)(nil, err) }},
		"FirstUnknown":  {nth(0, silent), nil, func(err error) bool { return errors.Is(err, ErrUnknown) }},
		"SecondRefused": {nth(1, refuse), []string{"1"}, partial(1, refuses(0x45))},
		"ThirdUnknown":  {nth(2, silent), []string{"1", "2"}, partial(2, isUnknown(ErrNoAnswer))},
		"LostBetween": {func(c *smpptest.Conn, p pdu.PDU) { smpptest.Serve(c, p); c.Raw(nil) }, []string{"1"},
			partial(1, func(_ []string, err error) bool { return errors.Is(err, ErrNotSent) || errors.Is(err, ErrUnknown) })},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := run(t, inMemory(smpptest.New(t, onSubmit(c.submit)))).bound(t)
				ids, err := client.Submit(t.Context(), long())
				if !slices.Equal(ids, c.ids) || !c.is(err) {
					t.Errorf("%q, %v", ids, err)
				}
			})
		})
	}
}

// partial also sees to it that what is true of the part is not said of the message.
func partial(n int, check func([]string, error) bool) func(error) bool {
	return func(err error) bool {
		var p *PartialError
		var refused *StatusError
		return errors.As(err, &p) && len(p.IDs) == n && p.Parts == 3 && check(nil, p.Err) &&
			!errors.Is(err, ErrNotSent) && !errors.Is(err, ErrUnknown) && !errors.As(err, &refused)
	}
}

func TestLate(t *testing.T) {
	// After 3 s the caller gives up, after 10 s the time is over.
	for name, c := range map[string]struct {
		answerAfter time.Duration
		status      Status
		twice       bool
		lost        bool
		want        string
	}{
		"CallerGaveUp": {5 * time.Second, 0, false, false, "[{k 1 1 1 <nil>} 5s]"},
		"TimeOver":     {40 * time.Second, 0, false, false, "[{k 1 1 1 <nil>} 40s]"},
		"Refused":      {40 * time.Second, 0x0b, false, false, "[{k 1 1  submit_sm refused: ESME_RINVDSTADR} 40s]"},
		"Twice":        {12 * time.Second, 0, true, false, "[{k 1 1 1 <nil>} 12s]"},
		"NotLate":      {time.Second, 0, false, false, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := smpptest.New(t, onSubmit(func(conn *smpptest.Conn, p pdu.PDU) {
					time.AfterFunc(c.answerAfter, func() {
						conn.Answer(p, c.status, &pdu.MessageResp{MessageID: "1"})
						if c.twice {
							conn.Answer(p, c.status, &pdu.MessageResp{MessageID: "2"})
						}
					})
				}))
				var calls []string
				cfg := inMemory(s)
				cfg.Late = func(_ context.Context, l Late) {
					calls = append(calls, fmt.Sprintf("{%s %d %d %s %v} %s", l.Key, l.Part, l.Parts, l.ID, l.Err, time.Since(began)))
				}
				client := run(t, cfg).bound(t)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if name == "TimeOver" {
					ctx = t.Context()
				}
				_, err := client.Submit(ctx, wake())
				if unknown := name != "NotLate"; errors.Is(err, ErrUnknown) != unknown {
					t.Errorf("%v", err)
				}
				time.Sleep(time.Minute)
				client.stop()
				if got := fmt.Sprint(calls); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		})
	}
}

// A submit that the caller left counts in the window until it is answered or its time is over.
func TestWindowCountsWhatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, onSubmit(func(*smpptest.Conn, pdu.PDU) {}))
		cfg := inMemory(s)
		cfg.Window = 1
		client := run(t, cfg).bound(t)
		short := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_, err := client.Submit(ctx, wake())
			return err
		}
		if err := short(time.Second); !errors.Is(err, ErrUnknown) {
			t.Errorf("first: %v", err)
		}
		if err := short(8 * time.Second); !errors.Is(err, ErrNotSent) {
			t.Errorf("second: %v", err)
		}
		if err := short(2 * time.Second); !errors.Is(err, ErrUnknown) {
			t.Errorf("third: %v", err)
		}
	})
}
