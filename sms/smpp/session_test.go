package smpp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

func TestBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got pdu.PDU
		s := smpptest.New(t, on(pdu.BindTransceiver, func(c *smpptest.Conn, p pdu.PDU) {
			got = p
			c.Request(pdu.Outbind, &pdu.OutbindBody{SystemID: "x"}) // tolerated
			c.Request(pdu.EnquireLink, nil)
			smpptest.Serve(c, p)
		}))
		cfg := inMemory(s)
		cfg.SystemType = "VMA"
		client := run(t, cfg).bound(t)
		want := pdu.Bind{SystemID: "m2m", Password: "secret", SystemType: "VMA", InterfaceVersion: 0x34}
		if got.Sequence != 1 || *got.Body.(*pdu.Bind) != want {
			t.Errorf("%+v", got)
		}
		if client.State() != (State{Bound: true, SMSC: "smpptest"}) {
			t.Errorf("%+v", client.State())
		}
		if p := <-s.Bound().Answers; p.Command != pdu.EnquireLink.Response() {
			t.Errorf("%+v", p)
		}
		if err := client.Run(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("second Run: %v", err)
		}
	})
}

// Answers to a bind that Serve would not give, and how long the waits before the next are. Jitter takes up to a half off.
func TestBindRefused(t *testing.T) {
	for name, c := range map[string]struct {
		status Status
		reason Reason
		waits  []time.Duration
	}{
		"Password":   {pdu.StatusInvPaswd, Refused, []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour}},
		"SystemID":   {pdu.StatusInvSysID, Refused, []time.Duration{5 * time.Minute, 10 * time.Minute}},
		"BindFailed": {pdu.StatusBindFail, Refused, []time.Duration{5 * time.Minute, 10 * time.Minute}},
		"Bound":      {0x05, Refused, []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9}},
		"Busy":       {0x08, Refused, []time.Duration{1e9, 2e9}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				binds := make(chan time.Time, 100)
				s := smpptest.New(t, on(pdu.BindTransceiver, func(conn *smpptest.Conn, p pdu.PDU) {
					binds <- time.Now()
					conn.Answer(p, c.status, nil)
				}))
				client := run(t, inMemory(s))
				last := <-binds
				for _, most := range c.waits {
					at := <-binds
					if wait := at.Sub(last); wait < most/2 || wait > most {
						t.Errorf("waited %s, want %s to %s", wait, most/2, most)
					}
					last = at
				}
				state := client.next(t)
				var refused *StatusError
				if state.Reason != c.reason || !errors.As(state.Err, &refused) || refused.Status != c.status {
					t.Errorf("%+v", state)
				}
				client.stop()
				if state = client.next(t); state.Reason != Stopped { // the same again was no change
					t.Errorf("%+v", state)
				}
			})
		})
	}
}

// Another refusal is a change, the same again is none.
func TestBindRefusedOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []Status{0x08, 0x08, pdu.StatusInvPaswd, pdu.StatusInvPaswd, pdu.StatusOK}
		s := smpptest.New(t, on(pdu.BindTransceiver, func(c *smpptest.Conn, p pdu.PDU) {
			status := answers[0]
			if answers = answers[1:]; status == pdu.StatusOK {
				smpptest.Serve(c, p)
				return
			}
			c.Answer(p, status, nil)
		}))
		client := run(t, inMemory(s))
		for _, want := range []Status{0x08, pdu.StatusInvPaswd} {
			if got := client.next(t); got.status() != want {
				t.Errorf("%+v, want %s", got, want)
			}
		}
		client.bound(t)
	})
}

func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		cfg := Config{Addr: "smsc.test:2775", SystemID: "m2m", Dial: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errors.New("no route")
		}}
		client := run(t, cfg)
		if s := client.next(t); s.Bound || s.Reason != Unreachable {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour)
		client.stop()
		if dials < 60 || dials > 130 {
			t.Errorf("%d dials in an hour", dials)
		}
	})
	t.Run("NoAnswerToBind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, func(*smpptest.Conn, pdu.PDU) {})
			began := time.Now()
			if s := run(t, inMemory(s)).next(t); s.Reason != Unreachable || time.Since(began) != 15*time.Second {
				t.Errorf("%+v after %s", s, time.Since(began))
			}
		})
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, nil)
		client := run(t, inMemory(s)).bound(t)
		for i := range 20 {
			conn := s.Bound()
			if _, err := client.Submit(t.Context(), wake()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute) // longer than BackoffMax: the waits begin anew
			conn.Close()
			at := time.Now()
			if s := client.next(t); s.Reason != Lost || s.Err == nil {
				t.Fatalf("%d: %+v", i, s)
			}
			if client.bound(t); time.Since(at) > time.Second {
				t.Errorf("%d: took %s", i, time.Since(at))
			}
		}
	})
}

// An SMSC that accepts binds and drops them at once is no reason to hurry.
func TestReconnectAfterShortSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		binds := 0
		s := smpptest.New(t, on(pdu.BindTransceiver, func(c *smpptest.Conn, p pdu.PDU) {
			binds++
			c.Answer(p, pdu.StatusOK, &pdu.BindResp{})
			c.Raw(nil)
		}))
		client := run(t, inMemory(s))
		time.Sleep(time.Hour)
		client.stop()
		if binds > 130 {
			t.Errorf("%d binds in an hour", binds)
		}
	})
}

func TestEnquireLink(t *testing.T) {
	t.Run("Ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			s := smpptest.New(t, on(pdu.EnquireLink, func(c *smpptest.Conn, p pdu.PDU) { n++; smpptest.Serve(c, p) }))
			client := run(t, inMemory(s)).bound(t)
			time.Sleep(10*time.Minute + time.Second)
			client.stop()
			if n != 20 {
				t.Errorf("%d in ten minutes", n)
			}
		})
	})
	t.Run("Unanswered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, on(pdu.EnquireLink, func(*smpptest.Conn, pdu.PDU) {}))
			began := time.Now()
			client := run(t, inMemory(s)).bound(t)
			if s := client.next(t); s.Reason != Lost || !errors.Is(s.Err, ErrNoAnswer) || time.Since(began) != 40*time.Second {
				t.Errorf("%+v after %s", s, time.Since(began))
			}
		})
	})
	t.Run("AnsweredByNack", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, on(pdu.EnquireLink, nack(pdu.StatusInvCmdID)))
			client := run(t, inMemory(s)).bound(t)
			time.Sleep(10 * time.Minute)
			if !client.State().Bound {
				t.Errorf("%+v", client.State())
			}
		})
	})
}

func TestUnknownPDUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, nil)
		client := run(t, inMemory(s)).bound(t)
		conn := s.Bound()
		expect := func(command pdu.Command, status Status, sequence uint32) {
			t.Helper()
			if p := <-conn.Answers; p.Command != command || p.Status != status || p.Sequence != sequence {
				t.Errorf("%+v", p)
			}
		}
		expect(pdu.GenericNack, pdu.StatusInvCmdID, conn.Request(0x7777, nil))
		expect(pdu.GenericNack, pdu.StatusInvCmdID, conn.Request(pdu.SubmitSM, &pdu.Message{}))
		conn.Request(0x80007777, nil) // a response to nothing, of nothing
		conn.Request(pdu.GenericNack, nil)
		conn.Request(pdu.AlertNotification, &pdu.Alert{})
		expect(pdu.DeliverSM.Response(), pdu.StatusInvCmdLen, conn.Request(pdu.DeliverSM, nil))
		expect(pdu.EnquireLink.Response(), pdu.StatusOK, conn.Request(pdu.EnquireLink, nil))
		if _, err := client.Submit(t.Context(), wake()); err != nil {
			t.Error(err)
		}
		conn.Raw([]byte{0, 1, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 99})
		expect(pdu.GenericNack, pdu.StatusInvCmdLen, 99)
		if s := client.next(t); s.Reason != Lost || !errors.Is(s.Err, pdu.ErrLength) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWindow(t *testing.T) {
	for _, window := range []int{1, 10} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				open, most := 0, 0
				s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
					mu.Lock()
					defer mu.Unlock()
					open++
					most = max(most, open)
					time.AfterFunc(time.Second, func() {
						mu.Lock()
						defer mu.Unlock()
						open--
						smpptest.Serve(c, p)
					})
				}))
				cfg := inMemory(s)
				cfg.Window = window
				client := run(t, cfg).bound(t)
				began := time.Now()
				var group sync.WaitGroup
				for range 30 {
					group.Go(func() {
						if _, err := client.Submit(t.Context(), wake()); err != nil {
							t.Error(err)
						}
					})
				}
				group.Wait()
				if took := time.Since(began); most != window || took != time.Duration(30/window)*time.Second {
					t.Errorf("%d at once, in %s", most, took)
				}
			})
		})
	}
}

func TestThrottle(t *testing.T) {
	for name, status := range map[string]Status{"Throttled": pdu.StatusThrottled} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Duration
				began := time.Now()
				s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
					at = append(at, time.Since(began))
					if len(at) <= 8 || len(at) == 10 {
						c.Answer(p, status, nil)
						return
					}
					smpptest.Serve(c, p)
				}))
				client := run(t, inMemory(s)).bound(t)
				for range 12 {
					_, err := client.Submit(t.Context(), wake())
					var refused *StatusError
					if errors.As(err, &refused) && refused.Class() != Throttled || err != nil && refused == nil {
						t.Errorf("%v", err)
					}
				}
				// 1, 2, 4, 8, 16, 32, 60 and 60 s; then accepted; then it begins anew.
				want := []time.Duration{0, 1e9, 3e9, 7e9, 15e9, 31e9, 63e9, 123e9, 183e9, 183e9, 184e9, 184e9}
				if !slices.Equal(at, want) {
					t.Errorf("submits at %s, want %s", at, want)
				}
			})
		})
	}
	// Ten that left together are throttled once, not ten times over.
	t.Run("AWindowFull", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var window []pdu.PDU
			s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
				if len(window) == 10 {
					smpptest.Serve(c, p)
					return
				}
				if window = append(window, p); len(window) == 10 { // all of them are under way
					for _, one := range window {
						c.Answer(one, pdu.StatusThrottled, nil)
					}
				}
			}))
			client := run(t, inMemory(s)).bound(t)
			began := time.Now()
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() { _, _ = client.Submit(t.Context(), wake()) })
			}
			group.Wait()
			if _, err := client.Submit(t.Context(), wake()); err != nil || time.Since(began) != time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	})
	t.Run("DeadlineInThePause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, pdu.StatusThrottled, nil) }))
			cfg := inMemory(s)
			cfg.Pause = 20 * time.Second
			client := run(t, cfg).bound(t)
			_, _ = client.Submit(t.Context(), wake())
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := client.Submit(ctx, wake())
			if !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrThrottled) || time.Since(began) != 0 {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	})
	t.Run("BetweenParts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
				if n++; n == 2 || n == 3 {
					c.Answer(p, pdu.StatusThrottled, nil)
					return
				}
				smpptest.Serve(c, p)
			}))
			client := run(t, inMemory(s)).bound(t)
			if ids, err := client.Submit(t.Context(), long()); err != nil || len(ids) != 3 || n != 5 {
				t.Errorf("%q, %v, %d submits", ids, err, n)
			}
		})
	})
}

func TestStop(t *testing.T) {
	t.Run("WaitsForAnswers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var order []pdu.Command
			s := smpptest.New(t, func(c *smpptest.Conn, p pdu.PDU) {
				order = append(order, p.Command)
				if p.Command == pdu.SubmitSM {
					time.Sleep(2 * time.Second)
				}
				smpptest.Serve(c, p)
			})
			client := run(t, inMemory(s)).bound(t)
			conn := s.Bound()
			done := make(chan error)
			go func() { _, err := client.Submit(t.Context(), wake()); done <- err }()
			synctest.Wait()
			go client.stop()
			if err := <-done; err != nil {
				t.Errorf("%v", err)
			}
			if s := client.next(t); s.Reason != Stopped || s.Err != nil {
				t.Errorf("%+v", s)
			}
			<-conn.Done()
			if want := []pdu.Command{pdu.BindTransceiver, pdu.SubmitSM, pdu.Unbind}; !slices.Equal(order, want) {
				t.Errorf("%s", order)
			}
		})
	})
	t.Run("SilentSMSC", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, func(c *smpptest.Conn, p pdu.PDU) {
				if p.Command == pdu.BindTransceiver {
					smpptest.Serve(c, p)
				}
			})
			client := run(t, inMemory(s)).bound(t)
			done := make(chan error)
			go func() { _, err := client.Submit(t.Context(), wake()); done <- err }()
			synctest.Wait()
			began := time.Now()
			go client.stop()
			if err := <-done; !errors.Is(err, ErrUnknown) {
				t.Errorf("%v", err)
			}
			client.next(t)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	})
	t.Run("WhileDialling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := run(t, inMemory(smpptest.New(t, func(*smpptest.Conn, pdu.PDU) {})))
			synctest.Wait()
			began := time.Now()
			if client.stop(); time.Since(began) != 0 {
				t.Errorf("took %s", time.Since(began))
			}
		})
	})
	t.Run("BothAtOnce", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, on(pdu.Unbind, func(c *smpptest.Conn, _ pdu.PDU) { c.Request(pdu.Unbind, nil) }))
			client := run(t, inMemory(s)).bound(t)
			began := time.Now()
			if client.stop(); time.Since(began) != 0 {
				t.Errorf("took %s", time.Since(began))
			}
		})
	})
}

func TestUnboundBySMSC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
			c.Request(pdu.Unbind, nil)
			time.AfterFunc(time.Second, func() { smpptest.Serve(c, p) })
		}))
		client := run(t, inMemory(s)).bound(t)
		conn := s.Bound()
		if ids, err := client.Submit(t.Context(), wake()); err != nil || len(ids) != 1 {
			t.Errorf("%q, %v: the answer came before ours to the unbind", ids, err)
		}
		if p := <-conn.Answers; p.Command != pdu.Unbind.Response() {
			t.Errorf("%+v", p)
		}
		if s := client.next(t); s.Reason != Unbound || !errors.Is(s.Err, ErrUnbound) {
			t.Errorf("%+v", s)
		}
		client.bound(t)
	})
}
