package smpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

// ledger is what a faulty SMSC had, and how it answered.
type ledger struct {
	mu       sync.Mutex
	had      map[string]int    // by text
	accepted map[string]string // id by text, where the answer was queued
	random   *rand.Rand
}

// submit answers most, and else is silent, refuses, answers twice, loses the connection or leaves half an answer.
func (l *ledger) submit(c *smpptest.Conn, p pdu.PDU) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(p.Body.(*pdu.Message).ShortMessage)
	l.had[text]++
	answer := func() {
		id := c.NextID() + "-" + text
		l.accepted[text] = id
		c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: id})
	}
	switch l.random.IntN(40) {
	case 0:
		c.Close()
	case 1:
		answer()
		c.Close()
	case 2: // silence
	case 3:
		c.Answer(p, 0x45, nil)
	case 4:
		answer()
		c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: "again"})
	case 5:
		c.Raw([]byte{0, 0, 0, 20, 0x80, 0, 0, 4, 0})
		c.Raw(nil)
	case 6:
		c.Request(pdu.EnquireLink, nil)
		c.Request(0x4242, nil)
		answer()
	case 7:
		c.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 4, ShortMessage: []byte("id:" + text + " stat:DELIVRD")})
		answer()
	default:
		answer()
	}
}

// Whatever the SMSC does, what Submit says is true: of what was not sent the SMSC has nothing, what was accepted it
// accepted by that id, and what it refused it has once.
func TestOutcomesAreEvidence(t *testing.T) {
	ledger := &ledger{had: make(map[string]int), accepted: make(map[string]string), random: rand.New(rand.NewPCG(1, 2))}
	s := smpptest.Listen(t, nil, onSubmit(ledger.submit))
	client := run(t, Config{
		Addr: s.Addr, SystemID: "m2m", Password: "secret", ResponseTimeout: 50 * time.Millisecond, EnquireLink: 20 * time.Millisecond,
		Backoff: time.Millisecond, BackoffMax: 2 * time.Millisecond,
	}).bound(t)
	const workers, each = 16, 200
	errs := make([]map[string]error, workers)
	ids := make([]map[string]string, workers)
	var group sync.WaitGroup
	for w := range workers {
		errs[w], ids[w] = make(map[string]error), make(map[string]string)
		group.Go(func() {
			for n := range each {
				m := wake()
				m.Text = string(rune('A'+w)) + string(rune('a'+n/26)) + string(rune('a'+n%26))
				got, err := client.Submit(t.Context(), m)
				if errs[w][m.Text] = err; err == nil {
					ids[w][m.Text] = got[0]
				}
				if errors.Is(err, ErrNotBound) {
					pause(client)
				}
			}
		})
	}
	group.Wait()
	client.stop()
	counts := make(map[string]int)
	for w := range workers {
		for text, err := range errs[w] {
			counts[ledger.check(t, text, ids[w][text], err)]++
		}
	}
	t.Logf("%v", counts)
	for _, kind := range []string{"accepted", "refused", "unknown"} {
		if counts[kind] == 0 {
			t.Errorf("none %s", kind)
		}
	}
}

// pause waits until the client is bound again, or a moment.
func pause(client *running) {
	select {
	case <-client.states:
	case <-time.After(5 * time.Millisecond):
	}
}

func (l *ledger) check(t *testing.T, text, id string, err error) (kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refused *StatusError
	switch {
	case err == nil:
		if l.accepted[text] != id || l.had[text] != 1 {
			t.Errorf("%s accepted as %q: the SMSC had it %d times and answered %q", text, id, l.had[text], l.accepted[text])
		}
		return "accepted"
	case errors.Is(err, ErrNotSent):
		if l.had[text] != 0 {
			t.Errorf("%s was not sent, and the SMSC had it %d times", text, l.had[text])
		}
		return "not sent"
	case errors.Is(err, ErrUnknown):
		if l.had[text] > 1 {
			t.Errorf("%s was had %d times", text, l.had[text])
		}
		return "unknown"
	case errors.As(err, &refused):
		if l.had[text] != 1 || l.accepted[text] != "" {
			t.Errorf("%s was refused, and had %d times", text, l.had[text])
		}
		return "refused"
	}
	t.Errorf("%s: %v is of no kind", text, err)
	return "none"
}

// An SMSC that stops reading holds nobody up for longer than a write may take.
func TestSMSCStopsReading(t *testing.T) {
	release := make(chan struct{})
	s := smpptest.Listen(t, nil, onSubmit(func(*smpptest.Conn, pdu.PDU) { <-release }))
	cfg := Config{Addr: s.Addr, SystemID: "m2m", Window: 400, ResponseTimeout: 300 * time.Millisecond, EnquireLink: time.Hour, Long: Payload}
	client := run(t, cfg).bound(t)
	m := wake()
	m.Text, m.Data = "", make([]byte, 60000)
	var group sync.WaitGroup
	for range cfg.Window {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := client.Submit(ctx, m); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotSent) {
				t.Errorf("%v", err)
			}
		})
	}
	group.Wait()
	close(release)
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate, which is for 127.0.0.1 and example.com
	defer server.Close()
	s := smpptest.Listen(t, &tls.Config{Certificates: server.TLS.Certificates}, nil)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	cfg := Config{Addr: s.Addr, SystemID: "m2m", TLS: &tls.Config{RootCAs: roots}}
	client := run(t, cfg).bound(t)
	if _, err := client.Submit(t.Context(), wake()); err != nil {
		t.Error(err)
	}
	t.Run("UnknownAuthority", func(t *testing.T) {
		cfg.TLS = &tls.Config{}
		state := run(t, cfg).next(t)
		var unknown x509.UnknownAuthorityError
		if state.Reason != Unreachable || !errors.As(state.Err, &unknown) {
			t.Errorf("%+v", state)
		}
	})
	t.Run("PlainServer", func(t *testing.T) {
		cfg := cfg
		cfg.Addr, cfg.ConnectTimeout = smpptest.Listen(t, nil, nil).Addr, 200*time.Millisecond
		if state := run(t, cfg).next(t); state.Reason != Unreachable {
			t.Errorf("%+v", state)
		}
	})
}
