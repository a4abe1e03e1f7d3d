package smpp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

// brittle is a connection of which a write fails behind so many octets.
type brittle struct {
	net.Conn
	fail   *atomic.Bool
	behind int
}

func (b brittle) Write(p []byte) (int, error) {
	if !b.fail.Load() {
		return b.Conn.Write(p)
	}
	n, _ := b.Conn.Write(p[:b.behind])
	return n, errors.New("no buffer space")
}

// What a failed write has sent decides between not sent and unknown.
func TestWriteFails(t *testing.T) {
	for behind, want := range map[int]error{0: ErrNotSent, 1: ErrUnknown, 20: ErrUnknown} {
		t.Run(fmt.Sprint(behind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fail atomic.Bool
				s := smpptest.New(t, nil)
				cfg := inMemory(s)
				cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := s.Dial(ctx, network, addr)
					return brittle{conn, &fail, behind}, err
				}
				client := run(t, cfg).bound(t)
				fail.Store(true)
				_, err := client.Submit(t.Context(), wake())
				fail.Store(false)
				if !errors.Is(err, want) || errors.Is(err, ErrNotSent) == errors.Is(err, ErrUnknown) {
					t.Errorf("%v", err)
				}
				if s := client.next(t); s.Reason != Lost {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TLS may have sent a record, or a part of one, whatever the count says.
func TestTLSWriteFailsIsUnknown(t *testing.T) {
	near, far := net.Pipe()
	_ = far.Close()
	c := encoder(t, nil)
	s := newSession(c, near)
	s.secure = true
	if left, err := s.write(pdu.PDU{Command: pdu.EnquireLink, Sequence: 1}); !left || err == nil {
		t.Errorf("%v, %v", left, err)
	}
	if left, err := s.write(pdu.PDU{Command: pdu.EnquireLink, Sequence: 2}); left || err == nil {
		t.Errorf("%v, %v: the session had ended", left, err)
	}
}

// While the client stops, or the SMSC has sent unbind, nothing new is sent.
func TestNoSubmitWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
			n++
			time.AfterFunc(5*time.Second, func() { smpptest.Serve(c, p) })
		}))
		cfg := inMemory(s)
		cfg.Window = 1
		client := run(t, cfg).bound(t)
		results := make(chan error, 3)
		submit := func() { _, err := client.Submit(t.Context(), wake()); results <- err }
		go submit()
		synctest.Wait()
		go submit() // waits for the window
		synctest.Wait()
		go client.stop()
		synctest.Wait()
		go submit()
		for range 2 {
			if err := <-results; !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrNotBound) {
				t.Errorf("%v", err)
			}
		}
		if err := <-results; err != nil {
			t.Errorf("%v", err)
		}
		client.stop()
		if n != 1 {
			t.Errorf("the SMSC had %d", n)
		}
	})
}

// Not even when a slot of the window is free.
func TestNoSlotWhileClosing(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := newSession(encoder(t, nil), near)
	close(s.closing)
	for range 100 { // select chooses at random
		if err := s.acquire(t.Context()); !errors.Is(err, ErrNotBound) || len(s.slots) != 0 {
			t.Fatalf("%v, %d slots taken", err, len(s.slots))
		}
	}
}

func TestPauseEnds(t *testing.T) {
	throttled := onSubmit(func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, pdu.StatusThrottled, nil) })
	t.Run("WithTheContext", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := inMemory(smpptest.New(t, throttled))
			cfg.Pause = time.Minute
			client := run(t, cfg).bound(t)
			_, _ = client.Submit(t.Context(), wake())
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := client.Submit(ctx, wake())
			if !errors.Is(err, ErrNotSent) || !errors.Is(err, ErrThrottled) || !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	})
	t.Run("WithTheSession", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, throttled)
			cfg := inMemory(s)
			cfg.Pause = time.Minute
			client := run(t, cfg).bound(t)
			_, _ = client.Submit(t.Context(), wake())
			time.AfterFunc(time.Second, s.Bound().Close)
			began := time.Now()
			_, err := client.Submit(t.Context(), wake())
			if !errors.Is(err, ErrNotBound) || time.Since(began) != time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	})
	t.Run("ByALateAnswer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := smpptest.New(t, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
				time.AfterFunc(12*time.Second, func() { c.Answer(p, pdu.StatusThrottled, nil) })
			}))
			cfg := inMemory(s)
			cfg.Pause = time.Minute
			client := run(t, cfg).bound(t)
			_, _ = client.Submit(t.Context(), wake())
			time.Sleep(3 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := client.Submit(ctx, wake()); !errors.Is(err, ErrThrottled) {
				t.Errorf("a pause that a late answer asked for was not kept: %v", err)
			}
		})
	})
}

// The table forgets the oldest of what nobody waits for, and gives no sequence_number twice.
func TestTableBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := table{open: make(map[uint32]*request), late: make(map[uint32]*request), last: maxSequence - 3}
		var first *request
		for i := range lateLimit + 10 {
			r, err := table.add(pdu.SubmitSM, time.Duration(i+1), &Late{}, func() {})
			if err != nil || r.sequence == 0 || r.sequence > maxSequence {
				t.Fatal(r, err)
			}
			if first == nil {
				first = r
			}
			time.Sleep(time.Duration(i + 1))
			synctest.Wait()
		}
		if len(table.late) != lateLimit || len(table.order) != lateLimit || len(table.open) != 0 {
			t.Errorf("%d late, %d in order, %d open", len(table.late), len(table.order), len(table.open))
		}
		if l := table.answered(pdu.PDU{Command: pdu.SubmitSM.Response(), Sequence: first.sequence}); l != nil {
			t.Error("the oldest was not forgotten")
		}
		table.last = table.order[0] - 1
		if n := table.next(); table.late[n] != nil {
			t.Errorf("%d is in use", n)
		}
	})
}
